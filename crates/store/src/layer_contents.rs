//! The contents of a layer's files, one after the other: what all of them have in common is looked at once.

use std::{
    collections::HashMap,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
};

use galley_oci::{Digest, FileContents, Kind, Tree};

use crate::{
    Content, Layer, Origin, Store, StoreError,
    files::{cursor::Cursor, open},
    origins::{Resolved, path_of},
};

/// Opens the contents of the files of one layer. Cheapest in the order of its tree.
#[derive(Debug)]
pub struct LayerContents {
    store: Store,
    layer: Layer,
    tree: Arc<Tree>,
    place: Place,
    /// Of the layers that have bytes of this one.
    others: HashMap<Digest, LayerContents>,
}

#[derive(Debug)]
enum Place {
    /// In the one file that the layer is.
    Packed,
    /// In the layer's own directory.
    Directory(Cursor),
    /// Where only this process knows.
    Known(Arc<Resolved>),
    /// Wherever the store finds them.
    Anywhere,
}

impl Store {
    /// The contents of `layer`. It must not lose its bytes meanwhile.
    pub fn contents(&self, layer: &Layer) -> Result<LayerContents, StoreError> {
        let place = match (layer.own_directory(), layer.known_origins()) {
            _ if layer.is_packed() => Place::Packed,
            (Some(directory), _) => Place::Directory(Cursor::open(&directory)?),
            (None, Some(origins)) => Place::Known(origins),
            (None, None) => Place::Anywhere,
        };
        let (store, layer, tree) = (self.clone(), layer.clone(), layer.tree()?);
        Ok(LayerContents { store, layer, tree, place, others: HashMap::new() })
    }
}

impl LayerContents {
    /// The content of the file that is entry `index` of the layer's tree.
    pub fn open(&mut self, index: usize) -> Result<Content, StoreError> {
        let entry = self.tree.entries().get(index);
        let entry = entry.ok_or(StoreError::NoSuchEntry { layer: *self.layer.id(), index })?;
        let Kind::File { size: size @ 1.., .. } = entry.kind else { return open::empty().map(Content::from) };
        match &mut self.place {
            Place::Packed => self.layer.packed()?.content(&self.layer.packed_path(), &entry.path, size),
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

    /// See [`Layer::other_content`].
    #[must_use]
    pub fn other_content(&self, path: PathBuf) -> StoreError {
        self.layer.other_content(path)
    }

    /// Where that is, for messages.
    pub(crate) fn path(&self, index: usize) -> PathBuf {
        match &self.place {
            Place::Known(origins) if let Some(Origin::Path(path)) = origins.get(index) => path.clone(),
            _ => self.tree.entries().get(index).map(|entry| path_of(&entry.path)).unwrap_or_default(),
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

impl FileContents for LayerContents {
    fn open(&mut self, index: usize) -> io::Result<Box<dyn Read + '_>> {
        match Self::open(self, index) {
            Ok(content) => Ok(Box::new(content)),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}
