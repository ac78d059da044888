//! A destination with the changes made so far: what a step that works on trees writes to.
//!
//! It behaves as a mounted file system would: paths are resolved through symbolic links, inside the root only, and what
//! was just written is seen at once. Nothing below is changed; [`Draft::finish`] gives the layer.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU32,
};

use galley_oci::{
    Entry, Kind, Meta, Time, Tree, minimal,
    stack::{MAX_SYMLINKS, Stack},
    tree::{join, parent},
};
use galley_store::{Origin, Origins};

use super::files::Files;
use crate::{Error, ErrorKind};

/// Files on top of a stack, being written.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    below: &'a Stack,
    /// What was written, each path once, and where the bytes of each are.
    entries: Vec<Entry>,
    bytes: Vec<Bytes>,
    index: HashMap<Box<[u8]>, u32>,
    /// Where something else took the place of a directory: nothing below shows through.
    replaced: HashSet<Box<[u8]>>,
    groups: u32,
}

/// Where the bytes of a change are. Small, for there may be many.
#[derive(Clone, Debug)]
pub(crate) enum Bytes {
    /// It has none.
    None,
    /// In files that are copied from: their number, and the layer and index there.
    Copied { files: u32, layer: u32, index: u32 },
    /// Somewhere else.
    Own(Box<Origin>),
}

/// What new directories get.
#[derive(Clone, Debug)]
pub(crate) struct NewDirectory {
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
}

impl<'a> Draft<'a> {
    /// Nothing changed yet.
    pub(crate) fn new(below: &'a Stack) -> Self {
        Self {
            below,
            entries: Vec::new(),
            bytes: Vec::new(),
            index: HashMap::new(),
            replaced: HashSet::new(),
            groups: 0,
        }
    }

    /// What stands at exactly `path`.
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Entry> {
        if let Some(&index) = self.index.get(path) {
            return self.entries.get(index as usize);
        }
        if !self.replaced.is_empty() && ancestors(path).any(|dir| self.replaced.contains(dir)) {
            return None;
        }
        self.below.get(path).map(|found| found.entry)
    }

    /// Whether `path` is a directory, without following a link there.
    pub(crate) fn is_directory(&self, path: &[u8]) -> bool {
        // The root of the empty snapshot has no entry.
        path.is_empty() || self.get(path).is_some_and(Entry::is_directory)
    }

    /// Where `path` leads, all symbolic links followed. What does not exist is joined as it is, also below a file: whoever
    /// makes directories there finds out.
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        let mut todo: Vec<Box<[u8]>> = components(path).map(Box::from).rev().collect();
        let (mut at, mut links) = (Vec::new(), 0);
        while let Some(name) = todo.pop() {
            if *name == *b".." {
                at.truncate(parent(&at).map_or(0, <[u8]>::len));
                continue;
            }
            let next = join(&at, &name);
            let Some(Kind::Symlink { target }) = self.get(&next).map(|entry| &entry.kind) else {
                at = next;
                continue;
            };
            links += 1;
            if links > MAX_SYMLINKS {
                let message = format!("{} passes more than {MAX_SYMLINKS} symbolic links", shown(path));
                return Err(Error::new(ErrorKind::Input, message).help("is there a loop?"));
            }
            if target.starts_with(b"/") {
                at.clear();
            }
            todo.extend(components(target).map(Box::from).rev());
        }
        Ok(at)
    }

    /// Makes `path`, which is resolved, and the directories above it where they are missing.
    pub(crate) fn make_directories(&mut self, path: &[u8], new: &NewDirectory) -> Result<(), Error> {
        let mut missing = Vec::new();
        for dir in std::iter::once(path).chain(ancestors(path)) {
            if self.is_directory(dir) {
                break;
            }
            if self.get(dir).is_some() {
                let message = format!("cannot make the directory {}: {} is a file", shown(path), shown(dir));
                return Err(Error::new(ErrorKind::Input, message));
            }
            missing.push(dir.to_vec());
        }
        for dir in missing.into_iter().rev() {
            let meta = Meta { uid: new.uid, gid: new.gid, mtime: new.mtime, ..Meta::new(new.mode) };
            self.put(Entry { path: dir.into(), meta, kind: Kind::Directory { opaque: false } }, Bytes::None);
        }
        Ok(())
    }

    /// Writes `entry`. What stood there is gone; a directory on a directory keeps what it holds.
    pub(crate) fn put(&mut self, mut entry: Entry, bytes: Bytes) {
        let keeps = entry.is_directory() && self.is_directory(&entry.path);
        let had_directory = !keeps && self.is_directory(&entry.path);
        if had_directory {
            self.forget_below(&entry.path);
            self.replaced.insert(entry.path.clone());
        }
        if let Kind::Directory { opaque } = &mut entry.kind {
            *opaque = !self.below.layers().is_empty() && self.replaced.contains(&entry.path);
        }
        match self.index.get(&entry.path) {
            Some(&index) => {
                self.entries[index as usize] = entry;
                self.bytes[index as usize] = bytes;
            }
            None => {
                let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX); // ok: archives and contexts are smaller
                self.index.insert(entry.path.clone(), index);
                self.entries.push(entry);
                self.bytes.push(bytes);
            }
        }
    }

    /// A new group of hard links.
    pub(crate) fn new_group(&mut self) -> NonZeroU32 {
        self.groups += 1;
        NonZeroU32::new(self.groups).unwrap_or(NonZeroU32::MIN) // ok: counted from one
    }

    /// The layer that the changes are, and where the bytes of its files are; `files` are those that were copied from, by
    /// their numbers.
    pub(crate) fn finish(mut self, files: &[Files]) -> (Tree, Origins) {
        // Everything is above nothing, and has its directories: it is minimal already.
        let alone = self.below.layers().is_empty();
        if alone && !self.index.contains_key(&b""[..]) {
            let kind = Kind::Directory { opaque: false };
            self.put(Entry { path: Box::default(), meta: Meta::new(0o755), kind }, Bytes::None);
        }
        let mut origins = Origins::new();
        for (path, index) in self.index {
            let origin = match &self.bytes[index as usize] {
                Bytes::Copied { files: number, layer, index } => {
                    let files = files.get(*number as usize);
                    match files.and_then(|files| files.origin_at(*layer, *index)) {
                        Some(origin) => origin,
                        None => continue,
                    }
                }
                Bytes::Own(origin) => Origin::clone(origin),
                Bytes::None => continue,
            };
            origins.insert(path, origin);
        }
        drop(self.bytes);
        let changes = Tree::from_entries(self.entries);
        (if alone { changes } else { minimal(changes, self.below) }, origins)
    }

    /// Takes back what was written below `dir`.
    fn forget_below(&mut self, dir: &[u8]) {
        let gone = |path: &[u8]| ancestors(path).any(|above| above == dir);
        let entries = std::mem::take(&mut self.entries).into_iter();
        let kept = entries.zip(std::mem::take(&mut self.bytes)).filter(|(entry, _)| !gone(&entry.path));
        (self.entries, self.bytes) = kept.unzip();
        self.replaced.retain(|path| !gone(path));
        self.index = (0..).zip(&self.entries).map(|(index, entry)| (entry.path.clone(), index)).collect();
    }
}

/// The directories above `path`, nearest first, the root last.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(parent(path), |dir| parent(dir))
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b"."))
}

/// A path for people.
pub(crate) fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: path.as_bytes().into(), meta: Meta::new(0o755), kind }
    }

    fn directory(path: &str) -> Entry {
        entry(path, Kind::Directory { opaque: false })
    }

    fn link(path: &str, target: &str) -> Entry {
        entry(path, Kind::Symlink { target: target.as_bytes().into() })
    }

    fn below() -> Stack {
        let entries = vec![
            directory(""),
            directory("usr"),
            directory("usr/lib"),
            link("lib", "usr/lib"),
            link("up", "../../.."),
        ];
        Stack::new(vec![Arc::new(Tree::from_entries(entries))])
    }

    const NEW: NewDirectory =
        NewDirectory { mode: 0o755, uid: 0, gid: 0, mtime: Time { seconds: 7, nanoseconds: 0 } };

    #[test]
    fn links_are_followed_inside_the_root() {
        let below = below();
        let mut draft = Draft::new(&below);
        assert_eq!(draft.resolve(b"/lib/x/../y").unwrap(), b"usr/lib/y");
        assert_eq!(draft.resolve(b"up/up/etc").unwrap(), b"etc");
        draft.put(link("usr/lib/z", "/up/a"), Bytes::None);
        assert_eq!(draft.resolve(b"lib/z/b").unwrap(), b"a/b");
        draft.put(link("loop", "loop"), Bytes::None);
        assert!(draft.resolve(b"loop/b").unwrap_err().message.contains("symbolic links"));
    }

    #[test]
    fn only_missing_directories_are_made() {
        let below = below();
        let mut draft = Draft::new(&below);
        draft.make_directories(b"usr/lib/a/b", &NEW).unwrap();
        let (tree, _) = draft.finish(&[]);
        let paths: Vec<_> = tree.entries().iter().map(|entry| String::from_utf8_lossy(&entry.path)).collect();
        assert_eq!(paths, ["", "usr", "usr/lib", "usr/lib/a", "usr/lib/a/b"]);
        let made = tree.get(b"usr/lib/a").unwrap();
        assert_eq!(made.meta.mtime, NEW.mtime);
    }

    #[test]
    fn above_nothing_the_layer_is_what_minimal_would_make() {
        let below = Stack::default();
        let mut draft = Draft::new(&below);
        draft.make_directories(b"a/b", &NEW).unwrap();
        draft.put(entry("a/b", Kind::Fifo), Bytes::None);
        draft.put(directory("a/b"), Bytes::None);
        let (tree, _) = draft.finish(&[]);
        assert_eq!(minimal(tree.clone(), &below), tree);
        assert_eq!(tree.entries().len(), 3);
    }

    #[test]
    fn a_directory_cannot_be_made_below_a_file() {
        let below = below();
        let mut draft = Draft::new(&below);
        draft.put(entry("usr/f", Kind::Fifo), Bytes::None);
        let error = draft.make_directories(b"usr/f/a", &NEW).unwrap_err();
        assert_eq!(error.message, "cannot make the directory /usr/f/a: /usr/f is a file");
    }

    #[test]
    fn a_replaced_directory_hides_what_it_held() {
        let below = below();
        let mut draft = Draft::new(&below);
        draft.put(directory("usr/new"), Bytes::None);
        draft.put(entry("usr", Kind::Fifo), Bytes::None);
        assert!(draft.get(b"usr/lib").is_none() && draft.get(b"usr/new").is_none());
        draft.put(directory("usr"), Bytes::None);
        assert!(draft.get(b"usr/lib").is_none());
        let (tree, _) = draft.finish(&[]);
        assert_eq!(tree.get(b"usr/lib").unwrap().kind, Kind::Whiteout);
    }

    proptest::proptest! {
        /// Whatever links there are and whatever is written, a path ends somewhere inside, at no link.
        #[test]
        fn a_resolved_path_leads_through_no_link(
            links in proptest::collection::vec(("[ab]/?[ab]?", "/?([ab]|[.]{1,2})(/([ab]|[.]{1,2})){0,2}"), 0..6),
            path in "([ab]|[.]{1,2})(/([ab]|[.]{1,2})){0,4}",
        ) {
            let below = below();
            let mut draft = Draft::new(&below);
            for (from, to) in &links {
                let from = from.trim_end_matches('/');
                if draft.make_directories(parent(from.as_bytes()).unwrap_or_default(), &NEW).is_ok() {
                    draft.put(link(from, to), Bytes::None);
                }
            }
            if let Ok(resolved) = draft.resolve(path.as_bytes()) {
                for part in std::iter::once(&*resolved).chain(ancestors(&resolved)) {
                    let is_link = draft.get(part).is_some_and(|entry| matches!(entry.kind, Kind::Symlink { .. }));
                    proptest::prop_assert!(!is_link, "{:?}", resolved);
                }
                proptest::prop_assert!(components(&resolved).all(|name| name != b".."));
            }
        }
    }
}
