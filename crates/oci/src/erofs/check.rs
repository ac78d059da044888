//! Whether a packed layer holds what its tree says.

use std::{
    collections::{HashMap, hash_map},
    io::Read,
    num::NonZeroU32,
};

use super::{
    error::ReadErofsError,
    read_at::ReadAt,
    reader::{Reader, Record, RecordKind, Runs},
    special, xattrs,
};
use crate::{
    Blake3, Entry, Kind, Tree,
    tree::{Xattrs, compare_paths},
};

/// How much of a content is read at once.
const BUFFER_BYTES: usize = 256 << 10;

impl<R: ReadAt> Reader<R> {
    /// Reads everything, every byte of every file, and says what first differs from `tree`.
    pub fn check(&self, tree: &Tree) -> Result<(), ReadErofsError> {
        let (files, groups) = (HashMap::new(), HashMap::new());
        let mut check = Check { reader: self, buffer: vec![0; BUFFER_BYTES], files, groups };
        let mut records = self.walk();
        for entry in tree.entries() {
            match records.next().transpose()? {
                Some(record) if record.path == entry.path => check.entry(entry, &record)?,
                Some(record) if compare_paths(&record.path, &entry.path).is_lt() => {
                    return Err(surplus(&record));
                }
                _ => return Err(different(&entry.path, "it is missing")),
            }
        }
        records.next().transpose()?.map_or(Ok(()), |record| Err(surplus(&record)))
    }
}

struct Check<'a, R> {
    reader: &'a Reader<R>,
    buffer: Vec<u8>,
    /// The files that were met, by inode: their group and digest.
    files: HashMap<u64, (Option<NonZeroU32>, [u8; 32])>,
    /// The inode of each group of hard links.
    groups: HashMap<NonZeroU32, u64>,
}

impl<R: ReadAt> Check<'_, R> {
    fn entry(&mut self, entry: &Entry, record: &Record) -> Result<(), ReadErofsError> {
        let what = attribute_that_differs(entry, record);
        what.map_or(Ok(()), |what| Err(different(&entry.path, what)))?;
        match (&entry.kind, &record.kind) {
            (Kind::File { size, digest, links }, RecordKind::File(runs)) if runs.len() == *size => {
                self.file(entry, record.inode, runs, (*links, *digest))
            }
            (Kind::File { .. }, RecordKind::File(_)) => Err(different(&entry.path, "its length differs")),
            (Kind::Directory { opaque }, RecordKind::Directory { opaque: found }) if opaque == found => {
                Ok(())
            }
            (kind, RecordKind::Other(found)) if kind == found => Ok(()),
            _ => Err(different(&entry.path, "it is something else")),
        }
    }

    /// Each file is read once, whatever names it has.
    fn file(
        &mut self,
        entry: &Entry,
        inode: u64,
        runs: &Runs,
        expected: (Option<NonZeroU32>, [u8; 32]),
    ) -> Result<(), ReadErofsError> {
        if expected.0.is_some_and(|group| *self.groups.entry(group).or_insert(inode) != inode) {
            return Err(different(&entry.path, "it is no hard link"));
        }
        match self.files.entry(inode) {
            hash_map::Entry::Occupied(known) if *known.get() == expected && expected.0.is_some() => {
                return Ok(());
            }
            hash_map::Entry::Occupied(_) => return Err(different(&entry.path, "it is a hard link")),
            hash_map::Entry::Vacant(new) => new.insert(expected),
        };
        let mut hasher = Blake3::new();
        let mut content = self.reader.content(runs.clone());
        loop {
            match content.read(&mut self.buffer)? {
                0 => break,
                read => hasher.update(&self.buffer[..read]),
            };
        }
        let same = *hasher.finish().bytes() == expected.1;
        if same { Ok(()) } else { Err(different(&entry.path, "its content differs")) }
    }
}

fn attribute_that_differs(entry: &Entry, record: &Record) -> Option<&'static str> {
    let (expected, found) = (&entry.meta, &record.meta);
    let checks = [
        (expected.mode == found.mode, "its mode differs"),
        ((expected.uid, expected.gid) == (found.uid, found.gid), "its owner differs"),
        (expected.mtime == found.mtime, "its time differs"),
        (
            stored_xattrs(entry) == found.xattrs.as_deref().map_or(&[][..], |xattrs| xattrs),
            "its attributes differ",
        ),
    ];
    checks.into_iter().find_map(|(same, what)| (!same).then_some(what))
}

/// Those that a packed layer has of an entry's attributes.
fn stored_xattrs(entry: &Entry) -> Xattrs {
    let mut stored = xattrs::decode(&xattrs::encode(entry)).unwrap_or_default();
    stored.retain(|(name, _)| **name != *xattrs::OPAQUE.0 && **name != *special::STAND_IN);
    stored
}

fn different(path: &[u8], what: &'static str) -> ReadErofsError {
    ReadErofsError::Different { path: format!("/{}", String::from_utf8_lossy(path)), what }
}

fn surplus(record: &Record) -> ReadErofsError {
    different(&record.path, "the tree does not have it")
}
