//! Shell form and exec form.

use super::Request;
use crate::error::{Error, ErrorKind, WarningKind};
use crate::json::{self, Json};
use crate::line::Args;
use crate::span::Word;

/// What RUN, CMD, ENTRYPOINT and HEALTHCHECK run. The builder never expands it; a shell form's shell does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// One text for the shell that SHELL set. Empty when nothing is written.
    Shell(Word),
    /// Program and arguments. Empty: `[]`.
    Exec(Vec<Word>),
}

impl CommandLine {
    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Shell(word) => word.text.is_empty(),
            Self::Exec(words) => words.is_empty(),
        }
    }

    /// The arguments to run, with the shell in front when it is the shell form.
    pub fn arguments(&self, shell: &[String]) -> Vec<String> {
        match self {
            Self::Shell(word) => shell.iter().cloned().chain([word.text.clone()]).collect(),
            Self::Exec(words) => words.iter().map(|word| word.text.clone()).collect(),
        }
    }

    /// Reads either form.
    pub(super) fn read(request: &mut Request<'_>, args: &Args<'_>) -> Result<Self, Error> {
        Ok(match exec_form(request, args)? {
            Some(words) => Self::Exec(words),
            None => Self::Shell(args.word()),
        })
    }
}

/// The strings of the exec form, or `None` with a warning where somebody seems to have meant one.
pub(super) fn exec_form(request: &mut Request<'_>, args: &Args<'_>) -> Result<Option<Vec<Word>>, Error> {
    match json::read(args) {
        Json::Strings(words) => Ok(Some(words)),
        Json::NotStrings => {
            let kind = ErrorKind::JsonNotStrings { instruction: request.name };
            Err(Error::new(kind, args.span()).with_help("put every element into double quotes"))
        }
        Json::No => {
            let shell_is_likely = matches!(request.name, "RUN" | "HEALTHCHECK");
            if json::looks_meant(args.text(), shell_is_likely) {
                request.warn(WarningKind::JsonFellBack { instruction: request.name }, args.span());
            }
            Ok(None)
        }
    }
}
