//! The bytes of one file: sharing, copying, checking.

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use galley_oci::Blake3;
use rustix::io::Errno;

use crate::{
    Content, StoreError,
    error::At,
    holes::{HoleReader, WithHoles},
};

/// How much is read at once.
pub(crate) const BUFFER_BYTES: usize = 128 * 1024;

/// An open file whose bytes are wanted elsewhere.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) content: Content,
    /// For messages.
    pub(crate) path: PathBuf,
    /// It is in a committed layer. Others are checked while they are copied.
    pub(crate) immutable: bool,
}

/// Copies one file after the other; remembers what the file system can do.
#[derive(Debug)]
pub(crate) struct Copier {
    buffer: Vec<u8>,
    shares_blocks: bool,
}

impl Copier {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; BUFFER_BYTES], shares_blocks: true }
    }

    /// Gives `to` the content of `source`, which must have `size` bytes and `digest`.
    pub(crate) fn copy(
        &mut self,
        source: Source,
        to: &mut File,
        size: u64,
        digest: &[u8; 32],
    ) -> Result<(), StoreError> {
        let changed = || StoreError::FileChanged { path: source.path.clone() };
        let shared = self.share(&source.content, to);
        let (mut from, buffer) = (source.content, &mut self.buffer);
        if source.immutable {
            let copied = if shared { from.size() } else { from.copy_to(to) };
            let found = copied.at("copy", &source.path)?;
            let damaged = || {
                let reason = format!("it has {found} bytes instead of {size}");
                StoreError::damaged("the content of", &source.path, reason)
            };
            return if found == size { Ok(()) } else { Err(damaged()) };
        }
        let found = if shared {
            let to = to.try_clone().at("read", &source.path)?;
            hash(&mut HoleReader::new(to), &source.path, size, buffer)?
        } else {
            let mut to = WithHoles::new(to);
            let found = each_chunk(&mut from, &source.path, size, buffer, |chunk| {
                to.write_all(chunk).at("write a copy of", &source.path)
            })?;
            to.finish().at("write a copy of", &source.path)?;
            found
        };
        if found == (*digest, size) { Ok(()) } else { Err(changed()) }
    }

    /// Lets both files have the same blocks, on file systems that can.
    fn share(&mut self, from: &Content, to: &File) -> bool {
        let Some(from) = from.whole().filter(|_| self.shares_blocks) else { return false };
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => true,
            Err(error) => {
                self.shares_blocks = !matches!(error, Errno::NOTSUP | Errno::NOTTY);
                false
            }
        }
    }
}

/// BLAKE3 and length of what is left of `file`, through a buffer that the caller reuses. `expected` is how long it was.
pub(crate) fn hash(
    file: &mut impl Read,
    path: &Path,
    expected: u64,
    buffer: &mut [u8],
) -> Result<([u8; 32], u64), StoreError> {
    each_chunk(file, path, expected, buffer, |_| Ok(()))
}

/// Reads to the end; gives BLAKE3 and length.
fn each_chunk(
    from: &mut impl Read,
    path: &Path,
    expected: u64,
    buffer: &mut [u8],
    mut each: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<([u8; 32], u64), StoreError> {
    let mut hasher = Blake3::new();
    let mut size = 0;
    loop {
        let count = match from.read(buffer) {
            Ok(0) => return Ok((*hasher.finish().bytes(), size)),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).at("read", path),
        };
        hasher.update(&buffer[..count]);
        each(&buffer[..count])?;
        size += count as u64;
        // A file that gave less than it was asked for has no more. Of one that changes, the length decides later.
        if size == expected && count < buffer.len() {
            return Ok((*hasher.finish().bytes(), size));
        }
    }
}
