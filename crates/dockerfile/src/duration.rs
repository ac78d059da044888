//! Durations as Go writes them: `1h2m3.5s`, `300ms`, `-1.5h`.

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Nanoseconds. The error says why not.
pub fn parse(text: &str) -> Result<i64, &'static str> {
    let (negative, body) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if body == "0" {
        return Ok(0);
    }
    if body.is_empty() {
        return Err("it is empty");
    }
    let mut total: u64 = 0;
    let mut rest = body;
    while !rest.is_empty() {
        let (nanoseconds, behind) = component(rest)?;
        total = total.checked_add(nanoseconds).ok_or("it is too long")?;
        rest = behind;
    }
    let total = i64::try_from(total).map_err(|_| "it is too long")?;
    Ok(if negative { -total } else { total })
}

/// One number with its unit.
fn component(text: &str) -> Result<(u64, &str), &'static str> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return Err("a number is missing");
    }
    let end =
        rest.find(|character: char| character == '.' || character.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, behind) = rest.split_at(end);
    if unit.is_empty() {
        return Err("a unit is missing");
    }
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    let (_, scale) = known.ok_or("the unit is none of ns, us, ms, s, m and h")?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| "it is too long")? };
    let whole = whole.checked_mul(*scale).ok_or("it is too long")?;
    let total = whole.checked_add(fraction_of(fraction, *scale)).ok_or("it is too long")?;
    Ok((total, behind))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// The digits behind the point, in nanoseconds, rounded down.
fn fraction_of(digits: &str, scale: u64) -> u64 {
    // More digits than this are far below a nanosecond, whatever the unit.
    let digits = digits.get(..digits.len().min(18)).unwrap_or_default();
    let (value, divisor) = digits.bytes().fold((0_u128, 1_u128), |(value, divisor), digit| {
        (value * 10 + u128::from(digit - b'0'), divisor * 10)
    });
    u64::try_from(value * u128::from(scale) / divisor).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_what_go_reads() {
        let cases = [
            ("0", 0),
            ("+5s", 5_000_000_000),
            ("1h2m3.5s", 3_723_500_000_000),
            ("-1.5h", -5_400_000_000_000),
            ("300ms", 300_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("2µs", 2_000),
            ("2μs7ns", 2_007),
            ("0.100000000000000000000h", 360_000_000_000),
            ("9223372036854775807ns", i64::MAX),
        ];
        for (text, nanoseconds) in cases {
            assert_eq!(parse(text), Ok(nanoseconds), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in
            ["", "-", "5", "s", ".s", "1x", "1m2", "9223372036854775808ns", "99999999999h", "1 s", "--1s"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
