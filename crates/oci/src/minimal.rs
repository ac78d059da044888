//! The smallest layer that turns what is below into what is wanted.
//!
//! A layer is named by its tree, and a store may lay one layer over different stacks. So the tree must say all that the
//! layer does and nothing more: however a step left its changes (an overlay upper with opaque directories and files that
//! were copied up for nothing, or two trees compared), the same change over the same stack gives the same tree. What is
//! on disk must be made to agree with it before the layer is used anywhere else.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use crate::{
    stack::{Found, Stack},
    tree::{Entry, Kind, Meta, Tree, compare_paths, gallop, is_within, parent},
};

/// Changes are looked up one by one when they are at most one in so many of the entries below; else a walk costs less.
const FEW_CHANGES_SHARE: usize = 16;

/// The attributes of a directory that nobody has made.
const IMPLIED_DIRECTORY: Meta = Meta::new(0o755);

/// `changes` without what `below` has already, and with every directory above what remains.
///
/// Files that equal those below (time included) and directories that equal but for their time are dropped. A whiteout
/// stays when it hides something. An opaque directory becomes whiteouts of the names it hides. Directories above the
/// rest come from `changes`, else from `below`; the root is always there.
#[must_use]
pub fn minimal(changes: Tree, below: &Stack) -> Tree {
    let few = changes.entries().len() <= below.entry_count() / FEW_CHANGES_SHARE;
    let lower = if few { touched(&changes, below) } else { below.walk(b"") };
    smallest(changes, &lower)
}

/// The same, when `lower` is all of what is below, or all of it that the changes have to do with.
fn smallest(changes: Tree, lower: &[Found<'_>]) -> Tree {
    let mut split = Split { lower, opaque: None, kept: Vec::new(), idle: Vec::new() };
    for entry in changes.into_entries() {
        split.add(entry);
    }
    split.close_opaque();
    let Split { kept, idle, .. } = split;
    Tree::from_sorted(with_parents(kept, &idle, lower))
}

/// What stands below at the paths of `changes` and above them, and everything in directories that they empty; sorted. A
/// step changes little of what it runs on, and looking that little up does not cost more the larger or deeper the stack is.
fn touched<'a>(changes: &Tree, below: &'a Stack) -> Vec<Found<'a>> {
    let mut found: Vec<Found<'a>> = below.get(b"").into_iter().collect();
    let (mut last, mut emptied): (&[u8], Option<&[u8]>) = (b"", None);
    for entry in changes.entries() {
        if emptied.is_some_and(|dir| is_within(&entry.path, dir)) {
            continue;
        }
        let ancestors = std::iter::successors(parent(&entry.path), |dir| parent(dir));
        let new: Vec<_> = ancestors.take_while(|dir| !is_within(last, dir)).collect();
        found.extend(new.into_iter().rev().filter_map(|dir| below.get(dir)));
        if entry.kind == (Kind::Directory { opaque: true }) {
            let all = below.walk(&entry.path);
            found.extend(all.into_iter().filter(|found| !found.path().is_empty()));
            emptied = Some(&entry.path);
        } else if !entry.path.is_empty() {
            found.extend(below.get(&entry.path));
        }
        last = &entry.path;
    }
    found
}

/// The changes divided into those that matter and the rest.
struct Split<'a> {
    /// What is below and was not passed yet.
    lower: &'a [Found<'a>],
    /// The opaque directory that the changes are in.
    opaque: Option<Box<[u8]>>,
    kept: Vec<Entry>,
    /// Directories that did not change.
    idle: Vec<Entry>,
}

impl<'a> Split<'a> {
    fn add(&mut self, entry: Entry) {
        if self.opaque.as_ref().is_some_and(|dir| !is_within(&entry.path, dir)) {
            self.close_opaque();
        }
        let below = self.advance(&entry.path).map(|found| found.entry);
        match entry.kind {
            Kind::Directory { opaque } => self.add_directory(entry, opaque, below),
            _ => self.add_other(entry, below),
        }
    }

    fn add_directory(&mut self, mut entry: Entry, opaque: bool, below: Option<&Entry>) {
        entry.kind = Kind::Directory { opaque: false };
        if opaque && self.opaque.is_none() && below.is_some_and(Entry::is_directory) {
            self.opaque = Some(entry.path.clone());
        }
        match below {
            Some(below) if same(&entry, below) => self.idle.push(entry),
            _ => self.kept.push(entry),
        }
    }

    fn add_other(&mut self, entry: Entry, below: Option<&Entry>) {
        self.skip_below(&entry.path);
        let needed = match below {
            None => entry.kind != Kind::Whiteout,
            Some(below) => !same(&entry, below),
        };
        if needed {
            self.kept.push(entry);
        }
    }

    /// Passes what is below up to `path`, and returns what stands there. Inside an opaque directory, what is passed
    /// over is hidden.
    fn advance(&mut self, path: &[u8]) -> Option<Found<'a>> {
        if self.opaque.is_some() {
            while let Some(first) = self.lower.first()
                && compare_paths(first.path(), path) == Ordering::Less
            {
                self.hide(first.path());
            }
        } else {
            let before = gallop(self.lower, |found| compare_paths(found.path(), path).is_lt());
            self.lower = &self.lower[before..];
        }
        let (first, rest) = self.lower.split_first()?;
        if first.path() != path {
            return None;
        }
        self.lower = rest;
        Some(*first)
    }

    fn hide(&mut self, path: &[u8]) {
        let whiteout = Entry { path: path.into(), meta: Meta::new(0), kind: Kind::Whiteout };
        self.skip_below(path);
        self.kept.push(whiteout);
    }

    /// Passes `path` and all that is below it.
    fn skip_below(&mut self, path: &[u8]) {
        let within = gallop(self.lower, |found| is_within(found.path(), path));
        self.lower = &self.lower[within..];
    }

    /// Hides what is left of the opaque directory.
    fn close_opaque(&mut self) {
        let Some(dir) = self.opaque.take() else { return };
        while let Some(first) = self.lower.first()
            && is_within(first.path(), &dir)
        {
            self.hide(first.path());
        }
    }
}

/// Whether laying `upper` over `lower` changes nothing that counts.
fn same(upper: &Entry, lower: &Entry) -> bool {
    let (a, b) = (&upper.meta, &lower.meta);
    let attributes = (a.mode, a.uid, a.gid) == (b.mode, b.uid, b.gid) && a.xattrs == b.xattrs;
    attributes
        && match (&upper.kind, &lower.kind) {
            (Kind::Directory { .. }, Kind::Directory { .. }) => true,
            (a_kind, b_kind) => a.mtime == b.mtime && same_content(a_kind, b_kind),
        }
}

/// Hard links are left out, as BuildKit does: a file that was copied up only because it got another name stays below.
fn same_content(a: &Kind, b: &Kind) -> bool {
    match (a, b) {
        (Kind::File { size, digest, .. }, Kind::File { size: other_size, digest: other, .. }) => {
            size == other_size && digest == other
        }
        _ => a == b,
    }
}

/// `kept` with the directories above its entries, and the root.
fn with_parents(kept: Vec<Entry>, idle: &[Entry], lower: &[Found<'_>]) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::with_capacity(kept.len() + 8);
    if kept.is_empty() {
        all.push(directory(b"", idle, lower));
    }
    for entry in kept {
        let known = |dir: &[u8], all: &[Entry]| all.last().is_some_and(|last| is_within(&last.path, dir));
        let ancestors = std::iter::successors(parent(&entry.path), |dir| parent(dir));
        let missing: Vec<_> = ancestors.take_while(|dir| !known(dir, &all)).collect();
        all.extend(missing.into_iter().rev().map(|dir| directory(dir, idle, lower)));
        all.push(entry);
    }
    all
}

/// The directory at `path` as the step left it, else as it is below.
fn directory(path: &[u8], idle: &[Entry], lower: &[Found<'_>]) -> Entry {
    let of_step = idle.binary_search_by(|entry| compare_paths(&entry.path, path)).map(|at| &idle[at]);
    let found = of_step.or_else(|_| {
        lower.binary_search_by(|found| compare_paths(found.path(), path)).map(|at| lower[at].entry)
    });
    let meta = match found {
        Ok(entry) if entry.is_directory() => entry.meta.clone(),
        _ => IMPLIED_DIRECTORY,
    };
    Entry { path: path.into(), meta, kind: Kind::Directory { opaque: false } }
}
