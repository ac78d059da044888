//! `galley export`: a container's files as one tar, the image's and what the container changed.

use std::{fs::File, io, io::Read, os::fd::OwnedFd, sync::Arc};

use galley_oci::{Stack, TimePolicy, write_layer};
use galley_store::{ScanOptions, Store};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use super::{Container, snapshot_of, store_failed};
use crate::{Error, ErrorKind};

/// Writes the files of `container` to `out`.
pub fn export(store: &Store, container: &Container, out: &mut dyn io::Write) -> Result<(), Error> {
    store.settle();
    let snapshot = snapshot_of(store, &container.config)?;
    let changes =
        Arc::new(store.scan(&container.folder.upper(), &ScanOptions::default()).map_err(store_failed)?);
    let mut stack: Stack = snapshot.stack()?;
    let layers = snapshot.layers()?;
    stack.push(Arc::clone(&changes));
    let origins: Vec<_> = stack.walk(b"").iter().map(|found| (found.layer, found.index)).collect();
    let tree = stack.merged();
    let upper = open_folder(container)?;
    let mut open = |index: usize| -> io::Result<Box<dyn Read>> {
        let (layer, index) = origins[index];
        Ok(match layers.get(layer) {
            Some(layer) => Box::new(store.open_file(layer, index).map_err(io::Error::other)?),
            None => {
                let path = &*changes.entries()[index].path;
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                Box::new(File::from(openat2(&upper, path, flags, Mode::empty(), inside)?))
            }
        })
    };
    write_layer(&tree, TimePolicy::Keep, &mut open, out).map_err(|error| {
        Error::new(ErrorKind::Store, format!("cannot export container {}", container.name)).because(error)
    })
}

fn open_folder(container: &Container) -> Result<OwnedFd, Error> {
    let (path, flags) = (container.folder.upper(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC);
    rustix::fs::openat(CWD, &path, flags, Mode::empty()).map_err(|errno| {
        Error::new(ErrorKind::Store, format!("cannot open {}", path.display()))
            .because(io::Error::from(errno))
    })
}
