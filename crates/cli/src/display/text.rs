//! Foreign text made safe for a terminal: no escape sequences, no control characters, no more columns than fit.

use unicode_width::UnicodeWidthChar;

const TAB: usize = 8;

/// One line: escape sequences dropped, tabs expanded, other control characters and direction marks gone.
pub(crate) fn clean(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut column = 0;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => skip_escape(&mut rest),
            '\u{9b}' => skip_parameters(&mut rest),
            '\t' => {
                let stop = TAB - column % TAB;
                out.extend(std::iter::repeat_n(' ', stop));
                column += stop;
            }
            c if c.is_control() || turns(c) => {}
            c => {
                out.push(c);
                column += c.width().unwrap_or(0);
            }
        }
    }
    out
}

/// Several lines, each cleaned.
pub(crate) fn clean_lines(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

/// What a line shows in the end: the part after its last carriage return, as progress bars use them.
pub(crate) fn settled(line: &str) -> &str {
    let line = line.trim_end_matches('\r');
    line.rsplit('\r').next().unwrap_or(line)
}

/// Cuts to `columns`, marking the cut.
pub(crate) fn fit(line: &str, columns: usize) -> String {
    let width: usize = line.chars().map(|c| c.width().unwrap_or(0)).sum();
    if width <= columns {
        return line.to_owned();
    }
    let mut used = 0;
    let kept: String = line
        .chars()
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used < columns
        })
        .collect();
    if columns == 0 { kept } else { kept + "…" }
}

/// Whether a character turns the direction of what follows, which can make text look like other text.
const fn turns(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn skip_escape(rest: &mut std::str::Chars<'_>) {
    match rest.next() {
        Some('[') => skip_parameters(rest),
        Some(']' | 'P' | 'X' | '^' | '_') => skip_string(rest),
        // ESC ( B and its like: one more character.
        Some(' '..='/') => drop(rest.next()),
        _ => {}
    }
}

/// Up to the final byte of a control sequence.
fn skip_parameters(rest: &mut std::str::Chars<'_>) {
    for c in rest.by_ref() {
        if !matches!(c, '\x20'..='\x3f') {
            return;
        }
    }
}

/// Up to BEL or the string terminator.
fn skip_string(rest: &mut std::str::Chars<'_>) {
    while let Some(c) = rest.next() {
        match c {
            '\x07' | '\u{9c}' => return,
            '\x1b' => {
                rest.next();
                return;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sequences_vanish_and_text_stays() {
        let cases = [
            ("plain é 日本", "plain é 日本"),
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;http://x\x1b\\link", "link"),
            ("\x1b(Bx\x1b[2Ky", "xy"),
            ("a\tb", "a       b"),
            ("bell\x07 del\x7f", "bell del"),
            ("cut \x1b[", "cut "),
            ("\u{202e}abc", "abc"),
        ];
        for (line, expected) in cases {
            assert_eq!(clean(line), expected, "{line:?}");
        }
    }

    #[test]
    fn progress_bars_settle() {
        assert_eq!(settled("10%\r50%\r100%\r"), "100%");
        assert_eq!(settled("plain"), "plain");
    }

    #[test]
    fn long_lines_are_cut_by_columns() {
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abc", 0), "");
    }

    proptest! {
        #[test]
        fn nothing_dangerous_is_left(line in ".*") {
            prop_assert!(!clean(&line).chars().any(|c| c.is_control() || turns(c)));
        }

        #[test]
        fn a_cut_line_fits(line in "\\PC*", columns in 0_usize..40) {
            let width: usize = fit(&line, columns).chars().map(|c| c.width().unwrap_or(0)).sum();
            prop_assert!(width <= columns);
        }
    }
}
