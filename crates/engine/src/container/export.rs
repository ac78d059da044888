//! `galley export`: a container's files as one tar, the image's and what the container changed.

use std::{fs::File, io, io::Read, os::fd::OwnedFd, sync::Arc};

use galley_oci::{Stack, TimePolicy, Tree, write_layer};
use galley_store::{Layer, ScanOptions, Store};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use super::{Container, snapshot_of, store_failed};
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
    layers: Vec<Layer>,
    changes: Arc<Tree>,
    upper: OwnedFd,
}

impl View {
    pub(super) fn of(store: &Store, container: &Container) -> Result<Self, Error> {
        store.settle();
        let snapshot = snapshot_of(store, &container.config)?;
        let upper = container.folder.upper();
        let changes = Arc::new(store.scan(&upper, &ScanOptions::default()).map_err(store_failed)?);
        let mut stack: Stack = snapshot.stack()?;
        let layers = snapshot.layers()?;
        stack.push(Arc::clone(&changes));
        Ok(Self { stack, layers, changes, upper: open_folder(container)? })
    }

    /// The content of the file that is found there: in which layer, as which entry of it.
    pub(super) fn open(&self, store: &Store, (layer, index): (usize, usize)) -> io::Result<Box<dyn Read>> {
        Ok(match self.layers.get(layer) {
            Some(layer) => Box::new(store.open_file(layer, index).map_err(io::Error::other)?),
            None => {
                let path = self.changes.entries().get(index).map(|entry| &*entry.path).unwrap_or_default();
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                Box::new(File::from(openat2(&self.upper, path, flags, Mode::empty(), inside)?))
            }
        })
    }
}

fn open_folder(container: &Container) -> Result<OwnedFd, Error> {
    let (path, flags) = (container.folder.upper(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC);
    rustix::fs::openat(CWD, &path, flags, Mode::empty()).map_err(|errno| {
        Error::new(ErrorKind::Store, format!("cannot open {}", path.display()))
            .because(io::Error::from(errno))
    })
}
