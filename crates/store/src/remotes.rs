//! What the name of an image meant to its registry when that was last asked. A hint: whoever is online asks again, and a
//! power cut may take it.

use std::path::PathBuf;

use galley_oci::{Digest, Reference, Time};
use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError,
    blobs::remove_present,
    store::{json, read_small},
};

const REMOTE_BYTES_MAX: usize = 64 * 1024;

/// The manifest or index that a registry gave for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// SHA-256 of the document, before a platform was chosen.
    pub digest: Digest,
    /// What kind of document it is.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// When the registry said so.
    pub asked: Time,
}

#[derive(Deserialize, Serialize)]
struct RemoteFile {
    reference: String,
    digest: Digest,
    media_type: String,
    size: u64,
    asked: (i64, u32),
}

impl Store {
    /// Remembers what `reference` (with tag `latest` when it has none) means to its registry.
    pub fn put_remote(&self, reference: &Reference, remote: &Remote) -> Result<(), StoreError> {
        self.later_folder("remotes")?;
        let file = RemoteFile {
            reference: canonical(reference),
            digest: remote.digest,
            media_type: remote.media_type.clone(),
            size: remote.size,
            asked: (remote.asked.seconds, remote.asked.nanoseconds),
        };
        self.write_whole(&self.remote_path(reference), &json(&file))
    }

    /// What `reference` meant to its registry; `None` when it was never asked, or what it said was lost.
    pub fn remote(&self, reference: &Reference) -> Result<Option<Remote>, StoreError> {
        let Some(bytes) = read_small(&self.remote_path(reference), REMOTE_BYTES_MAX)? else {
            return Ok(None);
        };
        let file = serde_json::from_slice::<RemoteFile>(&bytes).ok();
        Ok(file.map(|RemoteFile { digest, media_type, size, asked: (seconds, nanoseconds), .. }| Remote {
            digest,
            media_type,
            size,
            asked: Time { seconds, nanoseconds },
        }))
    }

    /// Forgets what `reference` meant; says whether it was known.
    pub fn forget_remote(&self, reference: &Reference) -> Result<bool, StoreError> {
        remove_present(&self.remote_path(reference))
    }

    fn remote_path(&self, reference: &Reference) -> PathBuf {
        let name = Digest::blake3(canonical(reference).as_bytes());
        self.root().join("remotes").join(name.hex())
    }
}

fn canonical(reference: &Reference) -> String {
    reference.clone().with_default_tag().canonical()
}
