//! The instructions whose arguments are a word, or a list of words.

use super::Request;
use crate::error::{Error, ErrorKind, WarningKind};
use crate::line::Args;
use crate::span::Word;
use crate::words;

/// `WORKDIR path`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workdir {
    /// The rest of the line, blanks and all.
    pub path: Word,
}

/// `USER name[:group]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The rest of the line without a trailing comment; [`crate::user`] reads it after expansion.
    pub user: Word,
}

/// `EXPOSE port …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expose {
    /// In the order in which Docker expands them: sorted as text. Each may expand to several ([`crate::port`]).
    pub ports: Vec<Word>,
}

/// `VOLUME path …` or `VOLUME ["path"…]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// In the order of the text.
    pub paths: Vec<Word>,
}

/// `SHELL ["program", "argument"…]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shell {
    /// At least one. Never expanded.
    pub arguments: Vec<Word>,
}

/// `STOPSIGNAL signal`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopSignal {
    /// [`crate::signal`] checks it after expansion.
    pub signal: Word,
}

/// `MAINTAINER text`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintainer {
    /// The rest of the line. Never expanded.
    pub author: Word,
}

impl Workdir {
    pub(super) fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        let path = request.plain_args("a path")?.word();
        request.warn_of_hash();
        Ok(Self { path })
    }
}

impl User {
    pub(super) fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        let args = request.plain_args("a user")?;
        let (user, comment) = without_comment(&args);
        if user.is_empty() {
            return Err(request.missing("a user"));
        }
        if let Some(comment) = comment {
            let kind = WarningKind::CommentBehindUser { comment: comment.text().to_owned() };
            request.warn(kind, comment.span());
        }
        Ok(Self { user: user.word() })
    }
}

/// A user's name holds no `#`: whatever follows one behind white space was meant as a comment. Docker takes it as a
/// part of the name, and the image cannot start.
fn without_comment<'a>(args: &Args<'a>) -> (Args<'a>, Option<Args<'a>>) {
    let text = args.text();
    let begins = |(at, _): &(usize, &str)| {
        *at == 0 || text.get(..*at).is_some_and(|before| before.ends_with(words::BLANKS))
    };
    match text.match_indices('#').find(begins) {
        Some((at, _)) => (args.part(0..at).trim(), Some(args.from(at))),
        None => (args.clone(), None),
    }
}

impl Expose {
    pub(super) fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        let args = request.plain_args("at least one port")?;
        let mut ports = words::at_blanks(&args);
        ports.sort_by(|left, right| left.text.cmp(&right.text));
        Ok(Self { ports })
    }
}

impl Volume {
    pub(super) fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        request.take_flags(&[])?;
        let words = request.list()?;
        if words.is_empty() {
            return Err(request.missing("at least one path"));
        }
        let trimmed = words.into_iter().map(|word| Word::new(word.text.trim(), word.span));
        let paths: Vec<Word> = trimmed.collect();
        match paths.iter().find(|path| path.text.is_empty()) {
            Some(empty) => Err(Error::new(ErrorKind::EmptyVolume, empty.span)),
            None => Ok(Self { paths }),
        }
    }
}

impl Shell {
    pub(super) fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        let args = request.plain_args("at least one argument")?;
        match super::line::exec_form(request, &args)? {
            Some(arguments) if arguments.is_empty() => Err(request.missing("at least one argument")),
            Some(arguments) => Ok(Self { arguments }),
            None => Err(Error::new(ErrorKind::NotJson { instruction: request.name }, args.span())
                .with_help("write SHELL [\"/bin/sh\", \"-c\"], in double quotes")),
        }
    }
}

impl StopSignal {
    pub(super) fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        let signal = request.plain_args("a signal")?.word();
        request.warn_of_hash();
        Ok(Self { signal })
    }
}

impl Maintainer {
    pub(super) fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        let author = request.plain_args("a name")?.word();
        Ok(Self { author })
    }
}
