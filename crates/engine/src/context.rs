//! What a build reads from this machine before it is planned: the Dockerfile, ignore files, and where contexts are.
//!
//! The files of a context are read later, when a step first needs them. The Dockerfile and the ignore file obey the
//! ignore rules like any other file: they are read here, but COPY sees them only when they are not ignored.

mod fetched;
mod kept;

use std::{
    ffi::OsStr,
    io::{self, Read},
    path::{Path, PathBuf},
};

use fs_err as fs;
use galley_dockerfile::{ignore, source};
use galley_oci::{Digest, Reference};

use crate::{
    Error, ErrorKind,
    plan::{BuildContext, ContextSource},
    ports::LayoutReference,
    remote::{Address, HttpAddress},
};

pub use fetched::{FetchedContext, fetch, fetch_dockerfile};
pub use kept::{Input, Kept, empty_context, examine, kept_dockerfile, unpack, waiting};

/// How a Dockerfile is called that nobody named, the first before the second.
const DEFAULT_NAMES: [&str; 2] = ["Dockerfile", "dockerfile"];

/// What the file at a URL is called in its context, as in BuildKit.
const FETCHED_NAME: &[u8] = b"context";

/// What `--build-context` takes.
const KNOWN_CONTEXTS: &str =
    "write NAME=DIRECTORY, NAME=URL, NAME=docker-image://IMAGE or NAME=oci-layout://PATH";

/// A Dockerfile that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerfileText {
    /// As messages show it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it holds.
    pub text: Vec<u8>,
}

/// Reads `file`, or without one `Dockerfile` of the context; where there is none of this name, `dockerfile` beside it.
pub fn read_dockerfile(context: &Path, file: Option<&Path>) -> Result<DockerfileText, Error> {
    let wanted = file.map_or_else(|| context.join(DEFAULT_NAMES[0]), Path::to_path_buf);
    let lower = wanted.with_file_name(DEFAULT_NAMES[1]);
    let lower = Some(lower).filter(|_| wanted.file_name() == Some(OsStr::new(DEFAULT_NAMES[0])));
    for path in [wanted].into_iter().chain(lower) {
        if file.is_none() {
            check_is_file(&path)?;
        }
        if let Some(text) = read(&path, source::MAX_BYTES)? {
            let name = path.strip_prefix(".").unwrap_or(&path).display().to_string();
            return Ok(DockerfileText { name, path, text });
        }
    }
    Err(match file {
        Some(file) => Error::new(ErrorKind::Input, format!("there is no Dockerfile at {}", file.display()))
            .help("-f takes a path from the current directory, not from the context"),
        None => Error::new(ErrorKind::Input, format!("there is no Dockerfile in {}", context.display()))
            .help("-f FILE names one that is elsewhere, or has another name"),
    })
}

/// The main context. Of the ignore files the one beside the Dockerfile with its name, if there is one, counts.
pub fn main_context(directory: &Path, dockerfile: Option<&Path>) -> Result<ContextSource, Error> {
    let own = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    context(".", directory, own)
}

/// A context with a name, which has ignore rules of its own.
pub fn named_context(name: &str, directory: &Path) -> Result<ContextSource, Error> {
    context(name, directory, None)
}

fn context(name: &str, directory: &Path, own: Option<PathBuf>) -> Result<ContextSource, Error> {
    let metadata = fs::metadata(directory).map_err(|error| no_directory(directory, error))?;
    if !metadata.is_dir() {
        let message = format!("the build context {} is not a directory", directory.display());
        return Err(Error::new(ErrorKind::Input, message));
    }
    let mut ignore = None;
    for path in own.into_iter().chain([directory.join(".dockerignore")]) {
        check_is_file(&path)?;
        if let Some(text) = read(&path, ignore::MAX_BYTES)? {
            ignore = Some((path.strip_prefix(".").unwrap_or(&path).display().to_string(), text));
            break;
        }
    }
    Ok(ContextSource { name: name.to_owned(), path: directory.to_path_buf(), ignore, kept: None })
}

/// Reads the value of `--build-context`: `NAME=oci-layout://PATH[:TAG][@DIGEST]`, `NAME=docker-image://IMAGE`,
/// `NAME=URL`, or `NAME=DIRECTORY`. A file at a URL is not unpacked, as in BuildKit.
pub fn build_context(value: &str) -> Result<(String, BuildContext), Error> {
    let wrong = |message: String| Error::new(ErrorKind::Usage, message);
    let (name, target) = value
        .split_once('=')
        .filter(|(name, target)| !name.is_empty() && !target.is_empty())
        .ok_or_else(|| wrong(format!("--build-context {value} is not NAME=VALUE")).help(KNOWN_CONTEXTS))?;
    // What stands behind :: is for one platform.
    let image = name.split_once("::").map_or(name, |(image, _)| image);
    if let Err(error) = image.parse::<Reference>() {
        let message = format!("--build-context {name}=: no stage and no image can have the name {image}");
        return Err(wrong(message).because(error));
    }
    if target.starts_with("target:") {
        let message = format!("--build-context {name}={target}: only a bake file has targets");
        return Err(wrong(message).help("build it first, and give docker-image://NAME"));
    }
    let address = Address::of_context(target).and_then(|address| match address {
        Some(Address::Git(git)) => git.check().map(|()| Some(Address::Git(git))),
        other => Ok(other),
    });
    let address = address.map_err(|error| wrong(format!("--build-context {name}=: {error}")))?;
    let context = if let Some(address) = address {
        BuildContext::Fetched(named_file(address))
    } else if let Some(layout) = target.strip_prefix("oci-layout://") {
        BuildContext::Layout(layout_reference(name, layout)?)
    } else if let Some(image) = target.strip_prefix("docker-image://") {
        BuildContext::Image(image.to_owned())
    } else {
        let directory = named_context(name, Path::new(target));
        BuildContext::Directory(directory.map_err(|error| no_context(name, target, error))?)
    };
    Ok((name.to_owned(), context))
}

/// A directory that is none: whose it was, and whether something else was meant.
fn no_context(name: &str, target: &str, error: Error) -> Error {
    let mut error = error;
    error.message = format!("--build-context {name}={target}: {}", error.message);
    match target.split_once("://") {
        Some(_) => error.help(KNOWN_CONTEXTS),
        None => error,
    }
}

/// The same with the name that a file from elsewhere has in its context.
fn named_file(address: Address) -> Address {
    match address {
        Address::Http(http) => Address::Http(HttpAddress { name: FETCHED_NAME.to_vec(), ..http }),
        git @ Address::Git(_) => git,
    }
}

fn layout_reference(name: &str, text: &str) -> Result<LayoutReference, Error> {
    let wrong = |message: String| {
        Error::new(ErrorKind::Usage, format!("--build-context {name}=oci-layout://{text}: {message}"))
    };
    let (rest, digest) = match text.rsplit_once('@') {
        Some((rest, digest)) => {
            let digest: Digest = digest
                .parse()
                .map_err(|error| wrong(format!("`{digest}` is not a digest")).because(error))?;
            (rest, Some(digest))
        }
        None => (text, None),
    };
    // A colon in the last name of the path begins the tag.
    let (path, tag) = match rest.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((path, tag)) => (path, Some(tag.to_owned())),
        None => (rest, None),
    };
    let path = PathBuf::from(path);
    if path.as_os_str().is_empty() {
        return Err(wrong("it names no directory".to_owned()).help(KNOWN_CONTEXTS));
    }
    if !path.join("index.json").is_file() {
        return Err(wrong(format!("{} holds no index.json", path.display())).help(
            "an OCI layout is a directory with index.json and blobs, as `skopeo copy … oci:DIRECTORY` writes it",
        ));
    }
    Ok(LayoutReference { path, tag, digest })
}

/// What a context holds may be a pipe that nobody writes to, or a device without end; what `-f` names is the person's choice.
fn check_is_file(path: &Path) -> Result<(), Error> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => {
            Err(cannot_read(path, io::Error::other("it is a pipe, a socket or a device")))
        }
        // Reading tells what is wrong with others.
        _ => Ok(()),
    }
}

/// A whole file up to a limit; nothing when there is none.
fn read(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, Error> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => return Ok(None),
        Err(error) => return Err(cannot_read(path, error)),
    };
    let mut text = Vec::new();
    // One byte more than allowed tells too long from just fitting.
    let longest = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(longest).read_to_end(&mut text).map_err(|error| cannot_read(path, error))?;
    if text.len() > limit {
        return Err(too_large(&path.display().to_string(), limit));
    }
    Ok(Some(text))
}

fn too_large(name: &str, limit: usize) -> Error {
    Error::new(ErrorKind::Input, format!("{name} is larger than {limit} bytes"))
        .help("is this the right file?")
}

fn no_directory(path: &Path, error: io::Error) -> Error {
    if error.kind() != io::ErrorKind::NotFound {
        return cannot_read(path, error);
    }
    Error::new(ErrorKind::Input, format!("the build context {} does not exist", path.display()))
}

fn cannot_read(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Input, format!("cannot read {}", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn dockerfiles_are_found_under_both_names() {
        let lower = folder(&[("dockerfile", "lower")]);
        assert_eq!(read_dockerfile(lower.path(), None).unwrap().text, b"lower");
        let both = folder(&[("dockerfile", "lower"), ("Dockerfile", "upper"), ("x/Other", "other")]);
        assert_eq!(read_dockerfile(both.path(), None).unwrap().text, b"upper");
        let other = both.path().join("x/Other");
        let found = read_dockerfile(both.path(), Some(&other)).unwrap();
        assert_eq!((found.text.as_slice(), found.name), (&b"other"[..], other.display().to_string()));
    }

    #[test]
    fn missing_dockerfiles_are_errors_with_advice() {
        let empty = folder(&[]);
        let error = read_dockerfile(empty.path(), None).expect_err("there is none");
        assert_eq!(error.message, format!("there is no Dockerfile in {}", empty.path().display()));
        assert_eq!(error.help, ["-f FILE names one that is elsewhere, or has another name"]);
        let error = read_dockerfile(empty.path(), Some(Path::new("no/such"))).expect_err("there is none");
        assert_eq!(error.message, "there is no Dockerfile at no/such");
        let error = main_context(&empty.path().join("no"), None).expect_err("there is none");
        let missing = empty.path().join("no");
        assert_eq!(error.message, format!("the build context {} does not exist", missing.display()));
    }

    #[test]
    fn the_ignore_file_with_the_dockerfiles_name_counts() {
        let files = folder(&[(".dockerignore", "all"), ("build/Dev", ""), ("build/Dev.dockerignore", "dev")]);
        let ignore = |dockerfile: &str| {
            let path = files.path().join(dockerfile);
            main_context(files.path(), Some(&path)).unwrap().ignore.unwrap()
        };
        assert_eq!(ignore("build/Dev").1, b"dev");
        assert_eq!(ignore("Dockerfile").1, b"all");
        assert_eq!(main_context(files.path(), None).unwrap().ignore.unwrap().1, b"all");
        assert_eq!(main_context(&files.path().join("build"), None).unwrap().ignore, None);
    }

    #[test]
    fn build_contexts() {
        let files = folder(&[("l/index.json", "{}"), ("docs/.dockerignore", "x")]);
        let at = |name: &str| files.path().join(name).display().to_string();
        let digest = format!("sha256:{}", "a".repeat(64));
        for (suffix, tag, has_digest) in
            [("", None, false), (":v1", Some("v1"), false), ("@D", None, true), (":v1@D", Some("v1"), true)]
        {
            let text = format!("base=oci-layout://{}{}", at("l"), suffix.replace('D', &digest));
            let (name, context) = build_context(&text).unwrap();
            let BuildContext::Layout(layout) = context else { panic!("not a layout") };
            assert_eq!((name.as_str(), layout.path.as_path()), ("base", files.path().join("l").as_path()));
            assert_eq!((layout.tag.as_deref(), layout.digest.is_some()), (tag, has_digest));
        }
        let image = build_context("a=docker-image://alpine:3").unwrap().1;
        assert!(matches!(image, BuildContext::Image(image) if image == "alpine:3"));
        for (text, shown) in [
            ("https://example.com/a.tar", "https://example.com/a.tar"),
            ("https://example.com/a.git#v1:sub", "https://example.com/a.git#v1"),
            ("git@example.com:a.git", "git@example.com:a.git"),
        ] {
            let fetched = build_context(&format!("a={text}")).unwrap().1;
            let BuildContext::Fetched(address) = fetched else { panic!("a path: {text}") };
            assert_eq!(address.shown(), shown);
        }
        let docs = build_context(&format!("docs={}", at("docs"))).unwrap().1;
        let BuildContext::Directory(docs) = docs else { panic!("not a directory") };
        assert_eq!((docs.name.as_str(), docs.ignore.unwrap().1), ("docs", b"x".to_vec()));
    }

    #[test]
    fn wrong_build_contexts() {
        let message = |value: &str| build_context(value).expect_err(value).message.clone();
        assert_eq!(message("x"), "--build-context x is not NAME=VALUE");
        assert_eq!(message("x=target:y"), "--build-context x=target:y: only a bake file has targets");
        assert_eq!(message("X=."), "--build-context X=: no stage and no image can have the name X");
        assert_eq!(
            message("x=/no/such"),
            "--build-context x=/no/such: the build context /no/such does not exist"
        );
        let wrong = build_context("x=foo://bar").expect_err("no such kind");
        assert!(wrong.help.iter().any(|help| help.contains("docker-image://IMAGE")), "{wrong:?}");
        assert_eq!(message("x=oci-layout://"), "--build-context x=oci-layout://: it names no directory");
        assert!(message("x=https://u:secret@h/x.git?ref=").starts_with("--build-context x=: "));
        assert!(!message("x=https://u:secret@h/x.git?ref=").contains("secret"));
        assert_eq!(
            message("x=oci-layout:///no/such:1"),
            "--build-context x=oci-layout:///no/such:1: /no/such holds no index.json"
        );
        assert_eq!(
            message("x=oci-layout:///no/such@sha256:1"),
            "--build-context x=oci-layout:///no/such@sha256:1: `sha256:1` is not a digest"
        );
    }
}
