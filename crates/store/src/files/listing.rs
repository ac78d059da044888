//! The names of one directory.

use std::{ffi::CStr, mem::MaybeUninit, os::fd::BorrowedFd};

use rustix::{
    fs::{FileType, RawDir, SeekFrom},
    io::Errno,
};

/// The names in a directory, behind each other in one piece of memory.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    bytes: Vec<u8>,
    names: Vec<Name>,
}

/// Where a name begins, and its type when the file system tells it.
#[derive(Clone, Copy, Debug)]
struct Name {
    start: usize,
    kind: FileType,
}

impl Listing {
    fn push(&mut self, name: &CStr, kind: FileType) {
        self.names.push(Name { start: self.bytes.len(), kind });
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
    }

    /// The entry of that number.
    pub(crate) fn get(&self, number: usize) -> Option<(&CStr, FileType)> {
        let name = self.names.get(number)?;
        Some((named(&self.bytes, name.start), name.kind))
    }

    /// All entries.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&CStr, FileType)> {
        self.names.iter().map(|name| (named(&self.bytes, name.start), name.kind))
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

fn named(bytes: &[u8], start: usize) -> &CStr {
    let name = bytes.get(start..).and_then(|bytes| CStr::from_bytes_until_nul(bytes).ok());
    name.unwrap_or_default() // ok: each was pushed with its zero
}

/// Bytes asked of the kernel at once: about a thousand names.
const BUFFER_BYTES: usize = 32 * 1024;

/// All names but `.` and `..`, in the directory's own order.
pub(crate) fn names(directory: BorrowedFd<'_>) -> Result<Listing, Errno> {
    // The last listing left the handle at the end.
    rustix::fs::seek(directory, SeekFrom::Start(0))?;
    let mut buffer = Vec::<u8>::with_capacity(BUFFER_BYTES);
    let mut entries = RawDir::new(directory, spare(&mut buffer));
    let mut names = Listing::default();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name(), entry.file_type());
        }
    }
    Ok(names)
}

/// All names, sorted by their bytes, as trees are.
pub(crate) fn sorted(directory: BorrowedFd<'_>) -> Result<Listing, Errno> {
    let Listing { bytes, mut names } = names(directory)?;
    // Two names differ before the zero of the shorter, so what is behind it never counts.
    names.sort_unstable_by_key(|name| bytes.get(name.start..).unwrap_or_default());
    Ok(Listing { bytes, names })
}

fn spare(buffer: &mut Vec<u8>) -> &mut [MaybeUninit<u8>] {
    buffer.spare_capacity_mut()
}
