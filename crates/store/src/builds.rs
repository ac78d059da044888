//! What is remembered of the last builds, for people: the events of each, in a file of its own. Nothing depends on them.
//!
//! A file's name is when the build began, what it built (so that the last build of the same thing is found without
//! reading the others) and the id that people know it by, all in hex digits.

use std::{
    io::{BufRead, Read},
    path::PathBuf,
};

use fs_err as fs;
use galley_oci::{Blake3, Digest};

use crate::{Store, StoreError, blobs::remove_present, error::At, images::names_in, store::read_small};

/// So many builds are remembered.
pub const BUILDS_MAX: usize = 32;

/// The largest file that is read.
const BUILD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The longest first line that is read.
const HEAD_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Digits of each of the first two parts of a name.
const DIGITS: usize = 16;

/// Digits of the id.
const ID_DIGITS: usize = 12;

/// A build that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildEntry {
    /// By which people know it.
    pub id: String,
    subject: String,
    path: PathBuf,
}

impl BuildEntry {
    fn parse(folder: &std::path::Path, name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let (time, subject, id) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = parts.next().is_none() && time.len() == DIGITS && id.len() == ID_DIGITS;
        let path = folder.join(name);
        whole.then(|| Self { id: id.to_owned(), subject: subject.to_owned(), path })
    }
}

impl Store {
    /// Remembers a build of `subject` that began so many nanoseconds after 1970, and forgets the oldest ones.
    pub fn put_build(&self, subject: &Digest, began: u64, text: &[u8]) -> Result<String, StoreError> {
        self.later_folder("builds")?;
        let mut id = Blake3::of("galley.build.v1");
        id.digest(subject).number(began).number(u64::from(std::process::id()));
        let id = id.finish().hex()[..ID_DIGITS].to_owned();
        let name = format!("{began:016x}-{}-{id}", short(subject));
        self.write_whole(&self.root().join("builds").join(name), text)?;
        for old in self.builds()?.iter().skip(BUILDS_MAX) {
            remove_present(&old.path)?;
        }
        Ok(id)
    }

    /// The builds that are remembered, the newest first.
    pub fn builds(&self) -> Result<Vec<BuildEntry>, StoreError> {
        let folder = self.root().join("builds");
        if rustix::fs::stat(&folder).is_err() {
            return Ok(Vec::new());
        }
        let mut names = names_in(&folder)?;
        names.sort_unstable_by(|one, other| other.cmp(one));
        Ok(names.iter().filter_map(|name| BuildEntry::parse(&folder, name)).collect())
    }

    /// The newest build of `subject`.
    pub fn last_build(&self, subject: &Digest) -> Result<Option<BuildEntry>, StoreError> {
        let subject = short(subject);
        Ok(self.builds()?.into_iter().find(|build| build.subject == subject))
    }

    /// All that is remembered of a build; none when it was forgotten meanwhile.
    pub fn build_text(&self, build: &BuildEntry) -> Result<Option<Vec<u8>>, StoreError> {
        read_small(&build.path, BUILD_BYTES_MAX)
    }

    /// The first line of it.
    pub fn build_head(&self, build: &BuildEntry) -> Result<Option<Vec<u8>>, StoreError> {
        let file = match fs::File::open(&build.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).at("open", &build.path),
        };
        let mut line = Vec::new();
        let mut reader = std::io::BufReader::new(file.take(HEAD_BYTES_MAX));
        reader.read_until(b'\n', &mut line).at("read", &build.path)?;
        Ok(Some(line))
    }
}

fn short(subject: &Digest) -> String {
    subject.hex()[..DIGITS].to_owned()
}
