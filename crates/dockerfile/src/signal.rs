//! The signals that STOPSIGNAL takes: Linux numbers and names.

use crate::error::{Error, ErrorKind};
use crate::span::Span;

/// The first and the last real-time signal.
const REAL_TIME: (i32, i32) = (34, 64);

/// Names without `SIG`, with their numbers on x86 and ARM.
const NAMES: [(&str, i32); 36] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", REAL_TIME.0),
    ("RTMAX", REAL_TIME.1),
];

/// The number of a signal given by name (any case, with or without `SIG`) or by number.
pub fn parse(text: &str, span: Span) -> Result<i32, Error> {
    let number = match text.parse::<i32>() {
        // Docker takes any number but zero; one that Linux does not have could never be sent.
        Ok(number) => Some(number).filter(|number| (1..=REAL_TIME.1).contains(number)),
        Err(_) => by_name(text),
    };
    number.ok_or_else(|| {
        Error::new(ErrorKind::BadSignal { value: text.to_owned() }, span)
            .with_help("write a name such as SIGTERM, or a number from 1 to 64")
    })
}

fn by_name(text: &str) -> Option<i32> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let known = |name: &str| NAMES.iter().find(|(known, _)| *known == name).map(|&(_, number)| number);
    let offset = |digits: &str, limit: i32| {
        let canonical = !digits.starts_with(['0', '+', '-']);
        digits.parse::<i32>().ok().filter(|offset| canonical && (1..=limit).contains(offset))
    };
    if let Some(digits) = name.strip_prefix("RTMIN+") {
        return Some(REAL_TIME.0 + offset(digits, 15)?);
    }
    if let Some(digits) = name.strip_prefix("RTMAX-") {
        return Some(REAL_TIME.1 - offset(digits, 14)?);
    }
    known(name)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::span::Span;

    #[test]
    fn names_and_numbers() {
        let number = |text| parse(text, Span::default()).ok();
        for (text, expected) in
            [("SIGTERM", 15), ("term", 15), ("9", 9), ("SIGRTMIN+3", 37), ("rtmax-14", 50), ("SIGRTMAX", 64)]
        {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        for text in ["", "SIG", "0", "-1", "65", "RTMIN+16", "RTMIN+", "RTMAX-15", "RTMIN+01", "SIGNOPE"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
