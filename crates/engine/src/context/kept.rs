//! Contexts that are no directory of the person's: an archive is unpacked into the store's temporary place and stays
//! there as long as the build.
//!
//! What an archive says of owners, modes, times and devices is kept, as in BuildKit, where such a context is one more
//! state and not a transfer that makes everything root's. Ignore files are files like others in it.

use std::{
    ffi::OsStr,
    fmt,
    fs::File,
    io::{self, Cursor, Read},
    os::unix::ffi::OsStrExt,
    sync::Arc,
};

use galley_dockerfile::source;
use galley_oci::{
    Kind, Time, compress,
    tree::{file_name, join, parent},
};
use galley_store::{Content, Store, StoreError, TempDir, UnpackOptions};

use super::{DEFAULT_NAMES, DockerfileText, too_large};
use crate::{
    Cancel, Error, ErrorKind,
    import::patient::Patient,
    plan::ContextSource,
    steps::{
        files::{Files, store_error},
        select,
    },
};

/// Files of a context that galley itself put on the disk. Those of an archive go when the last one who knows them does.
#[derive(Debug)]
pub struct Kept {
    _temp: Option<TempDir>,
    /// None for a plain directory, which is looked at when it is needed.
    pub(crate) files: Option<Files>,
    /// The time of the commit, when the server says that the file was changed, or of the newest file of an archive.
    pub(crate) time: Option<Time>,
    is_commit: bool,
}

impl Kept {
    /// Files that stay in the store.
    pub(super) fn of(files: Files, time: Option<Time>, is_commit: bool) -> Arc<Self> {
        Arc::new(Self { _temp: None, files: Some(files), time, is_commit })
    }

    /// When the commit was made that these files are of.
    #[must_use]
    pub fn commit_time(&self) -> Option<Time> {
        self.time.filter(|_| self.is_commit)
    }
}

/// What came instead of the path of a directory.
pub enum Input {
    /// A context.
    Archive(Box<dyn Read + Send>),
    /// A Dockerfile, or whatever else it is.
    Text(Vec<u8>),
}

/// A context with nothing in it.
pub fn empty_context(store: &Store) -> Result<ContextSource, Error> {
    let temp = store.temp_dir("nothing").map_err(store_error)?;
    let path = temp.path().to_path_buf();
    let kept = Arc::new(Kept { _temp: Some(temp), files: None, time: None, is_commit: false });
    Ok(ContextSource { name: ".".to_owned(), path, ignore: None, kept: Some(kept) })
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Archive(_) => "Archive",
            Self::Text(_) => "Text",
        })
    }
}

/// Standard input: as long as nothing comes it is waited for, until Ctrl-C.
#[must_use]
pub fn waiting(input: File, stop: &Cancel) -> Box<dyn Read + Send> {
    Box::new(Patient::new(input, stop))
}

/// Looks at how `input` begins: an archive, compressed or not, is a context, and anything else is read up to the size
/// of a Dockerfile.
pub fn examine(mut input: Box<dyn Read + Send>) -> io::Result<Input> {
    let mut prefix = Vec::with_capacity(compress::PREFIX_BYTES);
    (&mut input).take(compress::PREFIX_BYTES as u64).read_to_end(&mut prefix)?;
    let known = compress::detect(&prefix);
    let input = Cursor::new(prefix).chain(input);
    if known.is_some() {
        return Ok(Input::Archive(Box::new(input)));
    }
    let mut text = Vec::new();
    input.take(source::MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
    if text.len() > source::MAX_BYTES {
        let message = format!("larger than {} bytes, and no archive", source::MAX_BYTES);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(Input::Text(text))
}

/// Unpacks an archive that is a context; `origin` says in messages where it came from, and `time` is its own one when it has
/// one.
pub fn unpack(
    store: &Store,
    name: &str,
    origin: &str,
    time: Option<Time>,
    archive: Box<dyn Read + Send>,
) -> Result<ContextSource, Error> {
    let failed = |error: StoreError| {
        if error.is_machines() {
            return store_error(error);
        }
        let message = format!("cannot unpack the context {origin}: {error}");
        Error::new(ErrorKind::Input, message)
            .because(error)
            .help("a context is a tar archive, plain or compressed with gzip, bzip2, xz or zstd")
    };
    let unreadable = |error: io::Error| {
        Error::new(ErrorKind::Input, format!("cannot read the context {origin}")).because(error)
    };
    let temp = store.temp_dir("context").map_err(store_error)?;
    let mut decoded = compress::decoder(archive).map_err(unreadable)?;
    let tree = store.unpack(&mut *decoded, &temp, &UnpackOptions::plain()).map_err(failed)?;
    // A pipe is read to its end, or whoever writes to it fails. What comes behind the archive means nothing.
    let _ = io::copy(&mut decoded, &mut io::sink());
    let path = temp.diff();
    let regular = tree.entries().iter().filter(|entry| matches!(entry.kind, Kind::File { .. }));
    let time = time.or_else(|| regular.map(|entry| entry.meta.mtime).max());
    let files = Files::of_directory(&path, Arc::new(tree));
    let kept = Arc::new(Kept { _temp: Some(temp), files: Some(files), time, is_commit: false });
    Ok(ContextSource { name: name.to_owned(), path, ignore: None, kept: Some(kept) })
}

fn files(context: &ContextSource) -> Result<&Files, Error> {
    let files = context.kept.as_ref().and_then(|kept| kept.files.as_ref());
    files.ok_or_else(|| Error::new(ErrorKind::Internal, "the context is a directory like others"))
}

/// Opens a file of a kept context.
pub(super) fn open(store: &Store, context: &ContextSource, path: &[u8]) -> Result<Content, Error> {
    let files = files(context)?;
    let selected = select::literal(files.stack(), path)?;
    let gone = || Error::new(ErrorKind::Internal, "a file that was selected is not there");
    files.open(store, files.stack().get(&selected.path).ok_or_else(gone)?)
}

/// Reads the Dockerfile in a context that galley put there: `file`, a path in it, or without one `Dockerfile` (else
/// `dockerfile`). Links in it are followed, and never lead out of it.
pub fn kept_dockerfile(
    store: &Store,
    context: &ContextSource,
    origin: &str,
    file: Option<&[u8]>,
) -> Result<DockerfileText, Error> {
    let files = files(context)?;
    let wanted = select::clean(file.unwrap_or(DEFAULT_NAMES[0].as_bytes()));
    let lower = parent(&wanted).map(|folder| join(folder, DEFAULT_NAMES[1].as_bytes()));
    let lower = lower.filter(|_| file_name(&wanted) == DEFAULT_NAMES[0].as_bytes());
    for path in [Some(wanted.clone()), lower].into_iter().flatten() {
        let Ok(selected) = select::literal(files.stack(), &path) else { continue };
        let name = String::from_utf8_lossy(&path).into_owned();
        let found = files.stack().get(&selected.path);
        let Some(found) = found.filter(|found| matches!(found.entry.kind, Kind::File { .. })) else {
            let message = format!("{name} in the context {origin} is no regular file");
            return Err(Error::new(ErrorKind::Input, message));
        };
        let limit = source::MAX_BYTES as u64;
        let mut text = Vec::new();
        let unreadable = |error| {
            Error::new(ErrorKind::Input, format!("cannot read {name} of the context {origin}")).because(error)
        };
        files.open(store, found)?.take(limit + 1).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() > source::MAX_BYTES {
            return Err(too_large(&name, source::MAX_BYTES));
        }
        let path = context.path.join(OsStr::from_bytes(&selected.path));
        return Ok(DockerfileText { name, path, text });
    }
    Err(no_dockerfile(files, origin, &wanted))
}

fn no_dockerfile(files: &Files, origin: &str, wanted: &[u8]) -> Error {
    let wanted = String::from_utf8_lossy(wanted);
    let error = Error::new(ErrorKind::Input, format!("there is no {wanted} in the context {origin}"));
    let top = files.stack().list(b"");
    match top.as_slice() {
        [] => error.help("it is empty"),
        // `tar c project` instead of `tar -C project -c .`
        [only] if only.entry.is_directory() => {
            let folder = String::from_utf8_lossy(only.path());
            error.help(format!(
                "all of it is below {folder}/: pack that folder's content, as `tar -C {folder} -c .` does"
            ))
        }
        _ => match select::nearest_path(wanted.as_bytes(), &|dir| {
            let found = files.is_directory(dir).then(|| files.stack().list(dir))?;
            Some(found.iter().map(|found| found.entry.name().to_vec()).collect())
        }) {
            Some(near) => error.help(format!("did you mean -f {}?", String::from_utf8_lossy(&near))),
            None => error.help("-f FILE names it by its path in the context"),
        },
    }
}

#[cfg(test)]
mod tests {
    use galley_store::OpenOptions;
    use galley_testkit::{TarEntry, rootfs_tar};
    use proptest::prelude::*;

    use super::*;

    fn bench() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), OpenOptions::default()).unwrap();
        (folder, store)
    }

    fn context(store: &Store, entries: &[TarEntry<'_>]) -> ContextSource {
        unpack(store, ".", "here", None, Box::new(Cursor::new(rootfs_tar(entries)))).unwrap()
    }

    #[test]
    fn dockerfiles_in_archives() {
        let (_folder, store) = bench();
        let files = context(
            &store,
            &[
                TarEntry::File("a/dockerfile", 0o000, b"lower"),
                TarEntry::Symlink("Dockerfile", "/../a/./dockerfile"),
                TarEntry::Symlink("out", "../../../../etc/passwd"),
                TarEntry::Symlink("loop", "loop"),
            ],
        );
        let read = |file: Option<&str>| {
            let read = kept_dockerfile(&store, &files, "here", file.map(str::as_bytes));
            read.map(|found| (found.name, found.text)).map_err(|error| error.message.clone())
        };
        let found = |name: &str| Ok((name.to_owned(), b"lower".to_vec()));
        assert_eq!(read(None), found("Dockerfile"));
        assert_eq!(read(Some("a/Dockerfile")), found("a/dockerfile"));
        assert_eq!(read(Some("./../a/dockerfile")), found("a/dockerfile"));
        for (file, message) in [
            ("out", "there is no out in the context here"),
            ("loop", "there is no loop in the context here"),
            ("a", "a in the context here is no regular file"),
            ("", " in the context here is no regular file"),
        ] {
            assert_eq!(read(Some(file)), Err(message.to_owned()));
        }
    }

    #[test]
    fn what_begins_like_an_archive_is_one() {
        let kind = |bytes: &[u8]| format!("{:?}", examine(Box::new(Cursor::new(bytes.to_vec()))).unwrap());
        assert_eq!(kind(&rootfs_tar(&[TarEntry::File("f", 0o644, b"")])), "Archive");
        for magic in [&b"\x1f\x8b\x08"[..], b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"] {
            assert_eq!(kind(magic), "Archive");
        }
        for text in [&b""[..], b"FROM scratch", &[0; 2048], b"BZ"] {
            assert_eq!(kind(text), "Text");
        }
    }

    #[test]
    fn what_is_no_archive_is_as_long_as_a_dockerfile_may_be() {
        let long = io::repeat(b'#').take(source::MAX_BYTES as u64 + 1);
        let error = examine(Box::new(long)).unwrap_err();
        assert_eq!(error.to_string(), "larger than 16777216 bytes, and no archive");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever comes, in whatever compression: a context below the store, or an error.
        #[test]
        fn foreign_bytes_are_a_context_or_an_error(
            names in prop::collection::vec("[a-c./]{1,6}", 1..8),
            kinds in prop::collection::vec(0_u8..4, 8),
            damage in prop::collection::vec((0_usize..4096, any::<u8>()), 0..3),
            magic in prop::sample::select(vec![&b""[..], b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"]),
        ) {
            let (folder, store) = bench();
            let entries: Vec<TarEntry<'_>> = names.iter().zip(&kinds).filter_map(|(name, kind)| {
                // The archive builder of the tests refuses these itself.
                let writable = !name.contains("..") && !name.starts_with('/') && !name.chars().all(|c| "./".contains(c));
                writable.then_some(match kind {
                    0 => TarEntry::Directory(name, 0o755),
                    1 => TarEntry::File(name, 0o644, b"FROM scratch"),
                    2 => TarEntry::Symlink(name, "../../../../../.."),
                    _ => TarEntry::Link(name, "a/b"),
                })
            }).collect();
            let mut bytes = rootfs_tar(&entries);
            for (at, byte) in damage {
                if let Some(old) = bytes.get_mut(at) { *old = byte; }
            }
            let input = [magic, &bytes[..]].concat();
            if let Ok(Input::Archive(archive)) = examine(Box::new(Cursor::new(input)))
                && let Ok(context) = unpack(&store, ".", "here", None, archive)
            {
                prop_assert!(context.path.starts_with(store.root()));
                drop(kept_dockerfile(&store, &context, "here", Some(b"a")));
            }
            let left: Vec<_> = fs_err::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            prop_assert_eq!(left, ["store"]);
        }
    }
}
