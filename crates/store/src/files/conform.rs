//! The directory that a step left becomes the directory of its layer.

use std::{
    collections::{BTreeSet, HashMap},
    os::fd::AsFd,
    path::Path,
};

use galley_oci::{Entry, Kind, Tree};
use rustix::fs::Mode;

use super::{
    Dialect,
    cursor::{Cursor, open_below, split},
    listing, materialise, remove,
};
use crate::{StoreError, error::At};

/// Removes below `root` what `tree` does not list; adds its whiteouts and directories that are missing; and makes
/// directories transparent that are no longer opaque. Files are never made: they must be there.
pub(crate) fn conform(root: &Path, tree: &Tree, dialect: Dialect) -> Result<(), StoreError> {
    let mut at = Cursor::open(root)?;
    let children = by_directory(tree);
    let mut touched = BTreeSet::new();
    for (index, entry) in tree.entries().iter().enumerate() {
        let Kind::Directory { opaque } = entry.kind else { continue };
        let own = children.get(&*entry.path).map_or(&[][..], Vec::as_slice);
        let changed = conform_directory(&mut at, tree, &entry.path, own, dialect, &mut touched)?;
        let merged = !opaque && transparent(&mut at, entry, dialect)?;
        if changed || merged {
            touched.insert(index);
        }
    }
    // Deepest first, as directories may become unwritable and unreadable.
    for entry in touched.iter().rev().map(|&index| &tree.entries()[index]) {
        let opaque = entry.kind == Kind::Directory { opaque: true };
        materialise::finish_directory(&mut at, entry, opaque, dialect)?;
    }
    Ok(())
}

/// The entries of each directory, in order.
fn by_directory(tree: &Tree) -> HashMap<&[u8], Vec<usize>> {
    let mut children = HashMap::<_, Vec<_>>::new();
    for (index, entry) in tree.entries().iter().enumerate().filter(|(_, entry)| !entry.path.is_empty()) {
        children.entry(split(&entry.path).0).or_default().push(index);
    }
    children
}

/// Says whether anything was changed. New directories are added to `touched`.
fn conform_directory(
    at: &mut Cursor,
    tree: &Tree,
    path: &[u8],
    wanted: &[usize],
    dialect: Dialect,
    touched: &mut BTreeSet<usize>,
) -> Result<bool, StoreError> {
    let host_path = at.host_path(path);
    // A listing moves its handle to the end, so it has one of its own.
    let handle = open_below(at.root(), if path.is_empty() { b"." } else { path }).at("open", &host_path)?;
    let names = listing::sorted(handle.as_fd()).at("list", &host_path)?;
    let mut changed = false;
    let mut wanted = wanted.iter().map(|&index| (index, &tree.entries()[index])).peekable();
    for (name, _) in names.iter() {
        let found = name.to_bytes();
        while let Some((index, entry)) = wanted.next_if(|(_, entry)| entry.name() < found) {
            add(at, index, entry, dialect, touched)?;
            changed = true;
        }
        if wanted.next_if(|(_, entry)| entry.name() == found).is_none() {
            remove::remove_at(handle.as_fd(), name)
                .at("remove", host_path.join(crate::origins::path_of(found)))?;
            changed = true;
        }
    }
    for (index, entry) in wanted {
        add(at, index, entry, dialect, touched)?;
        changed = true;
    }
    Ok(changed)
}

fn add(
    at: &mut Cursor,
    index: usize,
    entry: &Entry,
    dialect: Dialect,
    touched: &mut BTreeSet<usize>,
) -> Result<(), StoreError> {
    let host_path = at.host_path(&entry.path);
    let (parent, name) = at.parent(&entry.path)?;
    match entry.kind {
        Kind::Whiteout => dialect.make_whiteout(parent, &name).at("create a whiteout at", &host_path),
        Kind::Directory { .. } => {
            touched.insert(index);
            rustix::fs::mkdirat(parent, &*name, Mode::from_raw_mode(0o700)).at("create", &host_path)
        }
        _ => Err(StoreError::damaged(
            "the directory of a layer",
            &host_path,
            "this file of its tree is missing",
        )),
    }
}

fn transparent(at: &mut Cursor, entry: &Entry, dialect: Dialect) -> Result<bool, StoreError> {
    let host_path = at.host_path(&entry.path);
    let directory = at.directory(&entry.path)?;
    dialect.make_transparent(directory).at("make transparent", &host_path)
}
