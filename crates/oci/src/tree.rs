//! A tree: an immutable, sorted description of files, always in the image's terms.
//!
//! The same type describes a whole file system and the changes of one layer; only the second may hold
//! [`Kind::Whiteout`] and opaque directories. Entries are sorted component by component (`a/b` right after `a`, before
//! `a-b`), so every directory is followed by all that is below it. The first entry is the root, whose path is empty.
//! Paths are relative, bytes, without `.`, `..` or empty components.

mod decode;
mod encode;
mod normal;
#[cfg(test)]
mod tests;

use std::{cmp::Ordering, num::NonZeroU32};

pub use crate::time::Time;
pub use decode::{DecodeTreeError, MAX_PATH_BYTES, MAX_TREE_PATH_BYTES};
pub use encode::{FORMAT_VERSION, Times};

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
    ///
    /// What cannot be told apart afterwards is made equal: hard-link groups are numbered by the order of their first
    /// paths and a group of one is none, extended attributes are sorted, symbolic links have mode 0777 and whiteouts
    /// no attributes.
    #[must_use]
    pub fn from_entries(mut entries: Vec<Entry>) -> Self {
        if is_sorted(&entries) {
            return Self::from_sorted(entries);
        }
        entries.sort_by(|a, b| compare_paths(&a.path, &b.path));
        entries.reverse();
        entries.dedup_by(|earlier, later| earlier.path == later.path);
        entries.reverse();
        Self::from_sorted(entries)
    }

    /// A tree of `entries` that are sorted already and have unique paths.
    pub(crate) fn from_sorted(mut entries: Vec<Entry>) -> Self {
        debug_assert!(is_sorted(&entries));
        normal::normalise(&mut entries);
        Self { entries }
    }

    /// All entries, sorted.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries themselves.
    #[must_use]
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
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

    /// The entries directly in `dir`, in order.
    pub fn children(&self, dir: &[u8]) -> impl Iterator<Item = &Entry> {
        self.child_indexes(dir).map(|index| &self.entries[index])
    }

    /// The indexes of the entries directly in `dir`, in order.
    pub(crate) fn child_indexes(&self, dir: &[u8]) -> impl Iterator<Item = usize> {
        let range = self.range_below(dir);
        let (mut next, end, wanted) = (range.start, range.end, depth(dir) + 1);
        std::iter::from_fn(move || {
            while next < end {
                let path = &self.entries[next].path;
                if depth(path) == wanted {
                    let index = next;
                    next = index + subtree_length(&self.entries[index..end], path);
                    return Some(index);
                }
                next += 1;
            }
            None
        })
    }

    /// `dir` itself and everything below it: one contiguous slice. Empty when there is nothing.
    #[must_use]
    pub fn below(&self, dir: &[u8]) -> &[Entry] {
        &self.entries[self.range_below(dir)]
    }

    /// Where [`Tree::below`] lies among the entries.
    #[must_use]
    pub fn range_below(&self, dir: &[u8]) -> std::ops::Range<usize> {
        let (Ok(start) | Err(start)) = self.position(dir);
        start..start + subtree_length(&self.entries[start..], dir)
    }

    /// BLAKE3 of the canonical encoding without times: what names a layer.
    #[must_use]
    pub fn layer_id(&self) -> crate::Digest {
        crate::Digest::blake3(&self.encode_with(Times::Omit))
    }

    /// BLAKE3 of the canonical encoding with times: guards the stored form.
    #[must_use]
    pub fn integrity(&self) -> crate::Digest {
        crate::Digest::blake3(&self.encode())
    }
}

impl Entry {
    /// The last component of the path; empty for the root.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        file_name(&self.path)
    }

    /// Whether this is a directory, opaque or not.
    #[must_use]
    pub const fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory { .. })
    }
}

/// In the order of a tree, with unique paths.
fn is_sorted(entries: &[Entry]) -> bool {
    entries.is_sorted_by(|a, b| compare_paths(&a.path, &b.path).is_lt())
}

/// The order of a tree: component by component, each component by its bytes.
#[must_use]
pub fn compare_paths(a: &[u8], b: &[u8]) -> Ordering {
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 };
    let shared = common_prefix(a, b);
    a.get(shared).map(rank).cmp(&b.get(shared).map(rank))
}

/// How many bytes `a` and `b` begin with in common. Eight at a time: paths share long beginnings, and this decides how
/// fast trees are searched.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let chunks = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    let start = 8 * chunks.take_while(|(a, b)| a == b).count();
    start + a[start..].iter().zip(&b[start..]).take_while(|(a, b)| a == b).count()
}

/// Whether `path` is `dir` or below it.
#[must_use]
pub fn is_within(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The directory that holds `path`; `None` for the root.
#[must_use]
pub fn parent(path: &[u8]) -> Option<&[u8]> {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => Some(&path[..slash]),
        None if path.is_empty() => None,
        None => Some(b""),
    }
}

/// The last component of `path`.
#[must_use]
pub fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

/// `name` in `dir`.
#[must_use]
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match dir {
        [] => name.to_vec(),
        dir => [dir, b"/", name].concat(),
    }
}

/// How many components `path` has.
fn depth(path: &[u8]) -> usize {
    match path {
        [] => 0,
        path => 1 + path.iter().filter(|&&byte| byte == b'/').count(),
    }
}

/// How many of `entries`, which start at or after `dir`, are `dir` or below it.
fn subtree_length(entries: &[Entry], dir: &[u8]) -> usize {
    gallop(entries, |entry| is_within(&entry.path, dir))
}

/// The partition point of `items`, found the quicker the nearer it is to the start.
pub(crate) fn gallop<T>(items: &[T], before: impl Fn(&T) -> bool) -> usize {
    let mut end = 1;
    while items.get(end).is_some_and(&before) {
        end *= 2;
    }
    let start = end / 2;
    match items.get(start..items.len().min(end + 1)) {
        Some(near) => start + near.partition_point(before),
        None => 0,
    }
}
