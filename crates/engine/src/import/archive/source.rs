//! The blobs of an archive, for whoever unpacks or keeps them.

use std::{
    collections::HashMap,
    io::{self, Read},
    sync::Arc,
};

use galley_oci::{Descriptor, Digest, Sha256};

use super::{super::broken, Archive};
use crate::{Error, ports::BlobSource};

/// The blobs of an archive.
#[derive(Debug)]
pub(super) struct Source {
    archive: Arc<Archive>,
    /// Where those are that are not under their digest.
    paths: HashMap<Digest, String>,
}

impl Source {
    /// The blobs of `archive`, some of them elsewhere than in `blobs/`.
    pub(super) fn new(archive: &Arc<Archive>, paths: HashMap<Digest, String>) -> Self {
        Self { archive: Arc::clone(archive), paths }
    }
}

/// Where a layout has a blob.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

impl BlobSource for Source {
    fn name(&self) -> String {
        self.archive.name.clone()
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, Error> {
        let name = &self.archive.name;
        let path = self.paths.get(&blob.digest).cloned().unwrap_or_else(|| blob_path(&blob.digest));
        let piece = self.archive.files.open(name, &path)?;
        if piece.size() != blob.size {
            let why = format!("{path} has {} bytes instead of {}", piece.size(), blob.size);
            return Err(broken(name, why));
        }
        Ok(Box::new(Checked { inner: piece.reader(), hasher: Some(Sha256::new()), expected: blob.digest }))
    }
}

/// A reader that ends with an error when the bytes are not those of the digest.
struct Checked<R> {
    inner: R,
    /// None after the end.
    hasher: Option<Sha256>,
    expected: Digest,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        match self.hasher.take().map(Sha256::finish) {
            Some(found) if found != self.expected => {
                let why = format!("blob {} has the content of {found}", self.expected);
                Err(io::Error::new(io::ErrorKind::InvalidData, why))
            }
            _ => Ok(0),
        }
    }
}
