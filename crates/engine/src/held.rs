//! A layer of a snapshot: in the store, or elsewhere until somebody needs its files.
//!
//! Names, keys and manifests need no files: a base is known by the diffIDs of its config, a step of another machine by
//! its record. So a layer is fetched when a step runs on it or a file of it is read, and never before.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use galley_oci::{Descriptor, Digest, TimePolicy};
use galley_store::{Layer, Store};

use crate::{
    Cancel, Error, ErrorKind, Events, import,
    ports::{BlobSource, RecordSource},
    side_by_side,
    steps::files::store_error,
};

/// How many layers are fetched side by side.
pub(crate) const FETCHES_MAX: usize = 4;

/// Where the archive of a layer can be had.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// SHA-256 of the uncompressed archive.
    pub diff_id: Digest,
    /// What was done to the times in it.
    pub times: TimePolicy,
    /// The compressed archive.
    pub blob: Descriptor,
    /// Who has it.
    pub source: Arc<dyn BlobSource>,
}

/// A layer, wherever its files are. Clones fetch it once.
#[derive(Clone)]
pub struct Held(Arc<Inner>);

struct Inner {
    /// The layer's id, where it is known before the files are.
    id: Option<Digest>,
    at_hand: OnceLock<Layer>,
    elsewhere: Vec<Elsewhere>,
    /// The record of another machine that this came from: to be forgotten when it does not keep its promise.
    record: Option<Digest>,
    fetching: Mutex<()>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.at_hand.get() {
            Some(layer) => layer.fmt(f),
            None => write!(f, "Held({:?}, {} places)", self.0.id, self.0.elsewhere.len()),
        }
    }
}

impl From<Layer> for Held {
    fn from(layer: Layer) -> Self {
        let at_hand = OnceLock::new();
        let id = Some(*layer.id());
        let _ = at_hand.set(layer);
        Self::new(id, at_hand, Vec::new(), None)
    }
}

impl Held {
    /// A layer of a base image, known by its diffID alone.
    #[must_use]
    pub fn base(place: Elsewhere) -> Self {
        Self::new(None, OnceLock::new(), vec![place], None)
    }

    /// What another machine's record under `key` names: the layer `id`, to be had at any of `places`.
    #[must_use]
    pub fn recorded(key: Digest, id: Digest, places: Vec<Elsewhere>) -> Self {
        Self::new(Some(id), OnceLock::new(), places, Some(key))
    }

    fn new(
        id: Option<Digest>,
        at_hand: OnceLock<Layer>,
        elsewhere: Vec<Elsewhere>,
        record: Option<Digest>,
    ) -> Self {
        Self(Arc::new(Inner { id, at_hand, elsewhere, record, fetching: Mutex::new(()) }))
    }

    /// The layer, when it is in the store.
    #[must_use]
    pub fn at_hand(&self) -> Option<&Layer> {
        self.0.at_hand.get()
    }

    /// The layer's id, when it is known.
    #[must_use]
    pub fn id(&self) -> Option<&Digest> {
        self.at_hand().map(Layer::id).or(self.0.id.as_ref())
    }

    /// The key of the record of another machine that names it.
    #[must_use]
    pub fn record(&self) -> Option<&Digest> {
        self.0.record.as_ref()
    }

    /// Where it can be had besides the store.
    #[must_use]
    pub fn places(&self) -> &[Elsewhere] {
        &self.0.elsewhere
    }

    /// The layer, for those who had it fetched.
    pub fn layer(&self) -> Result<&Layer, Error> {
        self.at_hand().ok_or_else(|| Error::new(ErrorKind::Internal, format!("{self:?} was not fetched")))
    }

    /// Looks for the files in the store; nothing is fetched.
    pub fn look(&self, store: &Store) -> Result<bool, Error> {
        if self.at_hand().is_some() {
            return Ok(true);
        }
        if let Some(id) = &self.0.id {
            let layer = store.layer(id).map_err(store_error)?;
            return Ok(layer
                .filter(|layer| store.has_bytes(layer))
                .is_some_and(|layer| self.set(layer).is_ok()));
        }
        for place in self.places() {
            if let Some(layer) = import::unpacked(store, &place.diff_id)? {
                return Ok(self.set(layer).is_ok());
            }
        }
        Ok(false)
    }

    fn set(&self, layer: Layer) -> Result<(), Error> {
        if let Some(id) = &self.0.id
            && id != layer.id()
        {
            let message = format!("a layer that should be {id} holds {}", layer.id());
            return Err(Error::new(ErrorKind::Input, message));
        }
        let _ = self.0.at_hand.set(layer);
        Ok(())
    }

    fn fetch(&self, fetcher: &Fetcher<'_>) -> Result<(), Error> {
        if self.at_hand().is_some() {
            return Ok(());
        }
        let _fetching = self.0.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if self.look(fetcher.store)? {
            return Ok(());
        }
        if !fetcher.may_write {
            return Err(Error::new(ErrorKind::NeedsExecution, "a layer has to be fetched"));
        }
        let mut last = None;
        for place in self.places() {
            match import::fetch(fetcher, place).and_then(|layer| self.set(layer)) {
                Ok(()) => return Ok(()),
                // The disk and Ctrl-C are nobody's broken promise.
                Err(error) if matches!(error.kind, ErrorKind::Cancelled | ErrorKind::Store) => {
                    return Err(error);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(self.lost(fetcher, last))
    }

    fn lost(&self, fetcher: &Fetcher<'_>, why: Option<Error>) -> Error {
        let unknown = || Error::new(ErrorKind::Internal, format!("{self:?} is nowhere"));
        let Some(key) = &self.0.record else { return why.unwrap_or_else(unknown) };
        fetcher.records.forget(key);
        let error = Error::new(ErrorKind::CacheLost, "the cache does not have the files of a step");
        match why {
            Some(why) => error.because(why),
            None => error,
        }
    }
}

/// What fetching needs.
#[derive(Clone, Copy)]
pub struct Fetcher<'a> {
    /// Where layers go.
    pub store: &'a Store,
    /// Outside of the user namespace nothing is unpacked.
    pub may_write: bool,
    /// Who wants to know how far it is.
    pub events: &'a Events,
    /// Ctrl-C.
    pub stop: &'a Cancel,
    /// Whose records led here.
    pub records: &'a dyn RecordSource,
}

impl fmt::Debug for Fetcher<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("may_write", &self.may_write).finish_non_exhaustive()
    }
}

impl Fetcher<'_> {
    /// Brings what is missing into the store, several at once.
    pub fn fetch<'h>(&self, layers: impl IntoIterator<Item = &'h Held>) -> Result<(), Error> {
        let missing: Vec<&Held> = layers.into_iter().filter(|held| held.at_hand().is_none()).collect();
        self.give_up_nowhere(&missing)?;
        side_by_side(&missing, FETCHES_MAX, self.stop, |held| held.fetch(self)).map(drop)
    }

    /// Layers of which only the name is known are given up all at once: each time, the build starts over.
    fn give_up_nowhere(&self, missing: &[&Held]) -> Result<(), Error> {
        let mut lost = None;
        for held in missing.iter().filter(|held| self.may_write && held.places().is_empty()) {
            if !held.look(self.store)? {
                lost = Some(held.lost(self, None));
            }
        }
        lost.map_or(Ok(()), Err)
    }

    /// The layer with its files, fetched when it is missing.
    pub fn layer(&self, held: &Held) -> Result<Layer, Error> {
        self.fetch([held])?;
        held.layer().cloned()
    }

    /// The same, with the bytes in the store for good.
    pub fn own(&self, held: &Held) -> Result<Layer, Error> {
        let layer = self.layer(held)?;
        self.store.own_bytes(&layer).map_err(store_error)?;
        Ok(layer)
    }
}
