//! Images of registries: what a name means now, and the image that it names.
//!
//! A name is asked for once in a build: one request when it means what it meant before, since manifests and configs are
//! kept. What an ordinary user's first try outside of the user namespace was told also holds inside: a tag that moves
//! in between cannot make two bases of one.

use std::io::Read;

use galley_engine::{Error, ErrorKind, clock, import, ports::BaseImage};
use galley_oci::{Descriptor, Digest, Manifest, Platform, Reference, Time, image::MAX_DOCUMENT_BYTES};
use galley_registry::{Document, Kind};
use galley_store::{Remote, Store};

use super::client::{Registries, failed, unreachable};
use crate::{failure::store_error, human};

/// When registries are asked for images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ask {
    /// For those that the store does not have.
    #[default]
    Missing,
    /// Before the store: `--pull`.
    Always,
    /// Not at all: `--offline`.
    Never,
}

/// The images of registries.
#[derive(Debug)]
pub(crate) struct RemoteImages<'a> {
    pub(crate) store: &'a Store,
    pub(crate) registries: Registries,
    /// What was told since then needs not be asked again.
    pub(crate) since: Time,
}

/// An image of a registry.
#[derive(Debug)]
pub(crate) struct Found {
    /// The image, whose layers may be elsewhere still.
    pub(crate) base: BaseImage,
    /// What the registry has under the name: a manifest or an index.
    pub(crate) digest: Digest,
}

impl RemoteImages<'_> {
    /// The image that `reference` names, for `platform`. `None` when its registry has none of that name.
    pub(crate) fn find(&self, reference: &Reference, platform: &Platform) -> Result<Option<Found>, Error> {
        let Some(first) = self.first(reference)? else { return Ok(None) };
        let (digest, name) = (first.0.digest, reference.familiar());
        let read = |descriptor: &Descriptor| self.document(reference, descriptor);
        let (_, manifest) = import::find_manifest(&name, first, platform, &read)?;
        let parsed = Manifest::parse(&manifest).map_err(|error| import::broken(&name, error))?;
        let config = self.config(reference, &parsed.config)?;
        let source = self.registries.blobs(reference);
        let base = import::describe(self.store, &name, manifest, config, &source)?;
        Ok(Some(Found { base: self.at_hand(base), digest }))
    }

    /// Whether the registry would be asked what the name means.
    pub(crate) fn would_ask(&self, reference: &Reference) -> bool {
        if self.registries.is_offline() {
            return false;
        }
        match &reference.digest {
            Some(digest) => self.store.blob_size(digest).is_none(),
            None => !self
                .store
                .remote(reference)
                .is_ok_and(|known| known.is_some_and(|known| known.asked >= self.since)),
        }
    }

    /// The manifest or index under the name.
    pub(crate) fn first(&self, reference: &Reference) -> Result<Option<(Descriptor, Vec<u8>)>, Error> {
        if let Some(digest) = &reference.digest {
            return self.by_digest(reference, digest);
        }
        let known = self.store.remote(reference).map_err(store_error)?;
        if let Some(remote) = &known
            && (self.registries.is_offline() || remote.asked >= self.since)
        {
            return self.described(reference, descriptor(remote)).map(Some);
        }
        if self.registries.is_offline() {
            return Ok(None);
        }
        let told = match &known {
            Some(_) => self.head(reference),
            None => self.get(reference),
        };
        let Some(told) = told.map_err(|error| advise(error, reference, known.as_ref()))? else {
            return Ok(None);
        };
        let first = self.described(reference, told)?;
        self.remember(reference, &first.0)?;
        Ok(Some(first))
    }

    /// A digest means the same for ever: nothing is asked when its document is kept.
    fn by_digest(
        &self,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<Option<(Descriptor, Vec<u8>)>, Error> {
        if let Some(bytes) = self.kept(digest) {
            // What kind of document it is it says itself.
            return Ok(Some((Descriptor::new("", *digest, bytes.len() as u64), bytes)));
        }
        if self.registries.is_offline() {
            return Ok(None);
        }
        match self.get(reference)? {
            Some(descriptor) => self.described(reference, descriptor).map(Some),
            None => Ok(None),
        }
    }

    fn described(
        &self,
        reference: &Reference,
        descriptor: Descriptor,
    ) -> Result<(Descriptor, Vec<u8>), Error> {
        let bytes = self.document(reference, &descriptor)?;
        Ok((descriptor, bytes))
    }

    /// What the name means, without its document.
    fn head(&self, reference: &Reference) -> Result<Option<Descriptor>, Error> {
        let client = self.registries.client()?;
        client.head(reference).map_err(|error| failed(&cannot_look_up(reference), error))
    }

    /// What the name means; its document is kept.
    fn get(&self, reference: &Reference) -> Result<Option<Descriptor>, Error> {
        match self.registries.client()?.manifest(reference) {
            Ok(document) => self.keep(&document).map(Some),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(failed(&cannot_look_up(reference), error)),
        }
    }

    fn keep(&self, document: &Document) -> Result<Descriptor, Error> {
        self.store.put_blob(&document.bytes).map_err(store_error)?;
        Ok(Descriptor::new(&document.media_type, document.digest, document.bytes.len() as u64))
    }

    /// A manifest or index by its digest: kept, or else fetched and kept.
    pub(crate) fn document(&self, reference: &Reference, wanted: &Descriptor) -> Result<Vec<u8>, Error> {
        if let Some(bytes) = self.kept(&wanted.digest) {
            return Ok(bytes);
        }
        let what = format!("cannot fetch manifest {} of {}", wanted.digest.short(), reference.name());
        self.forbid_offline(&what)?;
        let by_digest = Reference { tag: None, digest: Some(wanted.digest), ..reference.clone() };
        let document =
            self.registries.client()?.manifest(&by_digest).map_err(|error| failed(&what, error))?;
        self.keep(&document)?;
        Ok(document.bytes)
    }

    /// The config: kept, or else fetched and kept.
    pub(crate) fn config(&self, reference: &Reference, wanted: &Descriptor) -> Result<Vec<u8>, Error> {
        if let Some(bytes) = self.kept(&wanted.digest) {
            return Ok(bytes);
        }
        let what = format!("cannot fetch the config of {}", reference.familiar());
        self.forbid_offline(&what)?;
        if wanted.size > MAX_DOCUMENT_BYTES as u64 {
            let reason = format!("its config has {} bytes, more than {MAX_DOCUMENT_BYTES}", wanted.size);
            return Err(import::broken(&reference.familiar(), reason));
        }
        let source = self.registries.blobs(reference);
        let mut bytes = Vec::new();
        source.open(wanted)?.read_to_end(&mut bytes).map_err(|error| match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => Error::new(ErrorKind::Registry, what).because(error),
        })?;
        self.store.put_blob(&bytes).map_err(store_error)?;
        Ok(bytes)
    }

    /// A document that is kept. One that is damaged is fetched again.
    fn kept(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.store.read_blob(digest).ok().flatten()
    }

    fn forbid_offline(&self, what: &str) -> Result<(), Error> {
        if !self.registries.is_offline() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotFound, format!("{what}: --offline forbids to ask registries"))
            .help("a build without --offline fetches it, and the next one can go without"))
    }

    fn remember(&self, reference: &Reference, told: &Descriptor) -> Result<(), Error> {
        let remote = Remote {
            digest: told.digest,
            media_type: told.media_type.clone(),
            size: told.size,
            asked: clock::now(),
        };
        self.store.put_remote(reference, &remote).map_err(store_error)
    }

    /// The same image as the store has it, when all of it is there: one that was built here was never unpacked.
    fn at_hand(&self, base: BaseImage) -> BaseImage {
        if base.layers.iter().all(|layer| layer.held.at_hand().is_some()) {
            return base;
        }
        let Ok(Some(image)) = self.store.image(&base.id) else { return base };
        match BaseImage::of_store(self.store, &base.name, image) {
            Ok(own) => BaseImage { manifest: base.manifest, ..own },
            Err(_) => base,
        }
    }
}

fn descriptor(remote: &Remote) -> Descriptor {
    Descriptor::new(&remote.media_type, remote.digest, remote.size)
}

fn cannot_look_up(reference: &Reference) -> String {
    format!("cannot look up {}", reference.familiar())
}

/// Without a network there may be an older answer.
fn advise(error: Error, reference: &Reference, known: Option<&Remote>) -> Error {
    match known {
        Some(remote) if unreachable(&error) => error.help(format!(
            "--offline goes on with what {} was {}: {}",
            reference.familiar(),
            human::since(remote.asked),
            remote.digest
        )),
        _ => error,
    }
}
