//! Where the Dockerfile and the main context come from: a directory, standard input, or another machine.

use std::{
    ffi::OsStr,
    io,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::Path,
};

use galley_engine::{
    Error, ErrorKind,
    context::{self, Input},
    plan::ContextSource,
    remote::{Address, Remote},
};

use super::options::read_limited;
use crate::args::truth;

/// What a Dockerfile is called that comes without a name.
const NAMELESS: &str = "Dockerfile";
/// Whether `.git` stays in a context that is a repository, as in BuildKit.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// What was typed, and the ways to it.
pub(crate) struct Sources<'a> {
    pub(crate) context: &'a OsStr,
    /// `--file`.
    pub(crate) file: Option<&'a Path>,
    pub(crate) build_args: &'a [(String, String)],
    pub(crate) remote: &'a Remote<'a>,
    /// Whether files may be written: not outside of the user namespace.
    pub(crate) may_write: bool,
}

/// The Dockerfile's name and text, and the main context.
pub(crate) type Read = (String, Vec<u8>, ContextSource);

impl Sources<'_> {
    pub(crate) fn read(&self) -> Result<Read, Error> {
        let directory = Path::new(self.context);
        if self.context == "-" {
            return self.on_standard_input();
        }
        if self.context.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "the build context is empty text")
                .help("give a directory, for instance . for this one"));
        }
        // A directory of that name comes first, as in docker.
        match self.address(self.context)?.filter(|_| !directory.is_dir()) {
            Some(address) => self.elsewhere(&address),
            None => self.in_directory(directory),
        }
    }

    fn in_directory(&self, directory: &Path) -> Result<Read, Error> {
        if let Some((name, text)) = self.dockerfile_from_outside()? {
            return Ok((name, text, context::main_context(directory, None)?));
        }
        // A context that is not there is a better reason than the Dockerfile that is not in it.
        context::main_context(directory, None)?;
        let dockerfile = context::read_dockerfile(directory, self.file)?;
        let main = context::main_context(directory, Some(&dockerfile.path))?;
        Ok((dockerfile.name, dockerfile.text, main))
    }

    /// `build -`: an archive, which is the context with the Dockerfile in it, or a Dockerfile and nothing else.
    fn on_standard_input(&self) -> Result<Read, Error> {
        if self.file == Some(Path::new("-")) {
            let message = "--file - and the context - cannot both be standard input";
            return Err(Error::new(ErrorKind::Usage, message)
                .help("`galley build -` alone reads a Dockerfile, or an archive with one in it"));
        }
        let failed = |error| self.unreadable("context", error);
        let input = context::examine(self.standard_input().map_err(failed)?).map_err(failed)?;
        match input {
            Input::Archive(archive) => {
                let origin = "on standard input";
                let context = context::unpack(self.remote.store, ".", origin, None, archive);
                self.in_context(context.map_err(|error| self.unless_stopped(error))?, origin)
            }
            Input::Text(text) if text.is_empty() => {
                Err(Error::new(ErrorKind::Input, "standard input is empty")
                    .help("`galley build -` reads a Dockerfile, or an archive with one in it"))
            }
            Input::Text(_) if self.file.is_some() => {
                let message =
                    "--file and standard input both give a Dockerfile: what came there is no archive";
                Err(Error::new(ErrorKind::Usage, message).help("leave one of them out"))
            }
            Input::Text(text) => Ok((NAMELESS.to_owned(), text, context::empty_context(self.remote.store)?)),
        }
    }

    /// Not [`io::stdin`], from which nothing calls us back.
    fn standard_input(&self) -> io::Result<Box<dyn io::Read + Send>> {
        let file = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(context::waiting(file.into(), self.remote.stop))
    }

    fn unreadable(&self, what: &str, error: io::Error) -> Error {
        let message = format!("cannot read the {what} on standard input");
        self.unless_stopped(Error::new(ErrorKind::Input, message).because(error))
    }

    fn unless_stopped(&self, error: Error) -> Error {
        match self.remote.stop.is_cancelled() {
            true => Error::new(ErrorKind::Cancelled, "cancelled"),
            false => error,
        }
    }

    /// A repository, an archive, or a Dockerfile alone.
    fn elsewhere(&self, address: &Address) -> Result<Read, Error> {
        let given = self.dockerfile_from_outside()?;
        let fetched = context::fetch(self.remote, &self.as_asked(address), self.may_write)?;
        if let Some((name, text)) = given {
            return Ok((name, text, fetched.context));
        }
        if let Some(file) = self.file.filter(|file| file.is_absolute()) {
            let dockerfile = context::read_dockerfile(Path::new("."), Some(file))?;
            return Ok((dockerfile.name, dockerfile.text, fetched.context));
        }
        match fetched.dockerfile {
            Some(dockerfile) => Ok((dockerfile.name, dockerfile.text, fetched.context)),
            None => self.in_context(fetched.context, &fetched.origin),
        }
    }

    /// The Dockerfile is in the context, at `--file`.
    fn in_context(&self, context: ContextSource, origin: &str) -> Result<Read, Error> {
        let file = self.file.map(|file| file.as_os_str().as_bytes());
        let dockerfile = context::kept_dockerfile(self.remote.store, &context, origin, file)?;
        Ok((dockerfile.name, dockerfile.text, context))
    }

    /// `--file -` and `--file URL`.
    fn dockerfile_from_outside(&self) -> Result<Option<(String, Vec<u8>)>, Error> {
        let Some(file) = self.file else { return Ok(None) };
        if file == Path::new("-") {
            let text = self.standard_input().and_then(read_limited);
            let text = text.map_err(|error| self.unreadable("Dockerfile", error))?;
            return Ok(Some((NAMELESS.to_owned(), text)));
        }
        match self.address(file.as_os_str())? {
            Some(address @ Address::Http(_)) => {
                let dockerfile = context::fetch_dockerfile(self.remote, &address, self.may_write)?;
                Ok(Some((NAMELESS.to_owned(), dockerfile.text)))
            }
            _ => Ok(None),
        }
    }

    /// What is no path of this machine.
    fn address(&self, text: &OsStr) -> Result<Option<Address>, Error> {
        let Some(text) = text.to_str() else { return Ok(None) };
        Address::of_context(text)
            .map_err(|error| Error::new(ErrorKind::Usage, format!("cannot use the context: {error}")))
    }

    /// With what build arguments say of repositories.
    fn as_asked(&self, address: &Address) -> Address {
        let given = |name: &str| self.build_args.iter().rev().find(|(known, _)| known == name);
        let mut address = address.clone();
        if let Address::Git(git) = &mut address {
            if given(KEEP_GIT_DIR).is_some_and(|(_, value)| truth(value) == Some(true)) {
                git.keep_git_dir = Some(true);
            }
            git.commit_times |= given("SOURCE_DATE_EPOCH").is_some_and(|(_, value)| !value.is_empty());
        }
        address
    }
}
