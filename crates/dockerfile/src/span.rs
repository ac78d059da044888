//! Where something stands in a source text.

use std::ops::Range;

/// A range of bytes of a [`Source`](crate::Source).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
}

impl Span {
    /// The range `start..end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }

    /// Number of bytes.
    pub fn len(self) -> usize {
        self.end - self.start
    }

    /// Whether it covers nothing.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The smallest span that covers both.
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// As the range type that slices take.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A piece of text and where it was written. The text can be shorter than the span: quotes and line ends are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Word {
    /// What it says, unexpanded.
    pub text: String,
    /// Where it says so.
    pub span: Span,
}

impl Word {
    /// A word of this text at this place.
    pub fn new(text: impl Into<String>, span: Span) -> Self {
        Self { text: text.into(), span }
    }

    /// The place of a part of the text, as exactly as it is known: the whole word when characters were dropped from it.
    pub fn part(&self, range: Range<usize>) -> Span {
        if self.span.len() == self.text.len() && range.start <= range.end && range.end <= self.text.len() {
            Span::new(self.span.start + range.start, self.span.start + range.end)
        } else {
            self.span
        }
    }
}
