//! The files of snapshots as one tree, with the way to each file's content.

use std::{cell::RefCell, collections::HashMap, ffi::OsStr, num::NonZeroU32, os::unix::ffi::OsStrExt};

use galley_oci::{Entry, Kind, Meta, Platform, Tree, tree::join};
use galley_store::{Content, LayerContents, Store, StoreError};

use super::Made;
use crate::{Error, ErrorKind, Snapshot};

/// The mode of the folder of each platform.
const FOLDER_MODE: u16 = 0o755;

/// Files to export.
pub(super) struct Files {
    pub(super) tree: Tree,
    source: Source,
}

/// Where the content of the tree's entries is.
enum Source {
    /// In layers; for each entry of the tree: the layer it came from, and its index there.
    Layers { layers: RefCell<Vec<LayerContents>>, origins: Vec<(usize, usize)> },
    /// In the trees of several snapshots, each below a folder, which may be the root.
    Parts(Vec<(Vec<u8>, Files)>),
}

impl Files {
    /// The files of everything that was made. With `split` each platform has a folder of its own.
    pub(super) fn of(store: &Store, made: &[Made], split: bool) -> Result<Self, Error> {
        if let ([only], false) = (made, split) {
            return Self::of_snapshot(store, &only.snapshot);
        }
        let mut parts = Vec::new();
        for one in made {
            let folder = if split { folder(&one.platform) } else { String::new() };
            parts.push((folder.into_bytes(), Self::of_snapshot(store, &one.snapshot)?));
        }
        if !split {
            refuse_twice(made, &parts)?;
        }
        Ok(Self { tree: merged(&parts), source: Source::Parts(parts) })
    }

    fn of_snapshot(store: &Store, snapshot: &Snapshot) -> Result<Self, Error> {
        let stack = snapshot.stack()?;
        let origins = stack.walk(b"").iter().map(|found| (found.layer, found.index)).collect();
        let layers = snapshot.layers()?;
        let layers = layers.iter().map(|layer| store.contents(layer)).collect::<Result<_, _>>();
        let source = Source::Layers { layers: RefCell::new(layers.map_err(unreadable)?), origins };
        Ok(Self { tree: stack.merged(), source })
    }

    /// The content of the file that is entry `index` of the tree.
    pub(super) fn open(&self, index: usize) -> Result<Content, Error> {
        match &self.source {
            Source::Layers { layers, origins } => {
                let (layer, index) = origins[index];
                layers.borrow_mut()[layer].open(index).map_err(unreadable)
            }
            Source::Parts(parts) => {
                let path = &self.tree.entries()[index].path;
                let found = parts.iter().find_map(|(folder, files)| {
                    let index = files.tree.position(below(folder, path)?).ok()?;
                    matches!(files.tree.entries()[index].kind, Kind::File { .. }).then_some((files, index))
                });
                let lost = || Error::new(ErrorKind::Internal, "a file of the export is nowhere");
                let (files, index) = found.ok_or_else(lost)?;
                files.open(index)
            }
        }
    }

    /// What is wrong with the file at `path`, which has another digest than when it was written.
    pub(super) fn other_content(&self, path: &[u8]) -> Option<StoreError> {
        match &self.source {
            Source::Layers { layers, origins } => {
                let (layer, _) = origins[self.tree.position(path).ok()?];
                Some(layers.borrow()[layer].other_content(OsStr::from_bytes(path).into()))
            }
            Source::Parts(parts) => {
                parts.iter().find_map(|(folder, files)| files.other_content(below(folder, path)?))
            }
        }
    }
}

/// `linux_arm64`, as BuildKit calls it.
fn folder(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}

/// What `path` is called in `folder`.
fn below<'p>(folder: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    if folder.is_empty() { Some(path) } else { path.strip_prefix(folder)?.strip_prefix(b"/") }
}

fn merged(parts: &[(Vec<u8>, Files)]) -> Tree {
    let directory = |path: &[u8]| Entry {
        path: path.into(),
        meta: Meta::new(FOLDER_MODE),
        kind: Kind::Directory { opaque: false },
    };
    let mut entries = vec![directory(b"")];
    let mut groups = 0;
    for (folder, files) in parts {
        if !folder.is_empty() {
            entries.push(directory(folder));
        }
        let first = groups;
        for entry in files.tree.entries().iter().skip(1) {
            let mut entry = Entry { path: join(folder, &entry.path).into(), ..entry.clone() };
            if let Kind::File { links: Some(group), .. } = &mut entry.kind {
                // Links of one platform are none of another.
                *group = group.checked_add(first).unwrap_or(NonZeroU32::MAX);
                groups = groups.max(group.get());
            }
            entries.push(entry);
        }
    }
    Tree::from_entries(entries)
}

/// Without folders of their own, two platforms must not have a file of one name.
fn refuse_twice(made: &[Made], parts: &[(Vec<u8>, Files)]) -> Result<(), Error> {
    let mut known: HashMap<&[u8], &Platform> = HashMap::new();
    for (one, (_, files)) in made.iter().zip(parts) {
        for entry in files.tree.entries().iter().filter(|entry| !entry.is_directory()) {
            if let Some(other) = known.insert(&entry.path, &one.platform) {
                let path = String::from_utf8_lossy(&entry.path);
                let message = format!("{path} is there for {other} and for {}", one.platform);
                return Err(Error::new(ErrorKind::Usage, message)
                    .help("leave platform-split=false out: then each platform has a folder of its own"));
            }
        }
    }
    Ok(())
}

fn unreadable(error: StoreError) -> Error {
    Error::new(ErrorKind::Store, "cannot read the image's files").because(error)
}
