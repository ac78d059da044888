//! A container's root file system: the image's layers, and what the container changed.

use galley_sandbox::{Layers, Root, Writable};
use galley_store::{ContainerDir, Image, Store};
use rustix::fs::{Gid, Mode, Uid};

use super::store_failed;
use crate::{Error, ErrorKind, Snapshot, steps::files::Files};

/// The snapshot that `image` is.
pub(crate) fn image_snapshot(store: &Store, image: &Image) -> Result<Snapshot, Error> {
    let mut snapshot = Snapshot::empty();
    for layer in &image.layers {
        let found = store.layer(&layer.layer).map_err(store_failed)?;
        let lost =
            || Error::new(ErrorKind::Store, format!("layer {} is not in the store", layer.layer.short()));
        snapshot = snapshot.with(found.ok_or_else(lost)?);
    }
    Ok(snapshot)
}

/// What is mounted as the container's root.
pub(super) fn root(store: &Store, snapshot: &Snapshot, folder: &ContainerDir) -> Result<Root, Error> {
    let lowers = snapshot.lower_dirs(store).map_err(store_failed)?;
    let writable = Some(Writable { upper: folder.upper(), work: folder.work() });
    Ok(Root::Layers(Layers { lowers, writable }))
}

/// Gives the container's own layer the attributes of the image's root, since the topmost layer decides about them.
pub(super) fn prepare_upper(files: &Files, folder: &ContainerDir) -> Result<(), Error> {
    let Some(root) = files.stack().get(b"") else { return Ok(()) };
    let (meta, upper) = (&root.entry.meta, folder.upper());
    let owner = rustix::fs::chown(&upper, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)));
    let mode = Mode::from_raw_mode(u32::from(meta.mode));
    owner.and_then(|()| rustix::fs::chmod(&upper, mode)).map_err(|errno| {
        let message = format!("cannot prepare the container's folder {}", upper.display());
        Error::new(ErrorKind::Store, message).because(std::io::Error::from(errno))
    })
}
