//! Why a command ends early: what is printed once, and the exit code.

use std::{fmt, io};

use galley_engine::{Error, ErrorKind};
use galley_store::StoreError;

use crate::exit;

/// The result of everything a command does.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error with its place and hints.
    Error(Error),
    /// As `Error`, with a code that `run` decides.
    Coded(u8, Error),
    /// The argument parser's own message; help and version come this way too.
    Arguments(Box<clap::Error>),
    /// Everything was said; only the code is left.
    Code(u8),
    /// The reader of our output went away.
    BrokenPipe,
}

impl Failure {
    /// A wrong use of galley.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::from(Error::new(ErrorKind::Usage, message))
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Error(error) => exit::code(error.kind),
            Self::Coded(code, _) | Self::Code(code) => *code,
            Self::Arguments(error) if error.use_stderr() => exit::USAGE,
            Self::Arguments(_) | Self::BrokenPipe => 0,
        }
    }

    /// The same for `run` and `create`, which end with docker's 125.
    pub(crate) fn of_container(self) -> Self {
        match self {
            Self::Error(error) if error.kind == ErrorKind::Cancelled => Self::Error(error),
            Self::Error(error) => Self::Coded(exit::USAGE, error),
            other => other,
        }
    }

    /// An error with a code of its own.
    pub(crate) fn coded(code: u8, error: Error) -> Self {
        Self::Coded(code, error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(of_depth(error))
    }
}

/// Whatever was done when a path was too long: the person has to shorten it, and is told so in one way.
fn of_depth(mut error: Error) -> Error {
    let Some(message) = too_deep(&error).map(StoreError::to_string) else { return error };
    (error.kind, error.message, error.source) = (ErrorKind::Input, message, None);
    error.help("give its folders shorter names, have fewer of them in each other, or leave it out")
}

fn too_deep<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a StoreError> {
    if let Some(found @ StoreError::TooDeep { .. }) = error.downcast_ref() {
        return Some(found);
    }
    // Those of input and output have what they are about beside the chain.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.map(|inner| inner as _).or_else(|| error.source()).and_then(too_deep)
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Self::Arguments(Box::new(error))
    }
}

/// An error while writing to standard output.
pub(crate) fn output(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::BrokenPipe;
    }
    Error::new(ErrorKind::Store, "could not write to standard output").because(error).into()
}

/// Standard output, where an archive goes. That its reader hung up is told apart from every other broken pipe: that of a
/// connection to a registry is a failure.
#[derive(Debug)]
pub(crate) struct Stream(io::Stdout);

impl Stream {
    pub(crate) fn new() -> Self {
        Self(io::stdout())
    }
}

impl io::Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(hung_up)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(hung_up)
    }
}

/// Whoever reads from our standard output does so no more.
#[derive(Debug)]
struct HungUp;

impl fmt::Display for HungUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of standard output hung up")
    }
}

impl std::error::Error for HungUp {}

fn hung_up(error: io::Error) -> io::Error {
    match error.kind() {
        kind @ io::ErrorKind::BrokenPipe => io::Error::new(kind, HungUp),
        _ => error,
    }
}

/// An error of the engine that wrote to a [`Stream`]: a reader that hung up is none.
pub(crate) fn of_stream(error: Error) -> Failure {
    let is_ours = |cause: &io::Error| cause.get_ref().is_some_and(|inner| inner.is::<HungUp>());
    if has_cause(&error, is_ours) { Failure::BrokenPipe } else { error.into() }
}

/// Whether somebody at the other end of something went away.
pub(crate) fn is_broken_pipe(error: &Error) -> bool {
    has_cause(error, |cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn has_cause(error: &Error, is_it: impl Fn(&io::Error) -> bool) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if cause.downcast_ref::<io::Error>().is_some_and(&is_it) {
            return true;
        }
        next = cause.source();
    }
    false
}

/// The store failed.
pub(crate) fn store_error(error: StoreError) -> Error {
    Error::new(ErrorKind::Store, "cannot use the store").because(error)
}

/// An error of a file that the person named.
pub(crate) fn file(what: &str, error: io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Store,
    };
    Error::new(kind, what).because(error).into()
}

/// Of several failures the first decides the exit code; the later ones are said at once.
pub(crate) fn keep_first(outcome: &mut Outcome, failure: Failure) {
    match outcome {
        Ok(()) => *outcome = Err(failure),
        Err(_) => crate::message::print(&failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_of_ours_may_hang_up() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        let failed = |cause: io::Error| Error::new(ErrorKind::Registry, "cannot push").because(cause);
        assert!(matches!(of_stream(failed(hung_up(broken()))), Failure::BrokenPipe));
        assert!(matches!(of_stream(failed(broken())), Failure::Error(_)));
    }
}
