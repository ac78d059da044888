//! A text that came from outside, with a name for messages and a way from offsets to lines.

use crate::error::{Error, ErrorKind};
use crate::span::Span;

/// The largest Dockerfile (or ONBUILD trigger) that is read.
pub const MAX_BYTES: usize = 16 << 20;

/// A position as people count: both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Number of the line, from 1.
    pub line: usize,
    /// Number of the character in the line, from 1.
    pub column: usize,
}

/// A named text. Cheap to look lines up in; the text is valid UTF-8 and at most [`MAX_BYTES`] long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    /// Offset of the first byte of every line.
    line_starts: Vec<usize>,
}

impl Source {
    /// Checks size and encoding. The error's span is the place of the first byte that is not UTF-8; draw it on
    /// [`Source::lossy`], in which all offsets up to there are the same.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let bytes = bytes.into();
        if bytes.len() > MAX_BYTES {
            return Err(Error::new(ErrorKind::TooLarge { limit: MAX_BYTES }, Span::new(0, 0)));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::from_text(name, text)),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let byte = error.as_bytes().get(at).copied().unwrap_or_default();
                Err(Error::new(ErrorKind::NotUtf8 { byte }, Span::new(at, at + 1))
                    .with_help("save the file as UTF-8"))
            }
        }
    }

    /// For drawing only: whatever is not UTF-8 becomes U+FFFD.
    pub fn lossy(name: impl Into<String>, bytes: &[u8]) -> Self {
        Self::from_text(name, String::from_utf8_lossy(bytes).into_owned())
    }

    fn from_text(name: impl Into<String>, text: String) -> Self {
        let ends = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(ends).collect();
        Self { name: name.into(), text, line_starts }
    }

    /// The name that messages use, usually a path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text of a span; empty when the span is not of this source.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }

    /// Line and column of an offset; of the end when it lies behind the end.
    pub fn location(&self, offset: usize) -> Location {
        let offset = offset.min(self.text.len());
        let line = self.line_starts.partition_point(|&start| start <= offset);
        let start = self.line_starts.get(line - 1).copied().unwrap_or_default();
        let before = self.text.as_bytes().get(start..offset).unwrap_or_default();
        // Continuation bytes of UTF-8 are not characters of their own.
        let column = before.iter().filter(|&&byte| byte & 0xC0 != 0x80).count() + 1;
        Location { line, column }
    }

    /// The text of a line, counted from 1, without its line end.
    pub fn line(&self, number: usize) -> &str {
        let Some(&start) = number.checked_sub(1).and_then(|index| self.line_starts.get(index)) else {
            return "";
        };
        let end = self.line_starts.get(number).copied().unwrap_or(self.text.len());
        self.text.get(start..end).unwrap_or_default().trim_end_matches(['\n', '\r'])
    }
}
