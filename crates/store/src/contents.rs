//! The contents of a layer's files, one after the other: what all of them have in common is looked at once.

use std::{collections::HashMap, sync::Arc};

use galley_oci::{Digest, Kind, Tree};

use crate::{
    Content, Layer, Origin, Store, StoreError,
    files::{cursor::Cursor, open},
    origins::Resolved,
};

/// Opens the contents of the files of one layer. Cheapest in the order of its tree.
#[derive(Debug)]
pub struct Contents {
    store: Store,
    layer: Layer,
    tree: Arc<Tree>,
    place: Place,
    /// Of the layers that have bytes of this one.
    others: HashMap<Digest, Contents>,
}

#[derive(Debug)]
enum Place {
    /// In the layer's own directory.
    Directory(Cursor),
    /// Where only this process knows.
    Known(Arc<Resolved>),
    /// Wherever the store finds them.
    Anywhere,
}

impl Store {
    /// The contents of `layer`. It must not lose its bytes meanwhile.
    pub fn contents(&self, layer: &Layer) -> Result<Contents, StoreError> {
        let place = match (layer.own_directory(), layer.known_origins()) {
            (Some(directory), _) => Place::Directory(Cursor::open(&directory)?),
            (None, Some(origins)) => Place::Known(origins),
            (None, None) => Place::Anywhere,
        };
        let (store, layer, tree) = (self.clone(), layer.clone(), layer.tree()?);
        Ok(Contents { store, layer, tree, place, others: HashMap::new() })
    }
}

impl Contents {
    /// The content of the file that is entry `index` of the layer's tree.
    pub fn open(&mut self, index: usize) -> Result<Content, StoreError> {
        let entry = self.tree.entries().get(index);
        let entry = entry.ok_or(StoreError::NoSuchEntry { layer: *self.layer.id(), index })?;
        if matches!(entry.kind, Kind::File { size: 0, .. }) {
            return open::empty().map(Content::from);
        }
        match &mut self.place {
            Place::Directory(cursor) => open::below(cursor, &entry.path).map(Content::from),
            Place::Known(origins) => match origins.get(index).cloned() {
                Some(Origin::Layer { layer, index }) => self.of_other(&layer, index),
                Some(Origin::Path(path)) => open::plain(&path).map(Content::from),
                Some(Origin::Bytes(bytes)) => open::memory(&bytes).map(Content::from),
                None => self.store.open_file(&self.layer, index),
            },
            Place::Anywhere => self.store.open_file(&self.layer, index),
        }
    }

    fn of_other(&mut self, layer: &Layer, index: usize) -> Result<Content, StoreError> {
        if !self.others.contains_key(layer.id()) {
            self.others.insert(*layer.id(), self.store.contents(layer)?);
        }
        match self.others.get_mut(layer.id()) {
            Some(other) => other.open(index),
            None => self.store.open_file(layer, index),
        }
    }
}
