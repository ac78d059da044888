//! `galley export`: a container's files as one tar, the image's and what the container changed.

use std::{
    ffi::OsStr,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use galley_oci::{Entry, Stack, TimePolicy, Tree, write_layer};
use galley_store::{Layer, ScanOptions, Store};

use super::{Container, anchor::Anchor, chroot, list::unless_gone, snapshot_of, store_failed};
use crate::{Error, ErrorKind};

/// Writes the files of `container` to `out`.
pub fn export(store: &Store, container: &Container, out: &mut dyn io::Write) -> Result<(), Error> {
    let view = View::of(store, container)?;
    let origins: Vec<_> = view.stack.walk(b"").iter().map(|found| (found.layer, found.index)).collect();
    let tree = view.stack.merged();
    let mut open = |index: usize| view.open(store, origins[index]);
    write_layer(&tree, TimePolicy::Keep, &mut open, out).map_err(|error| {
        Error::new(ErrorKind::Store, format!("cannot export container {}", container.name)).because(error)
    })
}

/// All files of a container: its image's, and what it changed.
pub(super) struct View {
    pub(super) stack: Stack,
    /// Layers of the image; none where the container has all of its files in one directory.
    layers: Vec<Layer>,
    own: Arc<Tree>,
    folder: Anchor,
}

impl View {
    pub(super) fn of(store: &Store, container: &Container) -> Result<Self, Error> {
        unless_gone(container, Self::read(store, container))
    }

    fn read(store: &Store, container: &Container) -> Result<Self, Error> {
        store.settle();
        let root = container.folder.root();
        if root.exists() {
            let own = own_of_root(store, container, &root)?;
            return Self::new(Stack::default(), Vec::new(), own, &root);
        }
        let snapshot = snapshot_of(store, &container.config)?;
        let upper = container.folder.upper();
        let changes = store.scan(&upper, &ScanOptions::default()).map_err(store_failed)?;
        Self::new(snapshot.stack()?, snapshot.layers()?, changes, &upper)
    }

    fn new(mut stack: Stack, layers: Vec<Layer>, own: Tree, folder: &Path) -> Result<Self, Error> {
        let own = Arc::new(own);
        stack.push(Arc::clone(&own));
        Ok(Self { stack, layers, own, folder: open_folder(folder)? })
    }

    /// The content of the file that is found there: in which layer, as which entry of it.
    pub(super) fn open(&self, store: &Store, (layer, index): (usize, usize)) -> io::Result<Box<dyn Read>> {
        Ok(match self.layers.get(layer) {
            Some(layer) => Box::new(store.open_file(layer, index).map_err(io::Error::other)?),
            None => {
                let path = self.own.entries().get(index).map(|entry| &*entry.path).unwrap_or_default();
                // A container that runs may have replaced it since it was seen.
                Box::new(self.folder.open_file(Path::new(OsStr::from_bytes(path)))?)
            }
        })
    }
}

/// What is in the root of a container that has all of its files there, without what a running program has in it.
pub(super) fn own_of_root(store: &Store, container: &Container, root: &Path) -> Result<Tree, Error> {
    let laid: Vec<PathBuf> = chroot::laid(&container.folder)?;
    let tree = store.scan(root, &ScanOptions::default()).map_err(store_failed)?;
    // The places themselves stay when they are directories, as the mount points that they are elsewhere.
    let is_laid = |entry: &Entry| {
        let path = Path::new(OsStr::from_bytes(&entry.path));
        laid.iter().any(|place| path.starts_with(place) && !(entry.is_directory() && path == place))
    };
    let entries = tree.entries().iter().filter(|entry| !is_laid(entry)).cloned();
    Ok(Tree::from_entries(entries.collect()))
}

pub(super) fn open_folder(path: &Path) -> Result<Anchor, Error> {
    Anchor::of(path).map_err(|error| {
        Error::new(ErrorKind::Store, format!("cannot open {}", path.display())).because(error)
    })
}
