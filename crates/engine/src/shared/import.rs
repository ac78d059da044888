//! Caches of other machines as records that a build can use.

use std::{
    collections::{HashMap, HashSet},
    io::{self, Read},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use galley_oci::{Descriptor, Digest, Index, Manifest, Platform, Reference, Time, TimePolicy, media_type};
use galley_store::{Record, Store};

use super::document::{BUILDKIT_CONFIG, Document, NoDocument};
use crate::{
    Error, ErrorKind,
    build::Built,
    held::Elsewhere,
    import::{Layout, Selector, broken, find_manifest, verified::Verified},
    ports::{BlobSource, RecordSource, SharedRecord},
    steps::files::store_error,
};

/// One cache, read; its blobs stay where they are.
#[derive(Debug)]
pub struct Cache {
    from: Arc<str>,
    layers: Vec<(Digest, Vec<Elsewhere>)>,
    records: HashMap<Digest, (usize, Time)>,
    faults: Arc<Faults>,
}

impl Cache {
    /// The cache that `first` leads to: a manifest, or an index with one for `platform`; of a cache, or of an image
    /// with a cache in its config. `from` names it for people; `manifest` and `config` give documents, checked against
    /// their digests.
    pub fn open(
        from: &str,
        first: (Descriptor, Vec<u8>),
        platform: &Platform,
        manifest: &dyn Fn(&Descriptor) -> Result<Vec<u8>, Error>,
        config: &dyn Fn(&Descriptor) -> Result<Vec<u8>, Error>,
        source: Arc<dyn BlobSource>,
    ) -> Result<Self, Error> {
        let name = source.name();
        refuse_buildkit_index(&first.1)?;
        let (_, bytes) = find_manifest(&name, first, platform, manifest)?;
        let parsed = Manifest::parse(&bytes).map_err(|error| broken(&name, error))?;
        if parsed.config.media_type == BUILDKIT_CONFIG {
            return Err(unusable(NoDocument::BuildKit));
        }
        Self::read(from, &parsed.layers, &config(&parsed.config)?, source)
    }

    /// The cache in an OCI layout.
    pub fn in_layout(
        from: &str,
        layout: &Layout,
        selector: &Selector,
        platform: &Platform,
    ) -> Result<Self, Error> {
        let first = layout.entry(selector, platform)?;
        let read = |descriptor: &Descriptor| layout.document(descriptor);
        Self::open(from, first, platform, &read, &read, Arc::new(layout.clone()))
    }

    fn read(
        from: &str,
        blobs: &[Descriptor],
        config: &[u8],
        source: Arc<dyn BlobSource>,
    ) -> Result<Self, Error> {
        let document = Document::find(config, blobs.len()).map_err(unusable)?;
        let faults = Arc::new(Faults::default());
        let source: Arc<dyn BlobSource> = Arc::new(Watched { source, faults: Arc::clone(&faults) });
        let layers = document.layers.into_iter().map(|layer| {
            // A layer of a kind that nobody can unpack here is one whose files are nowhere.
            let places = layer.blobs.into_iter().filter_map(|entry| {
                let blob = blobs.get(entry.blob)?.clone();
                media_type::layer_compression(&blob.media_type)?;
                let (diff_id, times, source) = (entry.diff_id, entry.times.into(), Arc::clone(&source));
                Some(Elsewhere { diff_id, times, blob, source })
            });
            (layer.layer, places.collect())
        });
        let layers = layers.collect();
        let records = document.records.into_iter().map(|record| {
            let created = Time::parse_rfc3339(&record.created).unwrap_or_default();
            (record.key, (record.layer, created))
        });
        Ok(Self { from: from.into(), layers, records: records.collect(), faults })
    }

    /// How many steps it knows.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records.len()
    }

    fn get(&self, key: &Digest) -> Option<(Digest, Time)> {
        let (layer, created) = self.records.get(key)?;
        Some((self.layers.get(*layer)?.0, *created))
    }

    /// Where it has the files of `layer`, without those that turned out not to be there.
    fn places(&self, layer: &Digest) -> impl Iterator<Item = &Elsewhere> {
        let places = self.layers.iter().filter(move |(id, _)| id == layer).flat_map(|(_, places)| places);
        places.filter(|place| !self.faults.has(&place.blob.digest))
    }
}

/// BuildKit's older caches are indexes that list blobs instead of manifests.
fn refuse_buildkit_index(document: &[u8]) -> Result<(), Error> {
    let entries = Index::parse(document).map(|index| index.manifests).unwrap_or_default();
    if entries.iter().any(|entry| entry.media_type == BUILDKIT_CONFIG) {
        return Err(unusable(NoDocument::BuildKit));
    }
    Ok(())
}

fn unusable(why: NoDocument) -> Error {
    let help = match why {
        NoDocument::BuildKit => Some("write one with --cache-to, under a name of its own"),
        NoDocument::Nothing => {
            Some("write one with --cache-to, or build the image with --cache-to type=inline")
        }
        _ => None,
    };
    let error = Error::new(ErrorKind::Input, why.to_string());
    let error = if let NoDocument::Malformed(source) = why { error.because(source) } else { error };
    match help {
        Some(help) => error.help(help),
        None => error,
    }
}

/// All caches that a build was given, the first ones first.
#[derive(Debug, Default)]
pub struct Caches {
    caches: Vec<Cache>,
    /// Layers that a key is not to lead to any more.
    forgotten: Mutex<HashMap<Digest, HashSet<Digest>>>,
}

impl Caches {
    /// Asks `caches` in this order.
    #[must_use]
    pub fn new(caches: Vec<Cache>) -> Self {
        Self { caches, forgotten: Mutex::default() }
    }

    /// Whether a blob could not be had since this was asked last. It is not promised again, so starting over may help.
    pub fn lost_something(&self) -> bool {
        // Every cache is asked: each forgets that it has lost something.
        let mut lost = false;
        for cache in &self.caches {
            lost |= cache.faults.take();
        }
        lost
    }

    /// What an error means that came after all steps were done: when a cache did not keep its promises meanwhile, the
    /// build can start over without them.
    #[must_use]
    pub fn blame(&self, error: Error) -> Error {
        let unrelated = matches!(error.kind, ErrorKind::Cancelled | ErrorKind::NeedsExecution);
        if unrelated || error.kind == ErrorKind::CacheLost || !self.lost_something() {
            return error;
        }
        Error::new(ErrorKind::CacheLost, "the cache does not have the files of a step").because(error)
    }

    fn find(&self, key: &Digest) -> Option<(&Cache, Digest, Time)> {
        let forgotten = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = forgotten.get(key);
        self.caches.iter().find_map(|cache| {
            let (layer, created) = cache.get(key)?;
            let wrong = wrong.is_some_and(|layers| layers.contains(&layer));
            (!wrong).then_some((cache, layer, created))
        })
    }
}

impl RecordSource for Caches {
    /// The layer's files may be in other caches than the record.
    fn record(&self, key: &Digest) -> Option<SharedRecord> {
        let (cache, layer, created) = self.find(key)?;
        let mut places: Vec<Elsewhere> =
            self.caches.iter().flat_map(|cache| cache.places(&layer)).cloned().collect();
        // A step that runs on it should see the times that the files had.
        places.sort_by_key(|place| place.times != TimePolicy::Keep);
        Some(SharedRecord { layer, created, places, from: Arc::clone(&cache.from) })
    }

    fn forget(&self, key: &Digest) {
        let Some((_, layer, _)) = self.find(key) else { return };
        let mut forgotten = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        forgotten.entry(*key).or_default().insert(layer);
    }
}

/// Keeps the records of others whose layers have come to this store: they are its own from now on.
pub fn remember(store: &Store, built: &Built) -> Result<(), Error> {
    let mut new = false;
    for outcome in &built.steps {
        let (Some(held), Some(key)) = (&outcome.layer, &outcome.key) else { continue };
        let (Some(layer), Some(_)) = (held.at_hand(), held.record()) else { continue };
        if store.record(key).map_err(store_error)?.is_some_and(|record| record.layer == *layer.id()) {
            continue;
        }
        let (layer, created) = (*layer.id(), outcome.created);
        let record = Record { layer, created, duration_ms: 0, log: None, made_of: None, boot: None };
        store.put_record(key, &record).map_err(store_error)?;
        new = true;
    }
    if new { store.barrier().map_err(store_error) } else { Ok(()) }
}

/// Blobs that a cache promised and does not have.
#[derive(Debug, Default)]
struct Faults {
    blobs: Mutex<HashSet<Digest>>,
    fresh: AtomicBool,
}

impl Faults {
    fn note(&self, blob: Digest) {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner).insert(blob);
        self.fresh.store(true, Ordering::SeqCst);
    }

    fn has(&self, blob: &Digest) -> bool {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner).contains(blob)
    }

    fn take(&self) -> bool {
        self.fresh.swap(false, Ordering::SeqCst)
    }
}

/// A source whose broken promises are noted.
#[derive(Debug)]
struct Watched {
    source: Arc<dyn BlobSource>,
    faults: Arc<Faults>,
}

impl BlobSource for Watched {
    fn name(&self) -> String {
        self.source.name()
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, Error> {
        let inner = self.source.open(blob).inspect_err(|_| self.faults.note(blob.digest))?;
        let (inner, faults) = (Verified::new(inner, blob), Arc::clone(&self.faults));
        Ok(Box::new(Noted { inner, blob: blob.digest, faults }))
    }

    fn repository(&self) -> Option<&Reference> {
        self.source.repository()
    }
}

struct Noted {
    inner: Verified<Box<dyn Read + Send>>,
    blob: Digest,
    faults: Arc<Faults>,
}

impl Read for Noted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.faults.note(self.blob);
            }
        })
    }
}
