//! What the reader of one instruction gets.

use super::CommandLine;
use crate::error::{Error, ErrorKind, Warning, WarningKind};
use crate::flag::{Flag, FlagKind, FlagSet};
use crate::heredoc::Heredoc;
use crate::line::Args;
use crate::span::{Span, Word};
use crate::words;

/// An instruction cut into its parts, and the place for warnings.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// The instruction in capitals.
    pub(crate) name: &'static str,
    /// Where the keyword stands.
    pub(crate) keyword: Span,
    /// The flags, not yet checked.
    pub(crate) flags: Vec<Flag>,
    /// What follows the flags.
    pub(crate) args: Args<'a>,
    /// The here-documents of the line.
    pub(crate) heredocs: Vec<Heredoc>,
    /// The Dockerfile's escape character.
    pub(crate) escape: char,
    /// Where warnings go.
    pub(crate) warnings: &'a mut Vec<Warning>,
}

impl<'a> Request<'a> {
    /// The flags, checked against the known ones.
    pub(super) fn take_flags(&mut self, known: &[(&'static str, FlagKind)]) -> Result<FlagSet, Error> {
        FlagSet::new(self.name, std::mem::take(&mut self.flags), known)
    }

    /// No flags, and at least something behind the keyword.
    pub(super) fn plain_args(&mut self, what: &'static str) -> Result<Args<'a>, Error> {
        self.take_flags(&[])?;
        if self.args.is_empty() {
            return Err(self.missing(what));
        }
        Ok(self.args.clone())
    }

    /// "… requires …", at the keyword.
    pub(super) fn missing(&self, what: &'static str) -> Error {
        Error::new(ErrorKind::MissingArgument { instruction: self.name, what }, self.keyword)
    }

    pub(super) fn warn(&mut self, kind: WarningKind, span: Span) {
        self.warnings.push(Warning::new(kind, span));
    }

    /// CMD and ENTRYPOINT.
    pub(super) fn command_line(&mut self) -> Result<CommandLine, Error> {
        self.take_flags(&[])?;
        let args = self.args.clone();
        CommandLine::read(self, &args)
    }

    /// The exec form, or words at white space.
    pub(super) fn list(&mut self) -> Result<Vec<Word>, Error> {
        let args = self.args.clone();
        if let Some(words) = super::line::exec_form(self, &args)? {
            return Ok(words);
        }
        self.warn_of_hash();
        Ok(words::at_blanks(&args))
    }

    /// A `#` that looks like the start of a comment but is none.
    pub(super) fn warn_of_hash(&mut self) {
        let text = self.args.text();
        let Some(at) = [" # ", "\t# "].iter().find_map(|hash| text.find(hash)) else { return };
        let comment = self.args.from(at + 1);
        let kind =
            WarningKind::HashInArguments { instruction: self.name, comment: comment.text().to_owned() };
        self.warn(kind, comment.span());
    }
}
