//! A tree: an immutable, sorted description of files, always in the image's terms.
//!
//! The same type describes a whole file system and the changes of one layer; only the second may hold
//! [`Kind::Whiteout`] and opaque directories. Entries are sorted component by component (`a/b` right after `a`, before
//! `a-b`), so every directory is followed by all that is below it. The first entry is the root, whose path is empty.
//! Paths are relative, bytes, without `.`, `..` or empty components.

use std::{cmp::Ordering, num::NonZeroU32};

/// A point in time as files carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

/// Extended attributes, sorted by name.
pub type Xattrs = Vec<(Box<[u8]>, Box<[u8]>)>;

/// What every file has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Meta {
    /// Permission bits with set-id and sticky bits: `0o7777` at most.
    pub mode: u16,
    /// The owner, in the image's ids.
    pub uid: u32,
    /// The group, in the image's ids.
    pub gid: u32,
    /// Last change of the content.
    pub mtime: Time,
    /// Extended attributes; capabilities as version 2. `None` when there are none (most files), to keep entries small.
    pub xattrs: Option<Box<Xattrs>>,
}

impl Meta {
    /// Owned by root, no extended attributes, time zero.
    #[must_use]
    pub const fn new(mode: u16) -> Self {
        Self { mode, uid: 0, gid: 0, mtime: Time { seconds: 0, nanoseconds: 0 }, xattrs: None }
    }
}

/// What kind of file an entry is, with what only that kind has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A directory. An opaque one hides everything that lower layers have below it.
    Directory {
        /// Only in layers.
        opaque: bool,
    },
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// BLAKE3 of the content.
        digest: [u8; 32],
        /// Entries of one tree with the same number are hard links of each other. Numbers count from one in the order
        /// of the first path of each group; a file with one name has none.
        links: Option<NonZeroU32>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, unresolved.
        target: Box<[u8]>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// Hides the entry of this name in lower layers. Only in layers.
    Whiteout,
}

/// One file of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Relative to the root; empty for the root itself.
    pub path: Box<[u8]>,
    /// Mode, owner, time, extended attributes.
    pub meta: Meta,
    /// Kind and content.
    pub kind: Kind,
}

/// A sorted list of entries with unique paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    entries: Vec<Entry>,
}

impl Tree {
    /// A tree of `entries`, in any order. The last of several entries with one path wins, as in an archive.
    #[must_use]
    pub fn from_entries(mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|a, b| compare_paths(&a.path, &b.path));
        entries.reverse();
        entries.dedup_by(|later, earlier| later.path == earlier.path);
        entries.reverse();
        Self { entries }
    }

    /// All entries, sorted.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry at `path`.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.position(path).ok().map(|index| &self.entries[index])
    }

    /// The index of the entry at `path`, or where it would stand.
    pub fn position(&self, path: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| compare_paths(&entry.path, path))
    }
}

/// The order of a tree: component by component, each component by its bytes.
#[must_use]
pub fn compare_paths(a: &[u8], b: &[u8]) -> Ordering {
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 };
    a.iter().map(rank).cmp(b.iter().map(rank))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(path: &str, mode: u16) -> Entry {
        Entry { path: path.as_bytes().into(), meta: Meta::new(mode), kind: Kind::Directory { opaque: false } }
    }

    #[test]
    fn a_directory_is_followed_by_what_it_holds() {
        let paths = ["a-b", "a/b", "", "a", "a/b/c", "a.b"];
        let tree = Tree::from_entries(paths.iter().map(|path| directory(path, 0o755)).collect());
        let sorted: Vec<_> = tree.entries().iter().map(|entry| &*entry.path).collect();
        assert_eq!(sorted, [&b""[..], b"a", b"a/b", b"a/b/c", b"a-b", b"a.b"]);
        assert_eq!(tree.position(b"a/b/c"), Ok(3));
        assert_eq!(tree.position(b"a/c"), Err(4));
    }

    #[test]
    fn the_last_entry_of_a_path_wins() {
        let tree = Tree::from_entries(vec![directory("a", 0o700), directory("b", 0o1), directory("a", 0o755)]);
        assert_eq!(tree.get(b"a").map(|entry| entry.meta.mode), Some(0o755));
        assert_eq!(tree.entries().len(), 2);
    }
}
