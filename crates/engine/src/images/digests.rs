//! Digests by which registries know images: of manifests, and of indexes that list them.

use galley_oci::{Digest, Index, Manifest, Platform, Reference};
use galley_store::Store;

/// The image whose manifest has this digest, or which an index with this digest has for this machine. Only documents
/// that are kept count, so that nobody is asked.
pub(super) fn image_of(store: &Store, digest: &Digest) -> Option<Digest> {
    let bytes = store.read_blob(digest).ok()??;
    if let Ok(manifest) = Manifest::parse(&bytes) {
        return Some(manifest.config.digest);
    }
    let index = Index::parse(&bytes).ok()?;
    config_of(store, &index.select(&Platform::of_this_machine())?.digest)
}

/// What the registry of `name` had under it when it was last asked, if that was the image `id`.
#[must_use]
pub fn repo_digest(store: &Store, name: &Reference, id: &Digest) -> Option<Digest> {
    let digest = store.remote(name).ok()??.digest;
    let bytes = store.read_blob(&digest).ok()??;
    let same = match Manifest::parse(&bytes) {
        Ok(manifest) => manifest.config.digest == *id,
        Err(_) => {
            let listed = Index::parse(&bytes).ok()?.manifests;
            listed.iter().any(|manifest| config_of(store, &manifest.digest) == Some(*id))
        }
    };
    same.then_some(digest)
}

fn config_of(store: &Store, manifest: &Digest) -> Option<Digest> {
    let bytes = store.read_blob(manifest).ok()??;
    Some(Manifest::parse(&bytes).ok()?.config.digest)
}
