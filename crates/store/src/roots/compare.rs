//! What differs between a directory tree now and as it was.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    ffi::CStr,
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
};

use galley_oci::{
    Entry, Kind, Meta, Tree,
    tree::{compare_paths, is_within, parent},
};
use rustix::fs::FileType;

use crate::{
    StoreError,
    files::{
        scan::{Scan, scanned},
        walk::{Found, Visit, Visitor, walk},
    },
    origins::path_of,
};

/// How one file was: nothing can be done to a file that leaves both as they are.
#[derive(Clone, Debug)]
struct Mark {
    path: Box<[u8]>,
    inode: u64,
    changed: (i64, u32),
    /// It is a file that has other names.
    is_linked: bool,
}

impl Mark {
    fn of(found: &Found<'_>) -> Self {
        let time = &found.stat.stx_ctime;
        let is_linked = found.stat.stx_nlink > 1 && found.file_type() == FileType::RegularFile;
        let changed = (time.tv_sec, time.tv_nsec);
        Self { path: found.path.into(), inode: found.stat.stx_ino, changed, is_linked }
    }

    /// Whether nothing was done to the file at this path; that it got another name, or lost one, has changed its time.
    fn is_as_before(&self, found: &Found<'_>) -> bool {
        let time = &found.stat.stx_ctime;
        (self.inode, self.changed) == (found.stat.stx_ino, (time.tv_sec, time.tv_nsec))
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

    /// The directories of files that have several names.
    pub(super) fn directories_of_linked(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(|mark| mark.is_linked).filter_map(|mark| parent(&mark.path))
    }

    /// The files below `root` that were written to by one of their names, which are among `written`. Of one that has got a name
    /// since nobody knows which of the old ones is one with that.
    fn written_by_name(&self, root: &Path, written: &HashSet<Box<[u8]>>) -> HashSet<u64> {
        let marks = self.0.iter().filter(|mark| mark.is_linked && written.contains(&mark.path));
        let mut files: HashMap<u64, usize> = marks.map(|mark| (mark.inode, 0)).collect();
        let mut names = HashMap::new();
        for mark in self.0.iter().filter(|mark| mark.is_linked) {
            let Some(count) = files.get_mut(&mark.inode) else { continue };
            let stat = rustix::fs::lstat(root.join(path_of(&mark.path))).ok();
            if let Some(stat) = stat.filter(|stat| stat.st_ino == mark.inode) {
                *count += 1;
                names.insert(mark.inode, usize::try_from(stat.st_nlink).unwrap_or(usize::MAX));
            }
        }
        files.retain(|inode, count| names.get(inode).is_none_or(|names| names <= count));
        files.into_keys().collect()
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

/// What has become of a root.
pub(super) struct Changes {
    /// What is new, changed or gone, as a layer.
    pub(super) tree: Tree,
    /// A file shows what was written to it by another name, which is not in the layer.
    pub(super) shows_more: bool,
}

/// What has changed below `root`. Of a file below with several names those have changed that are among `written`, or all
/// when none is.
pub(super) fn changes(
    root: &Path,
    marks: &Marks,
    written: &HashSet<Box<[u8]>>,
) -> Result<Changes, StoreError> {
    let known = marks.written_by_name(root, written);
    let mut shows_more = false;
    let tree = scanned(root, &[], |scan| {
        let names = Names { written, known: &known, shows_more: &mut shows_more };
        let mut compare = Compare { scan, left: &marks.0, gone: Vec::new(), names };
        walk(root, &mut compare)?;
        compare.pass_rest();
        let Compare { scan, gone, .. } = compare;
        scan.entries.extend(gone);
        Ok(())
    })?;
    Ok(Changes { tree, shows_more })
}

/// What is known of files with several names.
struct Names<'a> {
    written: &'a HashSet<Box<[u8]>>,
    /// Files with a name in there.
    known: &'a HashSet<u64>,
    shows_more: &'a mut bool,
}

impl Names<'_> {
    /// Whether the file was written to by another name alone.
    fn spare(&mut self, mark: &Mark) -> bool {
        let spared = mark.is_linked && self.known.contains(&mark.inode) && !self.written.contains(&mark.path);
        *self.shows_more |= spared;
        spared
    }
}

struct Compare<'a, 'scan, 'hash, 'scope, 'env> {
    scan: &'scan mut Scan<'hash, 'scope, 'env>,
    /// What was there and was not met again yet.
    left: &'a [Mark],
    gone: Vec<Entry>,
    names: Names<'a>,
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
        if self.advance(found).is_some_and(|mark| mark.is_as_before(found)) {
            return Ok(());
        }
        self.scan.directory(found, handle, visit)
    }

    fn leave(&mut self) {}

    fn file(&mut self, found: &Found<'_>, parent: &Arc<OwnedFd>, name: &CStr) -> Result<(), StoreError> {
        let mark = self.advance(found);
        self.left = behind(self.left, found.path);
        match mark {
            Some(mark) if mark.is_as_before(found) => Ok(()),
            Some(mark) if mark.inode == found.stat.stx_ino && self.names.spare(mark) => Ok(()),
            // An overlay has no links between the names of a file that was below, once it is written to.
            Some(mark) if mark.inode == found.stat.stx_ino => self.scan.alone(found, parent, name),
            _ => self.scan.file(found, parent, name),
        }
    }
}
