//! Foreign text in HTML: escaped, without control characters and escape sequences, without what turns the direction.

use std::fmt::{Display, Write};

use crate::display::text::{clean, settled};

/// One line as the text of an element or the value of an attribute in double quotes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(&text.replace(['\n', '\r'], " ")).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Several lines, each as it looks in the end on a terminal.
pub(super) fn escape_lines(text: &str) -> String {
    let lines = text.split('\n').map(|line| escape(settled(line)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Cuts to so many characters.
pub(super) fn cut(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let kept: String = text.chars().take(characters.saturating_sub(1)).collect();
    kept + "…"
}

/// Markup that grows. Everything foreign comes in through [`escape`].
#[derive(Debug, Default)]
pub(super) struct Html(pub(super) String);

impl Html {
    /// Adds our own markup.
    pub(super) fn raw(&mut self, markup: impl Display) -> &mut Self {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{markup}");
        self
    }

    /// Adds foreign text.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.0.push_str(&escape(text));
        self
    }

    /// A term and its description; nothing without one.
    pub(super) fn item(&mut self, term: &str, description: &str) -> &mut Self {
        if !description.is_empty() {
            self.raw(format_args!("<dt>{term}</dt><dd>{description}</dd>"));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markup_is_text() {
        assert_eq!(
            escape("</script><b a=\"x\" c='y'>&"),
            "&lt;/script&gt;&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;"
        );
        assert_eq!(escape("a\x1b[31mred\x1b[0m\0\u{202e}b"), "aredb");
        assert_eq!(escape_lines("10%\r100%\nnext\r\n"), "100%\nnext\n");
    }

    #[test]
    fn cut_counts_characters() {
        assert_eq!((cut("äöü", 3).as_str(), cut("äöüx", 3).as_str()), ("äöü", "äö…"));
    }

    proptest! {
        #[test]
        fn nothing_of_markup_is_left(text in ".*") {
            let escaped = escape(&text);
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
            prop_assert!(!escaped.chars().any(char::is_control));
        }
    }
}
