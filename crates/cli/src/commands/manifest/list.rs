//! A list of manifests in the making, as the store keeps it: an index whose entries also say where they were seen.

use galley_engine::{Error, import};
use galley_oci::{Descriptor, Index, Platform, Reference, media_type};
use galley_store::Store;
use serde_json::Value;

use crate::failure::store_error;

/// The field that says where an entry was seen. It is not sent.
const SEEN_AS: &str = "galley.seen-as";

/// A list of manifests in the making.
#[derive(Debug)]
pub(super) struct List {
    index: Index,
}

impl Default for List {
    fn default() -> Self {
        Self { index: Index::new(Vec::new()) }
    }
}

impl List {
    /// The one that the store keeps under `name`.
    pub(super) fn load(store: &Store, name: &Reference) -> Result<Option<Self>, Error> {
        let Some(bytes) = store.list(name).map_err(store_error)? else { return Ok(None) };
        let broken = |error| import::broken(&format!("the list {}", name.familiar()), error);
        Ok(Some(Self { index: Index::parse(&bytes).map_err(broken)? }))
    }

    /// Keeps it.
    pub(super) fn store(&self, store: &Store, name: &Reference) -> Result<(), Error> {
        store.put_list(name, &self.index.to_bytes()).map_err(store_error)
    }

    /// Adds a manifest, in place of one that was seen under the same name.
    pub(super) fn add(&mut self, seen_as: &Reference, descriptor: Descriptor) {
        self.index.manifests.retain(|known| Self::seen_as(known).as_ref() != Some(seen_as));
        let mut descriptor = descriptor;
        descriptor.extra.insert(SEEN_AS.to_owned(), Value::String(seen_as.canonical()));
        self.index.manifests.push(descriptor);
    }

    /// For which machine the manifest that was seen under `name` is.
    pub(super) fn platform(&mut self, name: &Reference) -> Option<&mut Platform> {
        let same = |known: &&mut Descriptor| {
            Self::seen_as(known).as_ref() == Some(name) || Some(known.digest) == name.digest
        };
        let found = self.index.manifests.iter_mut().find(same)?;
        Some(found.platform.get_or_insert_with(Platform::default))
    }

    /// The manifests, and where each was seen.
    pub(super) fn manifests(&self) -> impl Iterator<Item = (Option<Reference>, &Descriptor)> {
        self.index.manifests.iter().map(|known| (Self::seen_as(known), known))
    }

    /// As it is sent: docker's kind when all in it is docker's.
    pub(super) fn to_send(&self) -> (String, Vec<u8>) {
        let mut index = self.index.clone();
        for descriptor in &mut index.manifests {
            descriptor.extra.remove(SEEN_AS);
        }
        let dockers = |known: &Descriptor| known.media_type == media_type::DOCKER_MANIFEST;
        let all = !index.manifests.is_empty() && index.manifests.iter().all(dockers);
        let kind = if all { media_type::DOCKER_INDEX } else { media_type::OCI_INDEX };
        index.media_type = Some(kind.to_owned());
        (kind.to_owned(), index.to_bytes())
    }

    fn seen_as(descriptor: &Descriptor) -> Option<Reference> {
        descriptor.extra.get(SEEN_AS)?.as_str()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use galley_oci::Digest;

    use super::*;

    #[test]
    fn what_is_sent_does_not_say_where_it_was_seen() {
        let name = |text: &str| text.parse::<Reference>().unwrap();
        let mut list = List::default();
        for (tag, kind) in [("a", media_type::DOCKER_MANIFEST), ("b", media_type::DOCKER_MANIFEST)] {
            let digest = Digest::sha256(tag.as_bytes());
            list.add(&name(&format!("example.com/x:{tag}")), Descriptor::new(kind, digest, 1));
        }
        // The same name again takes the place of the first.
        list.add(
            &name("example.com/x:a"),
            Descriptor::new(media_type::DOCKER_MANIFEST, Digest::sha256(b"c"), 1),
        );
        list.platform(&name("example.com/x:b")).unwrap().os = "linux".to_owned();
        let (kind, bytes) = list.to_send();
        assert_eq!(kind, media_type::DOCKER_INDEX);
        let sent = Index::parse(&bytes).unwrap();
        assert!(sent.manifests.iter().all(|known| known.extra.is_empty()), "{sent:?}");
        assert_eq!(sent.manifests.len(), 2);
        list.add(
            &name("example.com/x:d"),
            Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256(b"d"), 1),
        );
        assert_eq!(list.to_send().0, media_type::OCI_INDEX);
    }
}
