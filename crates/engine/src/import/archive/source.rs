//! The blobs of an archive, for whoever unpacks or keeps them.

use std::{collections::HashMap, io::Read, sync::Arc};

use galley_oci::{Descriptor, Digest};

use super::{
    super::{broken, verified::Verified},
    Archive,
};
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
        Ok(Box::new(Verified::new(piece.reader(), blob)))
    }
}
