//! A snapshot: what a stage looks like at one point, as an ordered stack of layers.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use galley_oci::{Blake3, Digest, Tree, stack::Stack};
use galley_store::{ImageLayer, Layer, Store, StoreError};

use crate::{Error, ErrorKind, steps::files::store_error};

/// An ordered stack of layers with an identity of its own.
#[derive(Clone, Debug)]
pub struct Snapshot {
    id: Digest,
    layers: Vec<Layer>,
}

impl Snapshot {
    /// The empty one, which `FROM scratch` starts with.
    #[must_use]
    pub fn empty() -> Self {
        Self { id: Blake3::of("galley.snapshot.v1").finish(), layers: Vec::new() }
    }

    /// What the image `name` is: its layers, which must be in the store.
    pub fn of_image(store: &Store, name: &str, layers: &[ImageLayer]) -> Result<Self, Error> {
        let mut snapshot = Self::empty();
        for ImageLayer { layer, .. } in layers {
            let lost = || {
                let message = format!("the store has lost layer {} of the image {name}", layer.short());
                Error::new(ErrorKind::Store, message).help("build or import the image again")
            };
            let found = store.layer(layer).map_err(store_error)?;
            snapshot = snapshot.with(found.ok_or_else(lost)?);
        }
        Ok(snapshot)
    }

    /// This one with `layer` on top. The id follows from content alone: H(parent id, layer id).
    #[must_use]
    pub fn with(&self, layer: Layer) -> Self {
        let id = Blake3::of("galley.snapshot.v1").digest(&self.id).digest(layer.id()).finish();
        let mut layers = self.layers.clone();
        layers.push(layer);
        Self { id, layers }
    }

    /// The identity.
    #[must_use]
    pub const fn id(&self) -> &Digest {
        &self.id
    }

    /// Lowest first.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The directories to mount, the topmost first, each once: overlayfs takes no directory twice. Of a layer that is
    /// there several times (steps that change nothing make the same one) only the topmost counts: whatever a lower one
    /// shows or hides, that one shows or hides above everything between them.
    pub fn lower_dirs(&self, store: &Store) -> Result<Vec<PathBuf>, StoreError> {
        let mut seen = HashSet::new();
        let layers = self.layers.iter().rev().filter(|layer| seen.insert(*layer.id()));
        layers.map(|layer| store.lower_dir(layer)).collect()
    }

    /// The merged view, for look-ups.
    pub fn stack(&self) -> Result<Stack, StoreError> {
        let trees: Result<Vec<Arc<Tree>>, _> = self.layers.iter().map(Layer::tree).collect();
        Ok(Stack::new(trees?))
    }
}
