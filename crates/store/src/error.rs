//! What can go wrong on disk: what failed, on which path, why.

use std::{
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use galley_oci::Digest;
use rustix::io::Errno;

/// What the kernel takes of a path: `PATH_MAX` without the zero at its end.
const PATH_BYTES_MAX: usize = 4095;
/// So much of each end of a longer one is shown.
const SHOWN_BYTES: usize = 80;

/// An error of the store. Causes are kept as sources and not repeated in the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The kernel refused an operation on a file.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// The operation, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file so deep in folders that the kernel cannot be told its path.
    #[error(
        "the path {} has {} bytes, and the kernel takes {PATH_BYTES_MAX} at once", shortened(path), path.as_os_str().len()
    )]
    TooDeep {
        /// The file.
        path: PathBuf,
    },
    /// The store was written by a newer program.
    #[error(
        "the store at {} has format {found} and this galley knows up to {known}: use a newer galley, \
         or another folder with --root", root.display()
    )]
    NewerFormat {
        /// The store.
        root: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The files in the store have owners that mean something else under our id map.
    #[error(
        "the store at {} was made with the id map {found:?} and this process has {ours:?}, so its files would have \
         wrong owners: use another folder with --root, or restore the old ranges in /etc/subuid and /etc/subgid",
        root.display()
    )]
    OtherIdMap {
        /// The store.
        root: PathBuf,
        /// Its id map.
        found: String,
        /// Ours.
        ours: String,
    },
    /// The folder is used for something else.
    #[error(
        "{} is no store of galley and holds {found:?}: give an empty or new folder with --root", root.display()
    )]
    NotAStore {
        /// The folder.
        root: PathBuf,
        /// Something in it that no store has.
        found: String,
    },
    /// A file of the store does not hold what it should.
    #[error("{what} {} is damaged: {reason}", path.display())]
    Damaged {
        /// What it is.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Content is not what its digest says.
    #[error("content has digest {found} instead of {expected}")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// The disk did not take what this process wrote or used.
    #[error(
        "what was written to {} since the last build that ended well did not all reach the disk: look at the disk \
         (dmesg, galley system check), then build again; what was lost is made anew", root.display()
    )]
    Lost {
        /// The store.
        root: PathBuf,
        /// What the kernel said, unless it said it to another process.
        #[source]
        source: Option<io::Error>,
    },
    /// The disk did not take a layer which another process uses, so that it cannot be replaced yet.
    #[error(
        "layer {layer} did not reach the disk, and another galley uses it: build again when that one has ended"
    )]
    LostInUse {
        /// The layer.
        layer: Digest,
    },
    /// A source file is not any more what it was when the tree was made.
    #[error("{} changed while the build used it: run the build again when nothing writes to it", path.display())]
    FileChanged {
        /// The file.
        path: PathBuf,
    },
    /// A layer whose bytes lived in another process.
    #[error("layer {layer} has no bytes in the store: the step that made it must be executed again")]
    NoBytes {
        /// The layer.
        layer: Digest,
    },
    /// A tree names a file whose content nobody gave.
    #[error("no origin was given for the file {} of layer {layer}", path.display())]
    NoOrigin {
        /// The layer.
        layer: Digest,
        /// The file.
        path: PathBuf,
    },
    /// A layer has no such file.
    #[error("layer {layer} has no file number {index}")]
    NoSuchEntry {
        /// The layer.
        layer: Digest,
        /// The entry asked for.
        index: usize,
    },
    /// An archive holds something that cannot be unpacked safely, or at all.
    #[error("the archive entry {} cannot be unpacked: {reason}", path.display())]
    BadEntry {
        /// The entry's name.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A layer cannot be one mountable file, by what is in it.
    #[error("cannot pack a layer")]
    CannotPack(#[source] Box<galley_oci::erofs::WriteErofsError>),
    /// An archive cannot be read.
    #[error("cannot read the archive after {entries} entries")]
    BadArchive {
        /// How far it was read.
        entries: usize,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something from outside is larger than galley accepts.
    #[error("{} is too large: {what} is limited to {limit}", path.display())]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// Where it was exceeded.
        path: PathBuf,
    },
    /// A file that a layer cannot hold.
    #[error("{} cannot become part of a layer: {reason}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// One more name for a file that has as many as it can have.
    #[error(
        "cannot {doing} {}: no file has more names on this file system (65,000 on ext4): put the store on another one, \
         such as xfs or btrfs, or link fewer names to one file", path.display()
    )]
    TooManyLinks {
        /// A verb and a noun, such as "create the hard link".
        doing: &'static str,
        /// The name.
        path: PathBuf,
    },
    /// An owner that the user namespace does not have.
    #[error(
        "{} is owned by {uid}:{gid}, which is outside of this user's id ranges: add longer ranges to /etc/subuid and \
         /etc/subgid", path.display()
    )]
    UnmappedOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// A name is in use.
    #[error("the name {name:?} is in use by {holder}")]
    NameTaken {
        /// The name.
        name: String,
        /// By whom.
        holder: String,
    },
    /// A name with characters that names may not have.
    #[error(
        "{name:?} is not a name: use letters, digits, `_`, `.` and `-`, the first a letter or digit, 128 at most"
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// A prefix that more than one id has.
    #[error("{prefix:?} is the beginning of {count} ids: give more digits")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// How many have it.
        count: usize,
    },
}

impl StoreError {
    /// Whether this machine is to blame, and not what was to be written: the disk is full or broken, the memory or the
    /// file descriptors are used up.
    #[must_use]
    pub fn is_machines(&self) -> bool {
        const OWN: [Errno; 7] =
            [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS, Errno::MFILE, Errno::NFILE, Errno::NOMEM];
        let own =
            |source: &io::Error| OWN.iter().any(|own| os_error_number(source) == Some(own.raw_os_error()));
        matches!(self, Self::Io { source, .. } if own(source))
    }

    /// Whether there is no room on the disk, or in what this user may have of it.
    pub(crate) fn is_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Self::Io { source, .. } if full.contains(&source.kind()))
    }

    /// What the kernel said about `path`.
    #[must_use]
    pub fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let too_long = os_error_number(&source) == Some(Errno::NAMETOOLONG.raw_os_error());
        if too_long && path.as_os_str().len() > PATH_BYTES_MAX {
            return Self::TooDeep { path: path.to_owned() };
        }
        if os_error_number(&source) == Some(Errno::MLINK.raw_os_error()) {
            return Self::TooManyLinks { doing, path: path.to_owned() };
        }
        Self::Io { doing, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(what: &'static str, path: &Path, reason: impl ToString) -> Self {
        Self::Damaged { what, path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Both ends of a path that is too long to be shown.
fn shortened(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let (start, end) = (bytes.len().min(SHOWN_BYTES), bytes.len().saturating_sub(SHOWN_BYTES));
    let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
    format!("{}…{}", text(&bytes[..start]), text(&bytes[end..]))
}

/// The kernel's number of an error, also of one that another crate has wrapped to add a path: such a one has its number
/// in its text alone.
#[must_use]
pub fn os_error_number(error: &io::Error) -> Option<i32> {
    let said = || {
        let text = error.get_ref()?.to_string();
        text.rsplit_once("(os error ")?.1.strip_suffix(')')?.parse().ok()
    };
    error.raw_os_error().or_else(said)
}

/// Adds what was done, and on which path, to an error of the kernel.
pub(crate) trait At<T> {
    fn at(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::io(doing, path.as_ref(), error.into()))
    }
}

/// `None` for a file that is not there.
pub(crate) trait Absent<T> {
    fn absent(self) -> Result<Option<T>, Errno>;
}

impl<T> Absent<T> for Result<T, Errno> {
    fn absent(self) -> Result<Option<T>, Errno> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_links_too_many_names_is_told_what_to_do() {
        let said =
            StoreError::io("create the hard link", Path::new("/a/link"), Errno::MLINK.into()).to_string();
        assert!(said.contains("create the hard link /a/link") && said.contains("xfs or btrfs"), "{said}");
    }

    #[test]
    fn a_path_that_is_too_long_is_told_from_a_name_that_is() {
        let told = |path: String| StoreError::io("open", Path::new(&path), Errno::NAMETOOLONG.into());
        assert!(matches!(told("n".repeat(300)), StoreError::Io { .. }));
        let deep = told(format!("/begin/{}/end", "n/".repeat(3000)));
        assert!(matches!(deep, StoreError::TooDeep { .. }));
        let said = deep.to_string();
        assert!(said.contains("/begin/n/") && said.contains("n//end has 6011 bytes"), "{said}");
        assert!(said.len() < 300, "{said}");
    }

    #[test]
    fn a_broken_disk_is_not_the_archives_fault() {
        let failed = |errno: Errno| {
            StoreError::Io { doing: "write", path: PathBuf::from("/x"), source: errno.into() }.is_machines()
        };
        for own in [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS, Errno::MFILE, Errno::NOMEM] {
            assert!(failed(own), "{own}");
        }
        // As a file is created: with the path, by another crate.
        let folder = tempfile::tempdir().unwrap();
        let source =
            fs_err::File::create(folder.path().join("no/such")).map(drop).at("create", "/x").unwrap_err();
        let StoreError::Io { source, .. } = &source else { panic!("{source:?}") };
        assert_eq!(os_error_number(source), Some(Errno::NOENT.raw_os_error()));
        for archives in [Errno::NAMETOOLONG, Errno::LOOP, Errno::NOTDIR, Errno::EXIST] {
            assert!(!failed(archives), "{archives}");
        }
    }
}
