//! What can go wrong, where, why, and what to do about it.

use std::{
    error, fmt, io,
    ops::{Deref, DerefMut, Range},
    sync::Arc,
};

/// A range of a source text that errors and steps point at.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's name, as the person typed it.
    pub file: Arc<str>,
    /// The whole text of the file.
    pub text: Arc<str>,
    /// The bytes meant.
    pub span: Range<usize>,
}

impl Place {
    /// The line, counted from one.
    #[must_use]
    pub fn line(&self) -> usize {
        self.before().matches('\n').count() + 1
    }

    /// The numbers of the first and the last line.
    #[must_use]
    pub fn lines(&self) -> (usize, usize) {
        let inside = self.text.get(self.span.clone()).unwrap_or_default();
        // The place behind the last line end is on no line.
        let lines = self.text.trim_end_matches('\n').matches('\n').count() + 1;
        let first = self.line().min(lines);
        (first, first + inside.trim_end_matches('\n').matches('\n').count())
    }

    /// The column in characters, counted from one.
    #[must_use]
    pub fn column(&self) -> usize {
        self.before().rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1
    }

    fn before(&self) -> &str {
        self.text.get(..self.span.start).unwrap_or_default()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line(), self.column())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who has to act, which decides heading and exit code (docs/exit-codes.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line asks for something impossible or not supported.
    Usage,
    /// The Dockerfile, context or ignore file is wrong.
    Input,
    /// A run step ended with a failure of its own.
    Step,
    /// A base image, tag, container or stage is nowhere to be found.
    NotFound,
    /// This machine does not let galley do it; `galley doctor` tells more.
    Machine,
    /// The disk or the store: full, broken, newer than this program.
    Store,
    /// Ctrl-C.
    Cancelled,
    /// Only look-ups were allowed and one missed: enter the user namespace and start over.
    NeedsExecution,
    /// A record of another machine promised files that cannot be had; it is forgotten now: start over.
    CacheLost,
    /// A registry cannot be reached, does not answer as it should, or does not let us in.
    Registry,
    /// A bug of galley.
    Internal,
}

/// An error as the person sees it. One pointer wide, so that results stay small; it reads like its [`Report`].
#[derive(Debug)]
pub struct Error(Box<Report>);

/// What an error says.
#[derive(Debug)]
pub struct Report {
    /// Who has to act.
    pub kind: ErrorKind,
    /// What failed and why, lower case, no full stop.
    pub message: String,
    /// Where in the Dockerfile.
    pub place: Option<Place>,
    /// Said at the place, under the source line.
    pub label: Option<String>,
    /// What to do, one hint each.
    pub help: Vec<String>,
    /// Why, from below.
    pub source: Option<Box<dyn error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Report { kind, message, place: None, label: None, help: Vec::new(), source: None }))
    }

    /// Adds the place, unless a closer one is known already.
    #[must_use]
    pub fn at(mut self, place: &Place) -> Self {
        self.place.get_or_insert_with(|| place.clone());
        self
    }

    /// Adds what is said under the source line.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds a hint what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl Deref for Error {
    type Target = Report;

    fn deref(&self) -> &Report {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Report {
        &mut self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl ErrorKind {
    /// This kind, unless the disk is to blame: it is full or broken, or cannot be written to.
    pub(crate) fn unless_disk(self, error: &(dyn error::Error + 'static)) -> Self {
        if caused_by(error, is_of_disk) { Self::Store } else { self }
    }
}

fn is_of_disk(cause: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let broken = galley_store::os_error_number(cause) == Some(rustix::io::Errno::IO.raw_os_error());
    broken || [StorageFull, QuotaExceeded, ReadOnlyFilesystem].contains(&cause.kind())
}

/// Whether the cause at the bottom of `error` is that somebody may not do it.
pub(crate) fn permission_denied(error: &(dyn error::Error + 'static)) -> bool {
    caused_by(error, |cause| cause.kind() == io::ErrorKind::PermissionDenied)
}

fn caused_by(error: &(dyn error::Error + 'static), is: impl Fn(&io::Error) -> bool) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| cause.downcast_ref::<io::Error>().is_some_and(&is))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters() {
        let place = Place { file: "Dockerfile".into(), text: "FROM a\n# é RUN x\n".into(), span: 12..15 };
        assert_eq!(place.to_string(), "Dockerfile:2:5");
    }

    #[test]
    fn a_broken_disk_is_not_the_persons_fault() {
        use rustix::io::Errno;
        let kind = |errno: Errno| {
            let error = Error::new(ErrorKind::Internal, "cannot").because(io::Error::from(errno));
            ErrorKind::Usage.unless_disk(&error)
        };
        for disk in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ROFS] {
            assert_eq!(kind(disk), ErrorKind::Store, "{disk}");
        }
        assert_eq!(kind(Errno::NOENT), ErrorKind::Usage);
    }
}
