//! Values as Go prints them: the image history holds such texts, and tools compare them.

use std::time::Duration;

/// `%q` of a string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        quote_character(character, &mut out);
    }
    out.push('"');
    out
}

/// `%q` of a list of strings: `["a" "b"]`.
pub(super) fn quoted_list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", quoted.join(" "))
}

/// `%v` of a list of strings: `[a b]`.
pub(super) fn list(texts: &[String]) -> String {
    format!("[{}]", texts.join(" "))
}

fn quote_character(character: char, out: &mut String) {
    let short = match character {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{b}' => "\\v",
        _ => "",
    };
    if !short.is_empty() {
        out.push_str(short);
    } else if is_printable(character) {
        out.push(character);
    } else {
        out.push_str(&match u32::from(character) {
            code @ ..0x80 => format!("\\x{code:02x}"),
            code @ 0x80..0x10000 => format!("\\u{code:04x}"),
            code => format!("\\U{code:08x}"),
        });
    }
}

/// Letters, marks, numbers, punctuation, symbols and the plain space, in Go and in Rust.
fn is_printable(character: char) -> bool {
    if matches!(character, '\'' | '"' | '\\') {
        return true;
    }
    // Alone, a combining mark would be escaped; behind another character only what cannot be printed is.
    let behind_another: String = ['a', character].iter().collect();
    behind_another.escape_debug().count() == 2
}

/// `Duration.String()`: `1m30s`, `1.5s`, `10ms`, `0s`.
pub(super) fn duration(duration: Duration) -> String {
    let (seconds, nanoseconds) = (duration.as_secs(), duration.subsec_nanos());
    if seconds == 0 {
        return match nanoseconds {
            0 => "0s".to_owned(),
            1..1_000 => format!("{nanoseconds}ns"),
            1_000..1_000_000 => format!("{}µs", decimal(0, nanoseconds, 1_000)),
            _ => format!("{}ms", decimal(0, nanoseconds, 1_000_000)),
        };
    }
    let rest = decimal(seconds % 60, nanoseconds, 1_000_000_000);
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// `whole` plus `part / unit`, without zeros at the end.
fn decimal(whole: u64, part: u32, unit: u32) -> String {
    let (whole, fraction) = (whole + u64::from(part / unit), part % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    format!("{whole}.{}", format!("{fraction:0digits$}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        let cases = [
            ("a b", r#""a b""#),
            ("say \"hi\"\\\t\n", r#""say \"hi\"\\\t\n""#),
            ("é 世 e\u{301}", "\"é 世 e\u{301}\""),
            ("\u{1b}\u{a0}\u{200b}\u{e000}\u{10ffff}", r#""\x1b\u00a0\u200b\ue000\U0010ffff""#),
            ("it's", r#""it's""#),
        ];
        for (text, wanted) in cases {
            assert_eq!(quoted(text), wanted);
        }
        assert_eq!(quoted_list(&["a".to_owned(), "b c".to_owned()]), r#"["a" "b c"]"#);
        assert_eq!(list(&[]), "[]");
    }

    #[test]
    fn durations() {
        let cases = [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (1_500_000_000, "1.5s"),
            (10_000_000, "10ms"),
            (90_000_000_000, "1m30s"),
            (300_000_000_000, "5m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_661_001_000_000, "1h1m1.001s"),
        ];
        for (nanoseconds, wanted) in cases {
            assert_eq!(duration(Duration::from_nanos(nanoseconds)), wanted);
        }
    }
}
