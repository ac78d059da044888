//! The names of one directory.

use std::{ffi::CStr, mem::MaybeUninit, os::fd::BorrowedFd};

use rustix::{
    fs::{FileType, RawDir, SeekFrom},
    io::Errno,
};

/// One directory entry: its name, and its type when the file system tells it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) name: Box<CStr>,
    pub(crate) kind: FileType,
}

/// Bytes asked of the kernel at once: about a thousand names.
const BUFFER_BYTES: usize = 32 * 1024;

/// All names but `.` and `..`, in the directory's own order.
pub(crate) fn names(directory: BorrowedFd<'_>) -> Result<Vec<Name>, Errno> {
    // The last listing left the handle at the end.
    rustix::fs::seek(directory, SeekFrom::Start(0))?;
    let mut buffer = Vec::<u8>::with_capacity(BUFFER_BYTES);
    let mut entries = RawDir::new(directory, spare(&mut buffer));
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(Name { name: entry.file_name().into(), kind: entry.file_type() });
        }
    }
    Ok(names)
}

/// All names, sorted by their bytes, as trees are.
pub(crate) fn sorted(directory: BorrowedFd<'_>) -> Result<Vec<Name>, Errno> {
    let mut names = names(directory)?;
    names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(names)
}

fn spare(buffer: &mut Vec<u8>) -> &mut [MaybeUninit<u8>] {
    buffer.spare_capacity_mut()
}
