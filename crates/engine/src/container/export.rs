//! `galley export`: a container's files as one tar, the image's and what the container changed.

use std::{io, io::Read, sync::Arc};

use galley_oci::{Kind, TimePolicy, archive::write_layer, stack::Stack};
use galley_store::Store;

use super::{Container, snapshot_of, store_failed};
use crate::{Error, ErrorKind};

/// Writes the files of `container` to `out`.
pub fn export(store: &Store, container: &Container, out: &mut dyn io::Write) -> Result<(), Error> {
    let snapshot = snapshot_of(store, &container.config)?;
    let changes = Arc::new(store.scan(&container.folder.upper()).map_err(store_failed)?);
    let mut stack: Stack = snapshot.stack().map_err(store_failed)?;
    stack.push(Arc::clone(&changes));
    let origins: Vec<_> = stack.walk(b"").iter().map(|found| (found.layer, found.index)).collect();
    let tree = stack.merged();
    let mut open = |index: usize| -> io::Result<Box<dyn Read>> {
        let (layer, index) = origins[index];
        Ok(match snapshot.layers().get(layer) {
            Some(layer) => Box::new(store.open_file(layer, index).map_err(io::Error::other)?),
            None => {
                let entry = &changes.entries()[index];
                debug_assert!(matches!(entry.kind, Kind::File { .. }));
                Box::new(store.open_below(&container.folder.upper(), &entry.path).map_err(io::Error::other)?)
            }
        })
    };
    let mut out = out;
    write_layer(&tree, TimePolicy::Keep, &mut open, &mut out).map(drop).map_err(|error| {
        Error::new(ErrorKind::Store, format!("cannot export container {}", container.name)).because(error)
    })
}
