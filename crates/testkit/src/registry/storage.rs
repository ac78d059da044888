//! What the registry holds, in memory.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use galley_oci::Digest;
use serde_json::{Value, json};

/// A manifest as it was put.
#[derive(Clone, Debug)]
pub(super) struct StoredManifest {
    pub(super) media_type: String,
    pub(super) bytes: Arc<Vec<u8>>,
}

#[derive(Debug, Default)]
pub(super) struct Repository {
    /// Digests of the blobs that may be seen from here.
    pub(super) blobs: BTreeSet<String>,
    pub(super) manifests: BTreeMap<String, StoredManifest>,
    pub(super) tags: BTreeMap<String, String>,
}

/// An upload that is under way.
#[derive(Debug, Default)]
pub(super) struct Upload {
    pub(super) repository: String,
    pub(super) bytes: Vec<u8>,
    /// Changes with each write: only the newest `Location` goes on.
    pub(super) state: u64,
}

#[derive(Debug, Default)]
pub(super) struct Storage {
    pub(super) blobs: HashMap<String, Arc<Vec<u8>>>,
    pub(super) repositories: BTreeMap<String, Repository>,
    pub(super) uploads: HashMap<String, Upload>,
    uploads_begun: u64,
}

impl Storage {
    pub(super) fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }

    /// Stores a blob under `digest`, which may be a lie.
    pub(super) fn put_blob(&mut self, repository: &str, digest: &str, bytes: Vec<u8>) {
        self.blobs.insert(digest.to_owned(), Arc::new(bytes));
        self.repository(repository).blobs.insert(digest.to_owned());
    }

    pub(super) fn blob(&self, repository: &str, digest: &str) -> Option<Arc<Vec<u8>>> {
        let visible = self.repositories.get(repository)?.blobs.contains(digest);
        visible.then(|| self.blobs.get(digest).cloned()).flatten()
    }

    /// Lets `to` see a blob of `from`.
    pub(super) fn mount(&mut self, from: &str, to: &str, digest: &str) -> bool {
        let there = self.blob(from, digest).is_some();
        if there {
            self.repository(to).blobs.insert(digest.to_owned());
        }
        there
    }

    /// Stores a manifest under its digest, and as `tag` when there is one.
    pub(super) fn put_manifest(
        &mut self,
        repository: &str,
        tag: Option<&str>,
        manifest: StoredManifest,
    ) -> String {
        let digest = Digest::sha256(&manifest.bytes).to_string();
        let repository = self.repository(repository);
        repository.manifests.insert(digest.clone(), manifest);
        if let Some(tag) = tag {
            repository.tags.insert(tag.to_owned(), digest.clone());
        }
        digest
    }

    /// A manifest by tag or digest, with the digest it is stored under.
    pub(super) fn manifest(&self, repository: &str, reference: &str) -> Option<(String, StoredManifest)> {
        let repository = self.repositories.get(repository)?;
        let digest = repository.tags.get(reference).map_or(reference, String::as_str);
        repository.manifests.get(digest).map(|manifest| (digest.to_owned(), manifest.clone()))
    }

    /// What a manifest names and `repository` does not have.
    pub(super) fn missing(&self, repository: &str, manifest: &Value) -> Vec<String> {
        let empty = Repository::default();
        let repository = self.repositories.get(repository).unwrap_or(&empty);
        let layers = manifest["layers"].as_array().into_iter().flatten().chain([&manifest["config"]]);
        let blobs = digests(layers.filter(|layer| layer["urls"].is_null()));
        let children = digests(manifest["manifests"].as_array().into_iter().flatten());
        let missing_blobs = blobs.into_iter().filter(|digest| !repository.blobs.contains(digest));
        let missing_children =
            children.into_iter().filter(|digest| !repository.manifests.contains_key(digest));
        missing_blobs.chain(missing_children).collect()
    }

    /// Descriptors of the manifests whose `subject` is `digest`.
    pub(super) fn referrers(&self, repository: &str, digest: &str) -> Vec<Value> {
        let manifests = self.repositories.get(repository).map(|repository| &repository.manifests);
        let described = manifests.into_iter().flatten().map(|(digest, manifest)| describe(digest, manifest));
        described.filter(|(subject, _)| subject == digest).map(|(_, descriptor)| descriptor).collect()
    }

    pub(super) fn begin_upload(&mut self, repository: &str) -> String {
        self.uploads_begun += 1;
        let id = format!("upload-{}", self.uploads_begun);
        self.uploads.insert(id.clone(), Upload { repository: repository.to_owned(), ..Upload::default() });
        id
    }
}

fn digests<'a>(descriptors: impl Iterator<Item = &'a Value>) -> Vec<String> {
    descriptors.filter_map(|descriptor| descriptor["digest"].as_str()).map(ToOwned::to_owned).collect()
}

/// Subject and descriptor of a manifest, by the rules of the referrers API.
fn describe(digest: &str, manifest: &StoredManifest) -> (String, Value) {
    let value: Value = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
    let artifact_type = [&value["artifactType"], &value["config"]["mediaType"]];
    let artifact_type = artifact_type.into_iter().find(|text| text.is_string());
    let mut descriptor =
        json!({"mediaType": manifest.media_type, "digest": digest, "size": manifest.bytes.len()});
    if let Some(artifact_type) = artifact_type {
        descriptor["artifactType"] = artifact_type.clone();
    }
    if value["annotations"].is_object() {
        descriptor["annotations"] = value["annotations"].clone();
    }
    (value["subject"]["digest"].as_str().unwrap_or_default().to_owned(), descriptor)
}
