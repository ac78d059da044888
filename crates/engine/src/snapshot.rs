//! A snapshot: what a stage looks like at one point, as an ordered stack of layers.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use galley_oci::{Blake3, Digest, Tree, stack::Stack};
use galley_store::{Layer, Store, StoreError};

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
