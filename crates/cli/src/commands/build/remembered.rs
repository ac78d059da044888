//! What is left of a build besides its result: what the store remembers of it, `--trace` and `--report`.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use fs_err as fs;
use galley_engine::{Error, ErrorKind};
use galley_oci::{Blake3, Digest};
use galley_store::Store;

use super::{BuildArgs, outputs::Outputs};
use crate::{
    context::Context,
    failure::store_error,
    page,
    story::{self, Head, Model, Story},
};

/// What is to be remembered, and where to.
pub(super) struct Remembered {
    head: Head,
    subject: Digest,
    trace: Option<Sink>,
    report: Option<Sink>,
}

/// Where a document goes.
enum Sink {
    Stream,
    /// Opened before the build: who cannot write somewhere learns it at once.
    File(PathBuf, fs::File),
}

impl Remembered {
    pub(super) fn new(
        arguments: &BuildArgs,
        outputs: &Outputs,
        context: &Context,
        program: &str,
    ) -> Result<Self, Error> {
        let streams = [&arguments.trace, &arguments.report].into_iter().flatten();
        let streams = streams.filter(|path| is_stream(path)).count() + usize::from(outputs.to_stream());
        if streams > usize::from(!arguments.quiet) {
            let message = "only one thing can go to standard output";
            return Err(Error::new(ErrorKind::Usage, message).help("give the others a file"));
        }
        let head = Head {
            program: program.to_owned(),
            began: (context.started.seconds, context.started.nanoseconds),
            dockerfile: arguments
                .file
                .as_ref()
                .map_or_else(|| "Dockerfile".to_owned(), |path| without_password(&lossy(path))),
            context: without_password(&arguments.context.to_string_lossy()),
            target: arguments.target.clone(),
            names: outputs.names.iter().map(galley_oci::Reference::familiar).collect(),
            ..Head::default()
        };
        let open = |path: &Option<PathBuf>| path.as_deref().map(Sink::open).transpose();
        let (trace, report) = (open(&arguments.trace)?, open(&arguments.report)?);
        Ok(Self { head, subject: subject(arguments), trace, report })
    }

    /// Keeps it. A build in which nothing was done but to look leaves nothing in the store.
    pub(super) fn keep(self, store: &Store, story: Story, failed: Option<&Error>) -> Result<(), Error> {
        let is_news = story.is_news();
        if !is_news && self.trace.is_none() && self.report.is_none() {
            return Ok(());
        }
        let model = Model::new(&story);
        let mut head = self.head.completed(&model);
        head.error = failed.map(|error| error.message.clone());
        if is_news {
            let began = i128::from(head.began.0) * 1_000_000_000 + i128::from(head.began.1);
            let began = u64::try_from(began).unwrap_or_default();
            let text = story::write(&head, &story);
            store.put_build(&self.subject, began, &text).map_err(store_error)?;
        }
        if let Some(sink) = self.trace {
            sink.write(&story::trace(&head, &model))?;
        }
        if let Some(sink) = self.report {
            sink.write(&page::page(&head, &model, Some(store)))?;
        }
        Ok(())
    }
}

impl Sink {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        if is_stream(path) {
            return Ok(Self::Stream);
        }
        match fs::File::create(path) {
            Ok(file) => Ok(Self::File(path.to_owned(), file)),
            Err(error) => Err(cannot_write(path, error)),
        }
    }

    fn write(self, text: &str) -> Result<(), Error> {
        match self {
            Self::Stream => io::stdout().lock().write_all(text.as_bytes()).map_err(|error| {
                Error::new(ErrorKind::Store, "could not write to standard output").because(error)
            }),
            Self::File(path, mut file) => {
                file.write_all(text.as_bytes()).map_err(|error| cannot_write(&path, error))
            }
        }
    }
}

/// A file that somebody named cannot be written.
pub(crate) fn cannot_write(path: &Path, error: io::Error) -> Error {
    let missing = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    let failed = Error::new(ErrorKind::Usage, format!("cannot write {}", path.display())).because(error);
    match missing {
        Some(folder) => failed.help(format!("make the folder {} first", folder.display())),
        None => failed,
    }
}

fn is_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// An address without who asks for it; anything else as it is.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = host.rsplit('@').next().unwrap_or(host);
    format!("{scheme}://{host}{path}")
}

/// What is built, whatever it looks like now: of builds of the same subject each is explained by the one before.
pub(super) fn subject(arguments: &BuildArgs) -> Digest {
    let whole = |text: &Path| {
        let path = std::path::absolute(text).ok().filter(|path| path.exists());
        path.unwrap_or_else(|| text.to_owned()).into_os_string().into_encoded_bytes()
    };
    let mut hash = Blake3::of("galley.subject.v1");
    hash.field(&whole(Path::new(&arguments.context)));
    hash.field(&arguments.file.as_deref().map(whole).unwrap_or_default());
    hash.field(arguments.target.as_deref().unwrap_or_default().as_bytes());
    for platform in &arguments.platform {
        hash.field(platform.as_bytes());
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_without_passwords() {
        let kept = without_password("https://me:pass@example.com/a@b.git#main");
        assert_eq!(kept, "https://example.com/a@b.git#main");
        assert_eq!(
            (without_password("."), without_password("git://x")),
            (".".to_owned(), "git://x".to_owned())
        );
    }
}
