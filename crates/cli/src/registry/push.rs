//! An image on its way to a registry: what it has not, several blobs at once; the manifest last.

use std::{
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use galley_engine::{
    Error, Event, Events, Fetcher, clock,
    events::{Direction, TransferState},
    export::{Packed, PackedBlob, PackedImage},
    ports::BlobSource,
    side_by_side,
};
use galley_oci::{Descriptor, Digest, Manifest, Reference};
use galley_registry::{Client, RegistryError, Uploaded};
use galley_store::{Remote, Store};

use super::client::{Registries, failed};
use crate::failure::store_error;

/// How many blobs are sent side by side.
const UPLOADS_MAX: usize = 4;
/// How often an upload tells how far it is.
const INTERVAL: Duration = Duration::from_millis(100);

/// A repository of a registry that is pushed to.
struct Push<'a> {
    client: Client,
    store: &'a Store,
    events: &'a Events,
    to: &'a Reference,
    name: String,
    /// Other repositories of the same registry, as far as the store's names tell.
    neighbours: Vec<Neighbour>,
}

/// A repository of the same registry that has these blobs.
struct Neighbour {
    repository: Reference,
    blobs: Vec<Digest>,
}

/// A blob to be there before the manifest.
struct Blob<'a> {
    descriptor: &'a Descriptor,
    content: Content<'a>,
    known_in: &'a [Arc<dyn BlobSource>],
}

/// Where its bytes are.
#[derive(Clone, Copy)]
enum Content<'a> {
    Bytes(&'a [u8]),
    Store,
    Elsewhere(&'a dyn BlobSource),
}

/// Pushes all of `packed`: to the tag of `to`, or by its digest when it has none. Images of an index come first, without
/// tags. The digest of what is under the name then.
pub(crate) fn push(
    registries: &Registries,
    fetcher: &Fetcher<'_>,
    packed: &Packed,
    to: &Reference,
) -> Result<Digest, Error> {
    let Some(index) = &packed.index else {
        return push_image(registries, fetcher, &packed.images[0], to, &[]);
    };
    let by_digest = Reference { tag: None, digest: None, ..to.clone() };
    for image in &packed.images {
        push_image(registries, fetcher, image, &by_digest, &[])?;
    }
    let push = Push::new(registries, fetcher, to)?;
    let digest = push.manifest(&index.descriptor, &index.document)?;
    push.remember(&index.descriptor, &[&index.document])?;
    Ok(digest)
}

/// Pushes one image, which is known to be whole in `known_in` too.
pub(crate) fn push_image(
    registries: &Registries,
    fetcher: &Fetcher<'_>,
    image: &PackedImage,
    to: &Reference,
    known_in: &[Arc<dyn BlobSource>],
) -> Result<Digest, Error> {
    let push = Push::new(registries, fetcher, to)?;
    push.blobs(&blobs(image, known_in), fetcher)?;
    let digest = push.manifest(&image.descriptor, &image.manifest)?;
    push.remember(&image.descriptor, &[&image.manifest, &image.config])?;
    Ok(digest)
}

/// Config and layers, each once.
fn blobs<'a>(image: &'a PackedImage, known_in: &'a [Arc<dyn BlobSource>]) -> Vec<Blob<'a>> {
    let content = Content::Bytes(&image.config);
    let config = Blob { descriptor: &image.config_descriptor, content, known_in };
    let layers = image.layers.iter().map(|PackedBlob { descriptor, elsewhere, known_in }| {
        let content = elsewhere.as_deref().map_or(Content::Store, Content::Elsewhere);
        Blob { descriptor, content, known_in }
    });
    let mut seen = std::collections::HashSet::new();
    layers.chain([config]).filter(|blob| seen.insert(blob.descriptor.digest)).collect()
}

/// Repositories of the registry of `to` whose images this store has: what was pulled from them or pushed to them is
/// likely to be there.
fn neighbours(store: &Store, to: &Reference) -> Vec<Neighbour> {
    let tags = store.tags().unwrap_or_default();
    let tags =
        tags.into_iter().filter(|(tag, _)| tag.registry == to.registry && tag.repository != to.repository);
    let with_blobs = tags.filter_map(|(tag, id)| {
        let image = store.image(&id).ok()??;
        let mut blobs: Vec<Digest> =
            image.layers.iter().filter_map(|layer| Some(layer.blob.as_ref()?.digest)).collect();
        blobs.extend(pushed(store, &tag).unwrap_or_default());
        Some(Neighbour { repository: Reference { tag: None, ..tag }, blobs })
    });
    with_blobs.filter(|neighbour| !neighbour.blobs.is_empty()).collect()
}

/// The blobs of what the registry had under this name when it was last asked.
fn pushed(store: &Store, name: &Reference) -> Option<Vec<Digest>> {
    let remote = store.remote(name).ok()??;
    let manifest = Manifest::parse(&store.read_blob(&remote.digest).ok()??).ok()?;
    Some(manifest.layers.iter().chain([&manifest.config]).map(|blob| blob.digest).collect())
}

impl<'a> Push<'a> {
    fn new(registries: &Registries, fetcher: &Fetcher<'a>, to: &'a Reference) -> Result<Self, Error> {
        Ok(Self {
            client: registries.client()?,
            store: fetcher.store,
            events: fetcher.events,
            to,
            name: to.familiar(),
            neighbours: neighbours(fetcher.store, to),
        })
    }

    fn blobs(&self, blobs: &[Blob<'_>], fetcher: &Fetcher<'_>) -> Result<(), Error> {
        side_by_side(blobs, UPLOADS_MAX, fetcher.stop, |blob| self.blob(blob)).map(drop)
    }

    fn blob(&self, blob: &Blob<'_>) -> Result<(), Error> {
        let told = Mutex::new(Instant::now());
        let progress = |done: u64| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.elapsed() >= INTERVAL {
                *told = Instant::now();
                self.tell(blob, done, TransferState::Running);
            }
        };
        let content = || self.content(blob);
        let uploaded = self
            .client
            .upload(self.to, blob.descriptor, &content, &self.mounts(blob), &progress)
            .map_err(|error| self.failed(blob, error))?;
        let (done, state) = match uploaded {
            Uploaded::Present => (0, TransferState::Present),
            Uploaded::Mounted(_) => (0, TransferState::Mounted),
            Uploaded::Sent => (blob.descriptor.size, TransferState::Done),
        };
        self.tell(blob, done, state);
        Ok(())
    }

    /// Where the registry may take it from by itself.
    fn mounts(&self, blob: &Blob<'_>) -> Vec<Reference> {
        let known = blob.known_in.iter().filter_map(|source| source.repository());
        let known = known.filter(|known| known.registry == self.to.registry);
        let digest = &blob.descriptor.digest;
        let near = self.neighbours.iter().filter(|neighbour| neighbour.blobs.contains(digest));
        let mut mounts: Vec<Reference> = Vec::new();
        for repository in known.chain(near.map(|neighbour| &neighbour.repository)) {
            if repository.repository != self.to.repository && !mounts.contains(repository) {
                mounts.push(repository.clone());
            }
        }
        mounts
    }

    fn content(&self, blob: &Blob<'_>) -> io::Result<Box<dyn Read + Send>> {
        match blob.content {
            Content::Bytes(bytes) => Ok(Box::new(io::Cursor::new(bytes.to_vec()))),
            Content::Elsewhere(source) => source.open(blob.descriptor).map_err(io::Error::other),
            Content::Store => {
                let file = self.store.open_blob(&blob.descriptor.digest).map_err(io::Error::other)?;
                let lost = || io::Error::new(io::ErrorKind::NotFound, "the store has lost a blob");
                Ok(Box::new(file.ok_or_else(lost)?))
            }
        }
    }

    fn manifest(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<Digest, Error> {
        let mut to = self.to.clone();
        if to.tag.is_none() {
            to.digest = Some(descriptor.digest);
        } else {
            to.digest = None;
        }
        let put = self.client.put_manifest(&to, &descriptor.media_type, bytes);
        put.map_err(|error| failed(&format!("cannot push {}", self.name), error))
    }

    /// What the registry has under the tag now is known without asking; images without one are found in their index.
    fn remember(&self, descriptor: &Descriptor, documents: &[&Vec<u8>]) -> Result<(), Error> {
        for document in documents {
            self.store.put_blob(document).map_err(store_error)?;
        }
        if self.to.tag.is_none() {
            return Ok(());
        }
        let Descriptor { digest, media_type, size, .. } = descriptor.clone();
        let remote = Remote { digest, media_type, size, asked: clock::now() };
        self.store.put_remote(self.to, &remote).map_err(store_error)
    }

    /// What the store has may have been damaged by a power cut, and nobody but the registry has looked at it.
    fn failed(&self, blob: &Blob<'_>, error: RegistryError) -> Error {
        let digest = &blob.descriptor.digest;
        let refused = matches!(error, RegistryError::Status { status: 400..=499, .. })
            && matches!(blob.content, Content::Store);
        let error = failed(&format!("cannot push {} to {}", digest.short(), self.to.name()), error);
        if refused && self.store.remove_damaged_blob(digest).unwrap_or_default() {
            return error.help("the store's copy was damaged and is removed: push again");
        }
        error
    }

    fn tell(&self, blob: &Blob<'_>, done: u64, state: TransferState) {
        self.events.emit(Event::Transfer {
            name: self.name.clone(),
            blob: blob.descriptor.digest.to_string(),
            direction: Direction::Push,
            done,
            total: blob.descriptor.size,
            state,
        });
    }
}
