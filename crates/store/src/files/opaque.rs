//! The marks of opaque directories in layers that were written where root's could not be.
//!
//! Root of an ordinary container writes the mark that overlayfs minds in user namespaces alone. Nothing is mounted there, so
//! nothing has to mind it; who may mount with the store's other layers gives the layer root's marks first.

use std::path::Path;

use galley_oci::{Entry, Kind, Tree};
use rustix::{fs::XattrFlags, io::Errno};

use super::{
    cursor::Cursor,
    dialect::{OPAQUE_FOR_ROOT, OPAQUE_FOR_USERS},
};
use crate::{StoreError, error::At};

fn directories(tree: &Tree) -> impl Iterator<Item = &Entry> {
    tree.entries().iter().filter(|entry| entry.kind == Kind::Directory { opaque: true })
}

/// Whether the opaque directories of `tree`, at `root`, have the mark for user namespaces.
pub(crate) fn is_for_users(root: &Path, tree: &Tree) -> Result<bool, StoreError> {
    let Some(first) = directories(tree).next() else { return Ok(false) };
    let mut at = Cursor::open(root)?;
    let host_path = at.host_path(&first.path);
    match rustix::fs::fgetxattr(at.directory(&first.path)?, OPAQUE_FOR_USERS, &mut [0_u8; 1][..]) {
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(false),
        found => found.map(|_| true).at("read the extended attributes of", host_path),
    }
}

/// Gives the opaque directories of `tree`, at `root`, the mark for root; `false` where this process may not.
pub(crate) fn mark_for_root(root: &Path, tree: &Tree) -> Result<bool, StoreError> {
    let mut at = Cursor::open(root)?;
    for entry in directories(tree) {
        let host_path = at.host_path(&entry.path);
        let directory = at.directory(&entry.path)?;
        match rustix::fs::fsetxattr(directory, OPAQUE_FOR_ROOT, b"y", XattrFlags::empty()) {
            Err(Errno::PERM) => return Ok(false),
            set => set.at("make opaque", &host_path)?,
        }
        // An overlay of root's would show it to steps, as any attribute.
        match rustix::fs::fremovexattr(directory, OPAQUE_FOR_USERS) {
            Err(Errno::NODATA) => {}
            removed => removed.at("make opaque", &host_path)?,
        }
    }
    Ok(true)
}
