//! The files of a snapshot as one tree, with the way to each file's content.

use std::fs::File;

use galley_oci::Tree;
use galley_store::{Layer, Store};

use crate::{Error, ErrorKind, Snapshot};

/// A snapshot merged into one tree.
pub(super) struct Files<'a> {
    store: &'a Store,
    layers: Vec<Layer>,
    pub(super) tree: Tree,
    /// For each entry of the tree: the layer it came from, and its index there.
    origins: Vec<(usize, usize)>,
}

impl<'a> Files<'a> {
    pub(super) fn of(store: &'a Store, snapshot: &'a Snapshot) -> Result<Self, Error> {
        let stack = snapshot.stack()?;
        let origins = stack.walk(b"").iter().map(|found| (found.layer, found.index)).collect();
        Ok(Self { store, layers: snapshot.layers()?, tree: stack.merged(), origins })
    }

    /// The content of the file that is entry `index` of the tree.
    pub(super) fn open(&self, index: usize) -> Result<File, Error> {
        let (layer, index) = self.origins[index];
        self.store.open_file(&self.layers[layer], index).map_err(unreadable)
    }
}

fn unreadable(error: galley_store::StoreError) -> Error {
    Error::new(ErrorKind::Store, "cannot read the image's files").because(error)
}
