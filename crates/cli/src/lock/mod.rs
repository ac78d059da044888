//! `galley.lock`: what the names in a Dockerfile meant when `galley lock` was run.
//!
//! A tag is moved by whoever owns it, a digest by nobody; so are branches and what URLs lead to. `galley build --locked` builds from the digests and fails where
//! a name means something else by now, so a build changes when its lock does and not before.

mod addresses;
mod images;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use fs_err as fs;
use galley_engine::{Error, ErrorKind, ports::Pins};
use galley_oci::{Digest, Reference};
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    addresses::Addresses,
    images::{LockedImages, Locker, Update},
};

/// The only version so far.
const VERSION: u32 = 1;
/// More than ten thousand names have.
const BYTES_MAX: u64 = 4 << 20;

const HEADER: &str = "\
# What the names in the Dockerfile meant when `galley lock` was run. Keep it beside the Dockerfile, in version control.
# `galley build --locked` builds from it; `galley lock --update [NAME]` renews it.

";

/// What a name is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    /// A manifest or index of its registry.
    Digest(Digest),
    /// An image that is in the local store alone.
    Id(Digest),
}

/// Names, by their full form, and what they are held to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lock {
    pub(crate) images: BTreeMap<String, Locked>,
    /// URLs of ADD, without a password.
    pub(crate) files: BTreeMap<String, Digest>,
    /// Git repositories of ADD with their references, and the commit that these are held to.
    pub(crate) commits: BTreeMap<String, String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    image: Vec<Entry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    url: Vec<FileEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    git: Vec<CommitEntry>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct FileEntry {
    name: String,
    digest: Digest,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CommitEntry {
    name: String,
    commit: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Digest>,
}

impl Lock {
    /// Where the lock of `dockerfile` is: `galley.lock` beside `Dockerfile`, `NAME.galley.lock` beside another NAME.
    pub(crate) fn path(dockerfile: &Path) -> PathBuf {
        let name = dockerfile.file_name().unwrap_or_default();
        let mut lock = OsString::new();
        if !name.eq_ignore_ascii_case("Dockerfile") {
            lock.push(name);
            lock.push(".");
        }
        lock.push("galley.lock");
        let lock = dockerfile.with_file_name(lock);
        lock.strip_prefix(".").map(Path::to_path_buf).unwrap_or(lock)
    }

    /// The lock at `path`; none when there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Error> {
        let unreadable = |error: std::io::Error| {
            Error::new(ErrorKind::Input, format!("cannot read {}", path.display())).because(error)
        };
        let file = match fs::File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(unreadable)?,
        };
        let mut text = String::new();
        file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > BYTES_MAX {
            let message = format!("{} has more than {BYTES_MAX} bytes: that is no lock", path.display());
            return Err(Error::new(ErrorKind::Input, message));
        }
        let lock = Self::parse(&text).map_err(|why| {
            Error::new(ErrorKind::Input, format!("{} cannot be understood: {why}", path.display()))
                .help("write it anew with `galley lock`, or take it from version control")
        })?;
        Ok(Some(lock))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        if file.version != VERSION {
            return Err(format!("it is of version {}, this galley knows version {VERSION}", file.version));
        }
        let mut lock = Self::default();
        for Entry { name, digest, id } in file.image {
            let locked = match (digest, id) {
                (Some(digest), None) => Locked::Digest(digest),
                (None, Some(id)) => Locked::Id(id),
                _ => return Err(format!("{name} needs either a digest or an id")),
            };
            let full: Reference = name.parse().map_err(|error| format!("{name:?}: {error}"))?;
            if lock.images.insert(full.with_default_tag().canonical(), locked).is_some() {
                return Err(format!("{name} is in it twice"));
            }
        }
        for FileEntry { name, digest } in file.url {
            if lock.files.insert(name.clone(), digest).is_some() {
                return Err(format!("{name} is in it twice"));
            }
        }
        for CommitEntry { name, commit } in file.git {
            if !matches!(commit.len(), 40 | 64) || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(format!("{commit:?} of {name} is no commit"));
            }
            if lock.commits.insert(name.clone(), commit).is_some() {
                return Err(format!("{name} is in it twice"));
            }
        }
        Ok(lock)
    }

    /// What addresses of ADD are held to.
    pub(crate) fn pins(&self, path: &Path) -> Pins {
        let files = self.files.iter().map(|(name, digest)| (name.clone(), digest.to_string()));
        let commits = self.commits.iter().map(|(name, commit)| (name.clone(), commit.clone()));
        Pins { contents: files.chain(commits).collect(), from: path.display().to_string() }
    }

    /// All names that it holds.
    pub(crate) fn names(&self) -> Vec<&str> {
        let names = self.images.keys().chain(self.files.keys()).chain(self.commits.keys());
        names.map(String::as_str).collect()
    }

    fn text(&self) -> Result<String, Error> {
        let entry = |(name, locked): (&String, &Locked)| {
            let (digest, id) = match *locked {
                Locked::Digest(digest) => (Some(digest), None),
                Locked::Id(id) => (None, Some(id)),
            };
            Entry { name: name.clone(), digest, id }
        };
        let files = self.files.iter();
        let commits = self.commits.iter();
        let file = File {
            version: VERSION,
            image: self.images.iter().map(entry).collect(),
            url: files.map(|(name, digest)| FileEntry { name: name.clone(), digest: *digest }).collect(),
            git: commits
                .map(|(name, commit)| CommitEntry { name: name.clone(), commit: commit.clone() })
                .collect(),
        };
        let text = toml::to_string(&file)
            .map_err(|error| Error::new(ErrorKind::Internal, "cannot write the lock").because(error))?;
        Ok(format!("{HEADER}{text}"))
    }

    /// Writes it to `path`, whole or not at all. Whether it changed.
    pub(crate) fn write(&self, path: &Path) -> Result<bool, Error> {
        let text = self.text()?;
        if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(false);
        }
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Usage, format!("cannot write {}", path.display())).because(error)
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut temp =
            tempfile::Builder::new().permissions(permissions()).tempfile_in(folder).map_err(failed)?;
        temp.write_all(text.as_bytes()).map_err(failed)?;
        temp.persist(path).map_err(|error| failed(error.error))?;
        Ok(true)
    }
}

/// Those of any file that a person makes; the umask takes its part.
fn permissions() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is understood is written as the same again.
        #[test]
        fn any_text_is_refused_or_a_lock(
            text in "(version = [12]\\n)?(\\[\\[(image|url|git)\\]\\]\\n(name = \"[a-z:/#]{0,6}\"\\n)?((digest|id) = \"sha256:a{63,65}\"\\n|commit = \"[0a]{39,41}\"\\n)?){0,3}",
            foreign in "\\PC{0,30}",
        ) {
            let _ = Lock::parse(&foreign);
            if let Ok(lock) = Lock::parse(&text) {
                prop_assert_eq!(Lock::parse(&lock.text().unwrap()), Ok(lock));
            }
        }
    }

    fn digest(text: &str) -> Digest {
        Digest::sha256(text.as_bytes())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("galley.lock");
        assert_eq!(Lock::read(&path).unwrap(), None);
        let mut lock = Lock::default();
        lock.images.insert("docker.io/library/golang:1.22".to_owned(), Locked::Digest(digest("a")));
        lock.images.insert("docker.io/library/own:latest".to_owned(), Locked::Id(digest("b")));
        lock.files.insert("https://example.com/a".to_owned(), digest("c"));
        lock.commits.insert("https://example.com/a.git#main".to_owned(), "0123456789".repeat(4));
        assert!(lock.write(&path).unwrap());
        assert!(!lock.write(&path).unwrap(), "nothing changed");
        assert_eq!(Lock::read(&path).unwrap(), Some(lock));
        let text = fs::read_to_string(&path).unwrap();
        let body = text.strip_prefix(HEADER).unwrap();
        let expected = format!(
            "version = 1\n\n[[image]]\nname = \"docker.io/library/golang:1.22\"\ndigest = \"{}\"\n\n[[image]]\nname = \"docker.io/library/own:latest\"\nid = \"{}\"\n\n[[url]]\nname = \"https://example.com/a\"\ndigest = \"{}\"\n\n[[git]]\nname = \"https://example.com/a.git#main\"\ncommit = \"{}\"\n",
            digest("a"),
            digest("b"),
            digest("c"),
            "0123456789".repeat(4),
        );
        assert_eq!(body, expected);
    }

    #[test]
    fn what_is_no_lock_is_refused() {
        let entry = "version = 1\n[[image]]\nname = \"a\"\n";
        let cases = [
            ("version = 2", "it is of version 2, this galley knows version 1"),
            (entry, "a needs either a digest or an id"),
            ("version = 1\n[[image]]\nname = \"A b\"\nid = \"sha256:x\"", "TOML parse error"),
            ("version = 1\n[[git]]\nname = \"a\"\ncommit = \"main\"", "\"main\" of a is no commit"),
            ("<html>", "TOML parse error"),
        ];
        for (text, why) in cases {
            let error = Lock::parse(text).unwrap_err();
            assert!(error.starts_with(why), "{text}: {error}");
        }
        let twice =
            format!("{entry}id = \"{0}\"\n[[image]]\nname = \"a:latest\"\nid = \"{0}\"\n", digest("a"));
        assert_eq!(Lock::parse(&twice).unwrap_err(), "a:latest is in it twice");
    }

    #[test]
    fn each_dockerfile_has_its_own() {
        assert_eq!(Lock::path(Path::new("x/Dockerfile")), Path::new("x/galley.lock"));
        assert_eq!(Lock::path(Path::new("x/Dockerfile.ci")), Path::new("x/Dockerfile.ci.galley.lock"));
    }
}
