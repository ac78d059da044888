//! The text that instructions were written in, so that steps and errors can point at it.

use std::{ops::Range, sync::Arc};

use galley_dockerfile::{Instruction, Span};

use crate::{Error, ErrorKind, Place};

/// A Dockerfile, or a trigger that a base image carries.
#[derive(Clone, Debug)]
pub(super) struct Text {
    file: Arc<str>,
    text: Arc<str>,
    /// Where the lines end.
    line_ends: Arc<[usize]>,
    /// The escape character of words.
    pub(super) escape: char,
}

impl Text {
    pub(super) fn new(file: &str, text: &str, escape: char) -> Self {
        let line_ends = text.match_indices('\n').map(|(at, _)| at).collect();
        Self { file: file.into(), text: text.into(), line_ends, escape }
    }

    /// The same text with another escape character.
    pub(super) fn with_escape(self, escape: char) -> Self {
        Self { escape, ..self }
    }

    /// All of it.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// A place in this text.
    pub(super) fn place(&self, span: Span) -> Place {
        let Range { start, end } = span.range();
        Place { file: Arc::clone(&self.file), text: Arc::clone(&self.text), span: start..end }
    }

    /// The numbers of the first and the last line of a span.
    pub(super) fn lines(&self, span: Span) -> (usize, usize) {
        let line = |at: usize| self.line_ends.partition_point(|end| *end < at) + 1;
        // The line end of a here-document's last line belongs to that line.
        (line(span.start), line(span.end.max(span.start + 1) - 1))
    }

    /// An error of the language, drawn here.
    pub(super) fn error(&self, error: &galley_dockerfile::Error) -> Error {
        let drawn =
            Error::new(ErrorKind::Input, error.message()).at(&self.place(error.span())).label(error.label());
        match error.help() {
            Some(help) => drawn.help(help),
            None => drawn,
        }
    }

    /// Something wrong that only the planner can see.
    pub(super) fn wrong(&self, span: Span, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Input, message).at(&self.place(span))
    }
}

/// Where a flag of an instruction stands.
pub(super) fn flag_span(instruction: &Instruction, flag: &str) -> Span {
    instruction
        .flags
        .iter()
        .find(|known| known.name.text == flag)
        .map_or(instruction.span, |known| known.span)
}
