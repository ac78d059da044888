//! COPY and ADD.

use super::Request;
use crate::error::{Error, ErrorKind};
use crate::flag::FlagKind;
use crate::heredoc::{Head, Heredoc};
use crate::span::Word;

/// `COPY source… destination`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// `--from`: a stage, an image, a named context. Never expanded.
    pub from: Option<Word>,
    /// `--chown`, see [`crate::user`].
    pub chown: Option<Word>,
    /// `--chmod`, see [`crate::mode`].
    pub chmod: Option<Word>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`, see [`crate::ignore`]. Never expanded.
    pub excludes: Vec<Word>,
    /// At least one.
    pub sources: Vec<CopySource>,
    /// Where to.
    pub destination: Word,
}

/// `ADD source… destination`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// `--chown`, see [`crate::user`].
    pub chown: Option<Word>,
    /// `--chmod`, see [`crate::mode`].
    pub chmod: Option<Word>,
    /// `--link`
    pub link: bool,
    /// `--exclude`, see [`crate::ignore`]. Never expanded.
    pub excludes: Vec<Word>,
    /// `--checksum` of a remote source.
    pub checksum: Option<Word>,
    /// `--keep-git-dir`, if it was given.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`, if it was given.
    pub unpack: Option<bool>,
    /// At least one.
    pub sources: Vec<CopySource>,
    /// Where to.
    pub destination: Word,
}

/// Where bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopySource {
    /// A path, perhaps with wildcards ([`crate::glob`]); for ADD also a URL.
    Path(Word),
    /// A file written in the Dockerfile; its name is the file's name.
    Heredoc(Heredoc),
}

impl Copy {
    pub(super) fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        let flags = request.take_flags(&[
            ("from", FlagKind::Value),
            ("chown", FlagKind::Value),
            ("chmod", FlagKind::Value),
            ("link", FlagKind::Switch),
            ("parents", FlagKind::Switch),
            ("exclude", FlagKind::List),
        ])?;
        // Empty is the build context, as without the flag.
        let from = flags.value("from").filter(|from| !from.text.is_empty());
        if let Some(from) = &from {
            refuse_variable(from, "COPY --from")?;
        }
        let (sources, destination) = sources_and_destination(request)?;
        Ok(Self {
            from,
            chown: flags.value("chown"),
            chmod: flags.value("chmod"),
            link: flags.switch("link").unwrap_or_default(),
            parents: flags.switch("parents").unwrap_or_default(),
            excludes: flags.values("exclude"),
            sources,
            destination,
        })
    }
}

impl Add {
    pub(super) fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        let flags = request.take_flags(&[
            ("chown", FlagKind::Value),
            ("chmod", FlagKind::Value),
            ("link", FlagKind::Switch),
            ("keep-git-dir", FlagKind::Switch),
            ("checksum", FlagKind::Value),
            ("unpack", FlagKind::Switch),
            ("exclude", FlagKind::List),
        ])?;
        let (sources, destination) = sources_and_destination(request)?;
        Ok(Self {
            chown: flags.value("chown"),
            chmod: flags.value("chmod"),
            link: flags.switch("link").unwrap_or_default(),
            excludes: flags.values("exclude"),
            checksum: flags.value("checksum"),
            keep_git_dir: flags.switch("keep-git-dir"),
            unpack: flags.switch("unpack"),
            sources,
            destination,
        })
    }
}

/// The stages of a build are found before any variable has a value. A `$` at the very end is none.
pub(super) fn refuse_variable(word: &Word, place: &'static str) -> Result<(), Error> {
    match word.text.find('$') {
        Some(at) if at + 1 < word.text.len() => {
            Err(Error::new(ErrorKind::VariableInFrom { place }, word.part(at..word.text.len()))
                .with_help("give the image a name with `FROM image:$VERSION AS name`, and use that name"))
        }
        _ => Ok(()),
    }
}

fn sources_and_destination(request: &mut Request<'_>) -> Result<(Vec<CopySource>, Word), Error> {
    let mut words = request.list()?;
    let destination = words.pop().filter(|_| !words.is_empty());
    let destination = destination.ok_or_else(|| request.missing("at least one source and a destination"))?;
    if matches!(Head::read(&destination.text), Ok(Some(_))) {
        let kind = ErrorKind::HeredocDestination { instruction: request.name };
        return Err(
            Error::new(kind, destination.span).with_help("write the destination behind the here-document")
        );
    }
    let mut heredocs = std::mem::take(&mut request.heredocs).into_iter();
    let sources = words.into_iter().map(|word| source(word, &mut heredocs));
    Ok((sources.collect::<Result<_, _>>()?, destination))
}

/// A word that is the head of a here-document takes the next body.
fn source(word: Word, heredocs: &mut impl Iterator<Item = Heredoc>) -> Result<CopySource, Error> {
    let unreadable = |word: &Word| {
        let kind = ErrorKind::BadHeredocName { text: word.text.clone() };
        Error::new(kind, word.span).with_help("write the name directly behind `<<`, without spaces in it")
    };
    match Head::read(&word.text) {
        Ok(Some(_)) => Ok(heredocs.next().map_or(CopySource::Path(word), CopySource::Heredoc)),
        Err(_) => Err(unreadable(&word)),
        Ok(None) if matches!(word.text.as_str(), "<<" | "<<-") => Err(unreadable(&word)),
        Ok(None) => Ok(CopySource::Path(word)),
    }
}
