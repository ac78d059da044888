//! Sizes, ages and times as docker prints them.

use std::time::{Duration, SystemTime};

use galley_oci::Time;

const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// `808MB`, `32.3MB`, `4.2kB`: decimal units, three digits.
pub(crate) fn size(bytes: u64) -> String {
    let mut unit = 0;
    let mut scale: u64 = 1;
    // 999.5 of one unit would show as four digits: it is 1 of the next.
    while unit + 1 < UNITS.len() && u128::from(bytes) * 2 >= u128::from(scale) * 1999 {
        unit += 1;
        scale = scale.saturating_mul(1000);
    }
    let hundredths = u128::from(bytes) * 100 / u128::from(scale);
    let text = match hundredths {
        0..1000 => decimals(bytes, scale, 2),
        1000..10000 => decimals(bytes, scale, 1),
        _ => decimals(bytes, scale, 0),
    };
    format!("{text}{}", UNITS.get(unit).copied().unwrap_or_default())
}

/// `304KiB`, `23.54GiB`: binary units, four digits.
pub(crate) fn binary_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    while unit + 1 < UNITS.len() && bytes >> (10 * (unit + 1)) > 0 {
        unit += 1;
    }
    let scale = 1_u64 << (10 * unit);
    let places = match bytes / scale {
        0..10 => 3,
        10..100 => 2,
        100..1000 => 1,
        _ => 0,
    };
    format!("{}{}", decimals(bytes, scale, places), UNITS.get(unit).copied().unwrap_or_default())
}

/// `bytes / scale` rounded to `places`, without trailing zeros.
fn decimals(bytes: u64, scale: u64, places: u32) -> String {
    let shift = 10_u128.pow(places);
    let rounded = (u128::from(bytes) * shift * 2 + u128::from(scale)) / (u128::from(scale) * 2);
    let (whole, part) = (rounded / shift, rounded % shift);
    if part == 0 {
        return whole.to_string();
    }
    let digits = format!("{part:0width$}", width = places as usize);
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// `2 minutes`, `About an hour`, `3 weeks`.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ => match hours {
            0 | 1 => "About an hour".to_owned(),
            2..48 => format!("{hours} hours"),
            48..336 => format!("{} days", hours / 24),
            336..1440 => format!("{} weeks", hours / 24 / 7),
            1440..17520 => format!("{} months", hours / 24 / 30),
            _ => format!("{} years", hours / 24 / 365),
        },
    }
}

/// `2 minutes ago`; times of the future count as now.
pub(crate) fn since(time: Time) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let then = Duration::from_secs(u64::try_from(time.seconds).unwrap_or(0));
    format!("{} ago", age(now.saturating_sub(then)))
}

/// `2024-08-03 12:00:00 +0000 UTC`.
pub(crate) fn timestamp(time: Time) -> String {
    let timestamp = jiff::Timestamp::from_second(time.seconds).unwrap_or_default();
    timestamp.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

/// `1.2s`, `0.0s`, as BuildKit writes durations.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        let cases = [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (32_300_000, "32.3MB"),
            (27_000_000, "27MB"),
            (27_040_000, "27MB"),
            (808_123_456, "808MB"),
            (999_499_999, "999MB"),
            (999_500_000, "1GB"),
            (1_050_000_000, "1.05GB"),
            (u64::MAX, "18.4EB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn binary_sizes_are_dockers() {
        let cases = [
            (0, "0B"),
            (1023, "1023B"),
            (311_296, "304KiB"),
            (1 << 20, "1MiB"),
            (25_275_855_340, "23.54GiB"),
            (8_125_000_000, "7.567GiB"),
            (u64::MAX, "16EiB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(binary_size(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn times_are_in_utc() {
        assert_eq!(
            timestamp(Time { seconds: 1_722_686_400, nanoseconds: 5 }),
            "2024-08-03 12:00:00 +0000 UTC"
        );
        assert_eq!(timestamp(Time { seconds: i64::MAX, nanoseconds: 0 }), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(since(Time { seconds: i64::MAX, nanoseconds: 0 }), "Less than a second ago");
    }

    #[test]
    fn ages_are_dockers() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (15 * 86400, "2 weeks"),
            (61 * 86400, "2 months"),
            (800 * 86400, "2 years"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(age(Duration::from_secs(seconds)), expected, "{seconds}");
        }
    }
}
