//! What an address outside (a URL, a reference of a git repository) meant when it was last asked. A hint, as
//! [`crate::Remote`] is: whoever is online asks again, and a power cut may take it.

use std::path::PathBuf;

use galley_oci::{Digest, Time};
use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError,
    blobs::remove_present,
    store::{json, read_small},
};

const SEEN_BYTES_MAX: usize = 64 * 1024;
/// What a server says that is longer is not remembered; it would not take it back either.
const WORDS_BYTES_MAX: usize = 4096;

/// What an address meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What was there: `sha256:…` of a file, or a commit.
    pub content: String,
    /// By which the server can say that it is still the same.
    pub etag: Option<String>,
    /// `Last-Modified` as the server wrote it.
    pub modified: Option<String>,
    /// In full what a reference of a repository stood for, and the object that it led to.
    pub reference: Option<(String, String)>,
    /// When it was asked.
    pub asked: Time,
}

#[derive(Deserialize, Serialize)]
struct SeenFile {
    content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reference: Option<(String, String)>,
    asked: (i64, u32),
}

impl Store {
    /// Remembers what `address` means. The address itself is not written, for it may hold a password.
    pub fn put_seen(&self, address: &str, seen: &Seen) -> Result<(), StoreError> {
        self.later_folder("seen")?;
        let Seen { content, etag, modified, reference, asked } = seen.clone();
        let short = |words: &String| words.len() <= WORDS_BYTES_MAX;
        let (etag, modified) = (etag.filter(short), modified.filter(short));
        let file = SeenFile { content, etag, modified, reference, asked: (asked.seconds, asked.nanoseconds) };
        let bytes = json(&file);
        // What could not be read again would be in the way.
        if bytes.len() > SEEN_BYTES_MAX {
            return remove_present(&self.seen_path(address)).map(drop);
        }
        self.write_whole(&self.seen_path(address), &bytes)
    }

    /// What `address` meant; `None` when it was never asked, or what it said was lost.
    pub fn seen(&self, address: &str) -> Result<Option<Seen>, StoreError> {
        let Some(bytes) = read_small(&self.seen_path(address), SEEN_BYTES_MAX)? else { return Ok(None) };
        let file = serde_json::from_slice::<SeenFile>(&bytes).ok();
        Ok(file.map(|SeenFile { content, etag, modified, reference, asked: (seconds, nanoseconds) }| Seen {
            content,
            etag,
            modified,
            reference,
            asked: Time { seconds, nanoseconds },
        }))
    }

    fn seen_path(&self, address: &str) -> PathBuf {
        self.root().join("seen").join(Digest::blake3(address.as_bytes()).hex())
    }
}
