//! One more layer over a directory that shows others.

use std::path::Path;

use galley_oci::{Kind, Tree};
use rustix::{
    fs::{AtFlags, FileType},
    io::Errno,
};

use crate::{
    StoreError,
    error::{Absent, At},
    files::{Dialect, cursor::Cursor, materialise, remove},
};

/// Does to the directory `root` what `tree` says.
pub(super) fn extend(
    tree: &Tree,
    root: &Path,
    dialect: Dialect,
    open: materialise::Open<'_>,
) -> Result<(), StoreError> {
    let mut at = Cursor::open(root)?;
    for entry in tree.entries().iter().filter(|entry| !entry.path.is_empty()) {
        // A directory is left alone when it is one already, unless what it holds is to be hidden.
        let stays = entry.kind == Kind::Directory { opaque: false };
        clear(&mut at, &entry.path, stays)?;
    }
    materialise::add(tree, root, dialect, open)
}

/// Removes what is at `path`; a directory may stay.
fn clear(at: &mut Cursor, path: &[u8], directory_stays: bool) -> Result<(), StoreError> {
    let host_path = at.host_path(path);
    let (parent, name) = match at.parent(path) {
        Ok(found) => found,
        // Nothing is there: what is above is new, or was no directory and has been removed.
        Err(StoreError::Io { source, .. }) if is_absent(&source) => return Ok(()),
        Err(error) => return Err(error),
    };
    let stat = rustix::fs::statat(parent, &*name, AtFlags::SYMLINK_NOFOLLOW).absent();
    let Some(stat) = stat.at("examine", &host_path)? else { return Ok(()) };
    if directory_stays && FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Ok(());
    }
    remove::remove_at(parent, &name).at("remove", &host_path)?;
    at.forget();
    Ok(())
}

fn is_absent(error: &std::io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NOENT)
}
