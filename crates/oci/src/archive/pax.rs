//! PAX records: `<length> <key>=<value>\n`, the length counting itself.

/// The prefix of keys that hold extended attributes.
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";

/// Appends a record.
pub(super) fn put_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + digits(rest);
    length = rest + digits(length);
    out.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        out.extend_from_slice(part);
    }
}

const fn digits(number: usize) -> usize {
    1 + match number.checked_ilog10() {
        Some(log) => log as usize,
        None => 0,
    }
}

/// The keys and values of `records`. `None` in place of the first malformed one.
pub(super) fn records(mut records: &[u8]) -> impl Iterator<Item = Option<(&[u8], &[u8])>> {
    std::iter::from_fn(move || {
        if records.is_empty() {
            return None;
        }
        let first = split_record(records);
        records = first.map_or(&[], |(_, rest)| rest);
        Some(first.map(|(record, _)| record))
    })
}

type Record<'a> = (&'a [u8], &'a [u8]);

fn split_record(records: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = records.iter().position(|&byte| byte == b' ')?;
    let length = decimal(&records[..space])?;
    let (record, rest) = records.split_at_checked(usize::try_from(length).ok()?)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    let key = &record[..equals];
    (!key.is_empty() && !key.contains(&0)).then_some(((key, &record[equals + 1..]), rest))
}

/// Digits only.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let all_digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| all_digits)?.parse().ok()
}

/// A time: `-12.345`.
pub(super) fn time(text: &[u8]) -> Option<crate::Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let dot = text.iter().position(|&byte| byte == b'.').unwrap_or(text.len());
    let seconds = i64::try_from(decimal(&text[..dot])?).ok()?;
    let fraction = text.get(dot + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let padded = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = padded.fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanoseconds) {
        (false, _) => crate::Time { seconds, nanoseconds },
        (true, 0) => crate::Time::from_seconds(-seconds),
        (true, _) => crate::Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Time;
    use proptest::prelude::*;

    #[test]
    fn lengths_count_themselves() {
        for length in [1, 93, 94, 95, 96, 992, 993, 994, 995] {
            let mut out = Vec::new();
            put_record(&mut out, b"k", &vec![b'v'; length]);
            let counted: usize =
                std::str::from_utf8(&out).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!(counted, out.len(), "value of {length} bytes");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time(b"12"), Some(Time::from_seconds(12)));
        assert_eq!(time(b"12.5"), Some(Time { seconds: 12, nanoseconds: 500_000_000 }));
        assert_eq!(time(b"-1.25"), Some(Time { seconds: -2, nanoseconds: 750_000_000 }));
        assert_eq!(time(b"-5"), Some(Time::from_seconds(-5)));
        assert_eq!(time(b"1.1234567891"), Some(Time { seconds: 1, nanoseconds: 123_456_789 }));
        for bad in [&b""[..], b"-", b"x", b"1.x", b"1.123456789x", b"99999999999999999999"] {
            assert_eq!(time(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(
            pairs in prop::collection::vec(("[a-z.]{1,20}", prop::collection::vec(any::<u8>(), 0..1200)), 0..5),
        ) {
            let mut out = Vec::new();
            for (key, value) in &pairs {
                put_record(&mut out, key.as_bytes(), value);
            }
            let read: Option<Vec<_>> = records(&out).collect();
            let wanted: Vec<_> = pairs.iter().map(|(key, value)| (key.as_bytes(), value.as_slice())).collect();
            prop_assert_eq!(read, Some(wanted));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[0-9 =a\n.-]{0,60}") {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                records(bytes).for_each(drop);
                let _ = time(bytes);
            }
        }
    }
}
