//! The bytes of one file: sharing, copying, checking.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use galley_oci::Blake3;
use rustix::io::Errno;

use crate::{StoreError, error::At};

/// How much is read at once.
pub(crate) const BUFFER_BYTES: usize = 128 * 1024;

/// An open file whose bytes are wanted elsewhere.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) file: File,
    /// For messages.
    pub(crate) path: PathBuf,
    /// It is in a committed layer. Others are checked while they are copied.
    pub(crate) immutable: bool,
}

/// Gives `to` the content of `source`, which must have `size` bytes and `digest`.
pub(crate) fn copy(source: Source, to: &mut File, size: u64, digest: &[u8; 32]) -> Result<(), StoreError> {
    let changed = || StoreError::FileChanged { path: source.path.clone() };
    let shared = rustix::fs::ioctl_ficlone(&*to, &source.file).is_ok();
    let mut from = source.file;
    if source.immutable {
        let copied = if shared {
            from.metadata().at("examine", &source.path)?.len()
        } else {
            copy_range(&from, to, size, &source.path)?
        };
        return if copied == size { Ok(()) } else { Err(changed()) };
    }
    let found = if shared {
        to.seek(SeekFrom::Start(0)).at("read", &source.path)?;
        hash(to, &source.path)?
    } else {
        copy_hashing(&mut from, to, &source.path)?
    };
    if found == (*digest, size) { Ok(()) } else { Err(changed()) }
}

/// Copies inside the kernel where it can, which may share the blocks.
fn copy_range(from: &File, to: &mut File, size: u64, path: &Path) -> Result<u64, StoreError> {
    let mut copied = 0;
    while copied < size {
        let want = usize::try_from(size - copied).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, None, &*to, None, want) {
            Ok(0) => break,
            Ok(count) => copied += count as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::NOTSUP | Errno::INVAL | Errno::PERM) if copied == 0 => {
                return std::io::copy(&mut &*from, to).at("copy", path);
            }
            Err(error) => return Err(error).at("copy", path),
        }
    }
    Ok(copied)
}

fn copy_hashing(from: &mut File, to: &mut File, path: &Path) -> Result<([u8; 32], u64), StoreError> {
    each_chunk(from, path, |chunk| to.write_all(chunk).at("write a copy of", path))
}

/// BLAKE3 and length of what is left of `file`.
pub(crate) fn hash(file: &mut impl Read, path: &Path) -> Result<([u8; 32], u64), StoreError> {
    each_chunk(file, path, |_| Ok(()))
}

/// Reads to the end; gives BLAKE3 and length.
pub(crate) fn each_chunk(
    from: &mut impl Read,
    path: &Path,
    mut each: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<([u8; 32], u64), StoreError> {
    let mut hasher = Blake3::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut size = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok((*hasher.finish().bytes(), size)),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).at("read", path),
        };
        hasher.update(&buffer[..count]);
        each(&buffer[..count])?;
        size += count as u64;
    }
}
