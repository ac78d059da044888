//! Drafts of manifest lists: what `manifest create` made and `manifest push` will send. They are people's work and survive
//! a power cut.

use std::path::{Path, PathBuf};

use galley_oci::{Digest, Reference};
use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError,
    blobs::remove_present,
    images::names_in,
    store::{json, read_small},
};

/// A list of as many bytes as a registry takes, as a string of JSON.
const LIST_BYTES_MAX: usize = 32 * 1024 * 1024;

#[derive(Deserialize, Serialize)]
pub(crate) struct ListFile {
    pub(crate) reference: String,
    list: String,
}

impl Store {
    /// Keeps `list`, which must be text, under `reference` (with tag `latest` when it has none), instead of what was there.
    pub fn put_list(&self, reference: &Reference, list: &[u8]) -> Result<(), StoreError> {
        self.later_folder("lists")?;
        let path = self.list_path(reference);
        let text = String::from_utf8(list.to_vec());
        let list = text.map_err(|error| StoreError::damaged("the manifest list", &path, error))?;
        self.write_durably(&path, &json(&ListFile { reference: canonical(reference), list }))
    }

    /// The list under `reference`, as its bytes.
    pub fn list(&self, reference: &Reference) -> Result<Option<Vec<u8>>, StoreError> {
        let file = read_list(&self.list_path(reference))?;
        Ok(file.map(|file| file.list.into_bytes()))
    }

    /// The names of all lists, sorted. One that cannot be read is left out.
    pub fn lists(&self) -> Result<Vec<Reference>, StoreError> {
        let folder = self.root().join("lists");
        if rustix::fs::stat(&folder).is_err() {
            return Ok(Vec::new());
        }
        let names = names_in(&folder)?;
        let files = names.iter().filter_map(|name| read_list(&folder.join(name)).ok().flatten());
        let mut lists: Vec<Reference> = files.filter_map(|file| file.reference.parse().ok()).collect();
        lists.sort_by_cached_key(Reference::canonical);
        Ok(lists)
    }

    /// Removes a list; says whether it was there.
    pub fn remove_list(&self, reference: &Reference) -> Result<bool, StoreError> {
        remove_present(&self.list_path(reference))
    }

    fn list_path(&self, reference: &Reference) -> PathBuf {
        let name = Digest::blake3(canonical(reference).as_bytes());
        self.root().join("lists").join(name.hex())
    }
}

/// What a tag is, a list is: without a digest.
fn canonical(reference: &Reference) -> String {
    Reference { digest: None, ..reference.clone() }.with_default_tag().canonical()
}

pub(crate) fn read_list(path: &Path) -> Result<Option<ListFile>, StoreError> {
    let Some(bytes) = read_small(path, LIST_BYTES_MAX)? else { return Ok(None) };
    let file = serde_json::from_slice(&bytes);
    file.map(Some).map_err(|error| StoreError::damaged("the manifest list", path, error))
}
