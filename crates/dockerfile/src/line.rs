//! Logical lines: physical lines joined at their continuation characters, with a way back to the source offsets.

use crate::span::{Span, Word};
use std::ops::Range;

/// One joined line. `pieces` maps offsets of `text` to offsets of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    text: String,
    /// (offset in `text`, offset in the source) of each piece, ascending.
    pieces: Vec<(usize, usize)>,
}

impl Line {
    /// Appends a piece of the source.
    pub(crate) fn push(&mut self, text: &str, source_offset: usize) {
        self.pieces.push((self.text.len(), source_offset));
        self.text.push_str(text);
    }

    /// Offset in the source of a byte of the text.
    fn source_offset(&self, offset: usize) -> usize {
        let index = self.pieces.partition_point(|&(start, _)| start <= offset).saturating_sub(1);
        self.pieces.get(index).map_or(0, |&(start, source)| source + (offset - start))
    }

    /// The source span of a range of the text.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        let start = self.source_offset(range.start);
        let end = if range.end > range.start { self.source_offset(range.end - 1) + 1 } else { start };
        Span::new(start, end)
    }

    /// The whole line as arguments, trimmed.
    pub(crate) fn args(&self) -> Args<'_> {
        Args { line: self, range: 0..self.text.len() }.trim()
    }
}

/// A part of a logical line.
#[derive(Clone, Debug)]
pub(crate) struct Args<'a> {
    line: &'a Line,
    range: Range<usize>,
}

impl<'a> Args<'a> {
    /// What it says.
    pub(crate) fn text(&self) -> &'a str {
        self.line.text.get(self.range.clone()).unwrap_or_default()
    }

    /// Where it says so.
    pub(crate) fn span(&self) -> Span {
        self.line.span(self.range.clone())
    }

    /// The part behind an offset of [`Self::text`].
    pub(crate) fn from(&self, offset: usize) -> Self {
        self.part(offset..self.range.len())
    }

    /// A part, by offsets of [`Self::text`].
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        let end = self.range.end.min(self.range.start + range.end);
        let start = end.min(self.range.start + range.start);
        Self { line: self.line, range: start..end }
    }

    /// Without white space on both sides.
    pub(crate) fn trim(&self) -> Self {
        let text = self.text();
        let start = text.len() - text.trim_start().len();
        self.part(start..start + text.trim().len())
    }

    /// From here to the end of the logical line, with the blanks that [`Self::trim`] takes away.
    pub(crate) fn to_line_end(&self) -> &'a str {
        self.line.text.get(self.range.start..).unwrap_or_default()
    }

    /// The whole part as one word.
    pub(crate) fn word(&self) -> Word {
        Word::new(self.text(), self.span())
    }

    /// A text that was made out of a part of this one.
    pub(crate) fn word_at(&self, text: String, range: Range<usize>) -> Word {
        Word { text, span: self.part(range).span() }
    }

    /// Whether nothing is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.range.is_empty()
    }
}

/// The physical lines of a text, with their line ends, from an offset on.
#[derive(Clone, Debug)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    offset: usize,
}

/// A physical line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Physical<'a> {
    /// With its line end.
    pub(crate) text: &'a str,
    /// Offset in the source.
    pub(crate) offset: usize,
}

impl<'a> Lines<'a> {
    /// Skips a byte order mark.
    pub(crate) fn new(text: &'a str) -> Self {
        let offset = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text, offset }
    }

    /// The end of what was read so far, without the last line end.
    pub(crate) fn consumed(&self) -> usize {
        let read = self.text.get(..self.offset).unwrap_or_default();
        read.strip_suffix('\n').unwrap_or(read).len()
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Physical<'a>;

    fn next(&mut self) -> Option<Physical<'a>> {
        let offset = self.offset;
        let rest = self.text.get(offset..).filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').map_or(rest.len(), |at| at + 1);
        self.offset += length;
        Some(Physical { text: rest.get(..length)?, offset })
    }
}

impl<'a> Physical<'a> {
    /// Without its line end.
    pub(crate) fn trim_end(self) -> Self {
        Self { text: self.text.trim_end_matches(['\r', '\n']), ..self }
    }

    /// Without leading white space.
    pub(crate) fn trim_start(self) -> Self {
        let text = self.text.trim_start();
        Self { text, offset: self.offset + self.text.len() - text.len() }
    }

    /// The part before the continuation character, when the line ends in one. An escaped escape character is none.
    pub(crate) fn before_continuation(self, escape: char) -> Option<Self> {
        let text = self.text.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
        (!text.ends_with(escape)).then_some(Self { text, ..self })
    }

    /// Whether the first visible character is `#`.
    pub(crate) fn is_comment(self) -> bool {
        self.text.trim_start().starts_with('#')
    }
}
