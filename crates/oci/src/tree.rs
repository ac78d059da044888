//! A tree: an immutable, sorted description of files, always in the image's terms.
//!
//! The same type describes a whole file system and the changes of one layer; only the second may hold
//! [`Kind::Whiteout`] and opaque directories. Entries are sorted component by component (`a/b` right after `a`, before
//! `a-b`), so every directory is followed by all that is below it. The first entry is the root, whose path is empty.
//! Paths are relative, bytes, without `.`, `..` or empty components.

mod decode;
mod encode;
mod normal;
mod stored;
#[cfg(test)]
mod tests;

use std::{cmp::Ordering, collections::HashSet, fmt, num::NonZeroU32, ops::Range, sync::OnceLock};

pub use crate::time::Time;
pub use decode::{DecodeTreeError, MAX_PATH_BYTES, MAX_TREE_PATH_BYTES};
pub use encode::{FORMAT_VERSION, Times};
use stored::Stored;

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
#[derive(Clone)]
pub struct Tree {
    /// Of a stored tree there are none before somebody wants all of them.
    entries: OnceLock<Vec<Entry>>,
    stored: Option<Stored>,
}

impl Default for Tree {
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        self.entries() == other.entries()
    }
}

impl Eq for Tree {}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries()).finish()
    }
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
        Self::of(entries)
    }

    fn of(entries: Vec<Entry>) -> Self {
        Self { entries: OnceLock::from(entries), stored: None }
    }

    /// All entries, sorted. Those of a tree that was read from the disk are made now: who wants few of them asks for these.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        self.entries.get_or_init(|| self.stored.as_ref().map(Stored::all).unwrap_or_default())
    }

    /// The entries themselves.
    #[must_use]
    pub fn into_entries(self) -> Vec<Entry> {
        let _ = self.entries();
        self.entries.into_inner().unwrap_or_default()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts().map_or_else(|| self.entries().len(), Stored::len)
    }

    /// Whether there is none, not even a root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry of this number.
    #[must_use]
    pub fn entry(&self, index: usize) -> Option<&Entry> {
        match self.parts() {
            Some(stored) => stored.entry(index),
            None => self.entries().get(index),
        }
    }

    /// The stored form, as long as the entries were not all made.
    fn parts(&self) -> Option<&Stored> {
        self.stored.as_ref().filter(|_| self.entries.get().is_none())
    }

    /// The bytes of its files, each of which may have several names.
    #[must_use]
    pub fn bytes_of_files(&self) -> u64 {
        let mut linked = HashSet::new();
        let bytes = self.entries().iter().map(|entry| match &entry.kind {
            Kind::File { links: Some(group), .. } if !linked.insert(*group) => 0,
            Kind::File { size, .. } => *size,
            _ => 0,
        });
        bytes.sum()
    }

    /// The entry at `path`.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.position(path).ok().and_then(|index| self.entry(index))
    }

    /// The index of the entry at `path`, or where it would stand.
    pub fn position(&self, path: &[u8]) -> Result<usize, usize> {
        match self.parts() {
            Some(stored) => stored.position(path),
            None => position(self.entries(), path),
        }
    }

    /// The entries directly in `dir`, in order.
    pub fn children(&self, dir: &[u8]) -> impl Iterator<Item = &Entry> {
        self.child_indexes(dir).filter_map(|index| self.entry(index))
    }

    /// The indexes of the entries directly in `dir`, in order.
    pub(crate) fn child_indexes(&self, dir: &[u8]) -> impl Iterator<Item = usize> {
        let range = self.range_below(dir);
        let (mut next, end, wanted) = (range.start, range.end, depth(dir) + 1);
        std::iter::from_fn(move || {
            while next < end {
                let path = &self.entry(next)?.path;
                if depth(path) == wanted {
                    let index = next;
                    next = index + self.subtree_length(index..end, path);
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
        &self.entries()[self.range_below(dir)]
    }

    /// Where [`Tree::below`] lies among the entries.
    #[must_use]
    pub fn range_below(&self, dir: &[u8]) -> Range<usize> {
        if dir.is_empty() {
            return 0..self.len();
        }
        let (Ok(start) | Err(start)) = self.position(dir);
        start..start + self.subtree_length(start..self.len(), dir)
    }

    /// The entries of a range with their numbers. When they are much of a stored tree, all are made: that is quicker.
    pub(crate) fn numbered(&self, range: Range<usize>) -> impl Iterator<Item = (usize, &Entry)> {
        if range.len() > self.len() / 4 {
            let _ = self.entries();
        }
        range.filter_map(|index| Some((index, self.entry(index)?)))
    }

    /// How many of the entries in `range`, which starts at or after `dir`, are `dir` or below it.
    fn subtree_length(&self, range: Range<usize>, dir: &[u8]) -> usize {
        let within =
            |offset| self.entry(range.start + offset).is_some_and(|entry| is_within(&entry.path, dir));
        gallop_to(range.len(), within)
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

/// The index of the entry at `path` among sorted `entries`, or where it would stand.
fn position(entries: &[Entry], path: &[u8]) -> Result<usize, usize> {
    entries.binary_search_by(|entry| compare_paths(&entry.path, path))
}

/// The partition point of `items`, found the quicker the nearer it is to the start.
pub(crate) fn gallop<T>(items: &[T], before: impl Fn(&T) -> bool) -> usize {
    gallop_to(items.len(), |index| before(&items[index]))
}

/// The same for what is told of indexes up to `length`.
fn gallop_to(length: usize, before: impl Fn(usize) -> bool) -> usize {
    let mut end = 1;
    while end < length && before(end) {
        end *= 2;
    }
    let (mut start, mut end) = (end / 2, length.min(end + 1));
    while start < end {
        let middle = start.midpoint(end);
        if before(middle) { start = middle + 1 } else { end = middle }
    }
    start
}
