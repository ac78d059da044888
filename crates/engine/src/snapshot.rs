//! A snapshot: what a stage looks like at one point, as an ordered stack of layers.

use std::{collections::HashSet, sync::Arc};

use galley_oci::{Blake3, Digest, Tree, stack::Stack};
use galley_sandbox::Lower;
use galley_store::{ImageLayer, Layer, Store};

use crate::{
    Error, ErrorKind,
    held::{Fetcher, Held},
    ports::BaseLayer,
    steps::files::store_error,
};

/// As many layers as Linux' overlayfs mounts (its OVL_MAX_STACK).
pub(crate) const LOWERS_MAX: usize = 500;

/// An ordered stack of layers with an identity of its own.
#[derive(Clone, Debug)]
pub struct Snapshot {
    id: Digest,
    layers: Vec<Held>,
}

impl Snapshot {
    /// The empty one, which `FROM scratch` starts with.
    #[must_use]
    pub fn empty() -> Self {
        Self { id: Blake3::of("galley.snapshot.v1").finish(), layers: Vec::new() }
    }

    /// What a base image is. Its layers count by their diffIDs: these are known when nothing else is.
    #[must_use]
    pub fn of_base(layers: &[BaseLayer]) -> Self {
        layers.iter().fold(Self::empty(), |below, layer| below.push(&layer.diff_id, layer.held.clone()))
    }

    /// What the image `name` is, whose layers must be in the store.
    pub fn of_image(store: &Store, name: &str, layers: &[ImageLayer]) -> Result<Self, Error> {
        let mut snapshot = Self::empty();
        for layer in layers {
            let found = in_store(store, name, &layer.layer)?;
            snapshot = snapshot.push(&layer.diff_id, found.into());
        }
        Ok(snapshot)
    }

    /// This one with the layer of a step on top, by its id.
    pub fn with(&self, layer: impl Into<Held>) -> Result<Self, Error> {
        let layer = layer.into();
        let unknown = || Error::new(ErrorKind::Internal, "the layer of a step has no id");
        let id = *layer.id().ok_or_else(unknown)?;
        Ok(self.push(&id, layer))
    }

    /// The id follows from content alone: H(parent id, layer's identity).
    fn push(&self, identity: &Digest, layer: Held) -> Self {
        let id = Blake3::of("galley.snapshot.v1").digest(&self.id).digest(identity).finish();
        let mut layers = self.layers.clone();
        layers.push(layer);
        Self { id, layers }
    }

    /// The identity.
    #[must_use]
    pub const fn id(&self) -> &Digest {
        &self.id
    }

    /// Lowest first, wherever they are.
    #[must_use]
    pub fn held(&self) -> &[Held] {
        &self.layers
    }

    /// Brings everything that is missing into the store.
    pub fn fetch(&self, fetcher: &Fetcher<'_>) -> Result<(), Error> {
        fetcher.fetch(&self.layers)
    }

    /// Lowest first; all must have been fetched.
    pub fn layers(&self) -> Result<Vec<Layer>, Error> {
        self.layers.iter().map(|held| held.layer().cloned()).collect()
    }

    /// The layers to mount, the topmost first, each once: overlayfs takes no directory twice. Of a layer that is
    /// there several times (steps that change nothing make the same one) only the topmost counts: whatever a lower one
    /// shows or hides, that one shows or hides above everything between them.
    pub fn lowers(&self, store: &Store) -> Result<Vec<Lower>, Error> {
        let mut seen = HashSet::new();
        let layers = self.layers()?;
        let layers: Vec<&Layer> = layers.iter().rev().filter(|layer| seen.insert(*layer.id())).collect();
        if layers.len() > LOWERS_MAX {
            return Err(too_many(layers.len()));
        }
        layers.into_iter().map(|layer| store.lower(layer).map(lower).map_err(store_error)).collect()
    }

    /// The merged view, for look-ups.
    pub fn stack(&self) -> Result<Stack, Error> {
        let layers = self.layers()?;
        let trees: Result<Vec<Arc<Tree>>, _> = layers.iter().map(Layer::tree).collect();
        Ok(Stack::new(trees.map_err(store_error)?))
    }
}

fn lower(layer: galley_store::Lower) -> Lower {
    match layer {
        galley_store::Lower::Directory(path) => Lower::Directory(path),
        galley_store::Lower::Packed(path) => Lower::Packed(path),
    }
}

fn too_many(layers: usize) -> Error {
    let message = format!("nothing can run on {layers} layers: Linux mounts {LOWERS_MAX} at most");
    Error::new(ErrorKind::Input, message)
        .help("use a base with fewer layers, or collect several steps in one, such as one RUN with `&&`")
}

/// The layer `id` of the image `name`.
pub(crate) fn in_store(store: &Store, name: &str, id: &Digest) -> Result<Layer, Error> {
    let lost = || {
        let message = format!("the store has lost layer {} of the image {name}", id.short());
        Error::new(ErrorKind::Store, message).help("build, pull or import the image again")
    };
    store.layer(id).map_err(store_error)?.ok_or_else(lost)
}
