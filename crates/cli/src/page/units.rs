//! Times and counts as people read them.

use std::time::Duration;

/// `1.5 ms`, `430 ms`, `3.25 s`, `12.5 s`, `2 min 5 s`.
pub(super) fn time(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1e3;
    match millis {
        _ if millis < 9.95 => format!("{millis:.1} ms"),
        _ if millis < 1000.0 => format!("{millis:.0} ms"),
        _ if millis < 10_000.0 => format!("{:.2} s", millis / 1e3),
        _ if millis < 60_000.0 => format!("{:.1} s", millis / 1e3),
        _ => format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60),
    }
}

/// `1 file`, `3 files`.
pub(super) fn count(number: u64, noun: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{end}")
}

/// Which part of the whole, in percent.
pub(super) fn percent(part: Duration, whole: Duration) -> u32 {
    if whole.is_zero() {
        return 0;
    }
    let percent = part.as_secs_f64() / whole.as_secs_f64() * 100.0;
    percent.round().clamp(0.0, 100.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_at_most() {
        let cases = [
            (0.0, "0.0 ms"),
            (0.0015, "1.5 ms"),
            (0.00996, "10 ms"),
            (0.43, "430 ms"),
            (3.254, "3.25 s"),
            (12.54, "12.5 s"),
            (125.0, "2 min 5 s"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(time(Duration::from_secs_f64(seconds)), expected);
        }
        assert_eq!((count(1, "file"), count(0, "file")), ("1 file".to_owned(), "0 files".to_owned()));
        assert_eq!(percent(Duration::from_secs(1), Duration::from_secs(3)), 33);
        assert_eq!(percent(Duration::from_secs(1), Duration::ZERO), 0);
    }
}
