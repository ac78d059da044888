//! Opening the content of files, wherever it is.

use std::{
    ffi::OsStr,
    fs::File,
    io::{Seek, SeekFrom, Write},
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::Path,
};

use rustix::fs::{MemfdFlags, Mode, OFlags};

use crate::{
    StoreError,
    error::At,
    files::cursor::{CONFINED, Cursor, split},
};

/// Never waits (for the writer of a named pipe), never takes a terminal, never follows a last link.
pub(crate) const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// The file `path` below `directory`, through no link.
pub(crate) fn inside(directory: &Path, path: &[u8]) -> Result<File, StoreError> {
    below(&mut Cursor::open(directory)?, path)
}

/// The file `path` below the root of `cursor`, through no link.
pub(crate) fn below(cursor: &mut Cursor, path: &[u8]) -> Result<File, StoreError> {
    let (parent, name) = split(path);
    let host_path = cursor.host_path(path);
    let parent = cursor.directory(parent)?;
    let file = rustix::fs::openat2(parent, OsStr::from_bytes(name), READ, Mode::empty(), CONFINED);
    Ok(File::from(file.at("open", host_path)?))
}

/// A file of the host.
pub(crate) fn plain(path: &Path) -> Result<File, StoreError> {
    Ok(File::from(rustix::fs::open(path, READ, Mode::empty()).at("open", path)?))
}

/// A file without content.
pub(crate) fn empty() -> Result<File, StoreError> {
    plain(Path::new("/dev/null"))
}

/// A file in memory with this content.
pub(crate) fn memory(bytes: &[u8]) -> Result<File, StoreError> {
    let handle = rustix::fs::memfd_create("galley", MemfdFlags::CLOEXEC).at("create", "a file in memory")?;
    let mut file = File::from(handle.as_fd().try_clone_to_owned().at("duplicate", "a file in memory")?);
    file.write_all(bytes).and_then(|()| file.seek(SeekFrom::Start(0))).at("write", "a file in memory")?;
    Ok(file)
}
