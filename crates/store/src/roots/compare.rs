//! What differs between a directory tree now and as it was.

use std::{cmp::Ordering, ffi::CStr, os::fd::OwnedFd, path::Path, sync::Arc};

use galley_oci::{
    Entry, Kind, Meta, Tree,
    tree::{compare_paths, is_within},
};

use crate::{
    StoreError,
    files::{
        scan::{Scan, scanned},
        walk::{Found, Visit, Visitor, walk},
    },
};

/// How one file was: nothing can be done to a file that leaves both as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    path: Box<[u8]>,
    inode: u64,
    changed: (i64, u32),
}

impl Mark {
    fn of(found: &Found<'_>) -> Self {
        let time = &found.stat.stx_ctime;
        Self { path: found.path.into(), inode: found.stat.stx_ino, changed: (time.tv_sec, time.tv_nsec) }
    }
}

/// How all files were, in the order of a tree.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<Mark>);

impl Marks {
    /// The latest time of change.
    pub(super) fn latest(&self) -> (i64, u32) {
        self.0.iter().map(|mark| mark.changed).max().unwrap_or_default()
    }
}

/// How everything below `root` is now.
pub(super) fn mark(root: &Path) -> Result<Marks, StoreError> {
    let mut marks = Marks::default();
    walk(root, &mut marks)?;
    Ok(marks)
}

impl Visitor for Marks {
    fn consider(&mut self, _: &[u8], _: bool) -> Visit {
        Visit::Report
    }

    fn directory(&mut self, found: &Found<'_>, _: &OwnedFd, _: Visit) -> Result<(), StoreError> {
        self.0.push(Mark::of(found));
        Ok(())
    }

    fn leave(&mut self) {}

    fn file(&mut self, found: &Found<'_>, _: &Arc<OwnedFd>, _: &CStr) -> Result<(), StoreError> {
        self.0.push(Mark::of(found));
        Ok(())
    }
}

/// What is new, changed or gone below `root`, as a layer.
pub(super) fn changes(root: &Path, marks: &Marks) -> Result<Tree, StoreError> {
    scanned(root, &[], |scan| {
        let mut compare = Compare { scan, left: &marks.0, gone: Vec::new() };
        walk(root, &mut compare)?;
        compare.pass_rest();
        let Compare { scan, gone, .. } = compare;
        scan.entries.extend(gone);
        Ok(())
    })
}

struct Compare<'a, 'scan, 'hash, 'scope, 'env> {
    scan: &'scan mut Scan<'hash, 'scope, 'env>,
    /// What was there and was not met again yet.
    left: &'a [Mark],
    gone: Vec<Entry>,
}

impl<'a> Compare<'a, '_, '_, '_, '_> {
    /// What was at the path of `found`; everything before it is gone.
    fn advance(&mut self, found: &Found<'_>) -> Option<&'a Mark> {
        while let Some((first, rest)) = self.left.split_first() {
            match compare_paths(&first.path, found.path) {
                Ordering::Less => self.pass(first, rest),
                Ordering::Equal => {
                    self.left = rest;
                    return Some(first);
                }
                Ordering::Greater => return None,
            }
        }
        None
    }

    fn pass_rest(&mut self) {
        while let Some((first, rest)) = self.left.split_first() {
            self.pass(first, rest);
        }
    }

    /// What is below something that is gone needs no mention.
    fn pass(&mut self, mark: &'a Mark, rest: &'a [Mark]) {
        self.left = behind(rest, &mark.path);
        let path = mark.path.clone();
        self.gone.push(Entry { path, meta: Meta::new(0), kind: Kind::Whiteout });
    }
}

/// Those of `marks` that come after everything below `path`.
fn behind<'a>(marks: &'a [Mark], path: &[u8]) -> &'a [Mark] {
    let count = marks.iter().take_while(|mark| is_within(&mark.path, path)).count();
    &marks[count..]
}

impl Visitor for Compare<'_, '_, '_, '_, '_> {
    fn consider(&mut self, _: &[u8], _: bool) -> Visit {
        Visit::Report
    }

    fn directory(&mut self, found: &Found<'_>, handle: &OwnedFd, visit: Visit) -> Result<(), StoreError> {
        if self.advance(found).is_some_and(|mark| *mark == Mark::of(found)) {
            return Ok(());
        }
        self.scan.directory(found, handle, visit)
    }

    fn leave(&mut self) {}

    fn file(&mut self, found: &Found<'_>, parent: &Arc<OwnedFd>, name: &CStr) -> Result<(), StoreError> {
        let mark = self.advance(found);
        self.left = behind(self.left, found.path);
        match mark {
            Some(mark) if *mark == Mark::of(found) => Ok(()),
            // An overlay has no links between the names of a file that was below, once it is written to.
            Some(mark) if mark.inode == found.stat.stx_ino => self.scan.alone(found, parent, name),
            _ => self.scan.file(found, parent, name),
        }
    }
}
