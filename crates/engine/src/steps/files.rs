//! A place that files are copied from: a build context or a snapshot, seen the same way.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use fs_err as fs;
use galley_oci::{
    Entry, Kind, Tree, minimal,
    stack::{Found, Stack},
};
use galley_store::{Content, Layer, Origin, Origins, Store};

use crate::{Error, ErrorKind, Snapshot};

/// Files that a step reads: how they look, and where their bytes are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    stack: Stack,
    bytes: Bytes,
}

#[derive(Clone, Debug)]
enum Bytes {
    /// Below this directory.
    Directory(PathBuf),
    /// In these layers, lowest first, as in the stack.
    Layers(Vec<Layer>),
}

impl Files {
    /// The files of a directory on this machine as `tree` describes them.
    pub(crate) fn of_directory(root: &Path, tree: Arc<Tree>) -> Self {
        Self { stack: Stack::new(vec![tree]), bytes: Bytes::Directory(root.to_owned()) }
    }

    /// The files of a snapshot.
    pub(crate) fn of_snapshot(snapshot: &Snapshot) -> Result<Self, Error> {
        Ok(Self { stack: snapshot.stack()?, bytes: Bytes::Layers(snapshot.layers()?) })
    }

    /// How they look.
    pub(crate) const fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Where the bytes of a file are.
    pub(crate) fn origin(&self, found: Found<'_>) -> Origin {
        match &self.bytes {
            Bytes::Directory(root) => Origin::Path(root.join(OsStr::from_bytes(found.path()))),
            Bytes::Layers(layers) => Origin::Layer { layer: layers[found.layer].clone(), index: found.index },
        }
    }

    /// Where the bytes of the file with this place in the stack are.
    pub(crate) fn origin_at(&self, layer: u32, index: u32) -> Option<Origin> {
        let (layer, index) = (layer as usize, index as usize);
        let entry = self.stack.layers().get(layer)?.entry(index)?;
        Some(self.origin(Found { entry, layer, index }))
    }

    /// Whether there is a directory at exactly `path`; the root always is.
    pub(crate) fn is_directory(&self, path: &[u8]) -> bool {
        path.is_empty() || self.stack.get(path).is_some_and(|found| found.entry.is_directory())
    }

    /// Writes the directory at `path`, with all below it, as the new directory `into`.
    pub(crate) fn copy_directory(&self, store: &Store, path: &[u8], into: &Path) -> Result<(), Error> {
        let (mut entries, mut origins) = (Vec::new(), Origins::new());
        for found in self.stack.walk(path) {
            let below = &found.path()[path.len()..];
            let below = below.strip_prefix(b"/").unwrap_or(below);
            entries.push(Entry { path: below.into(), ..Entry::clone(found.entry) });
            if matches!(found.entry.kind, Kind::File { .. }) {
                origins.insert(below, self.origin(found));
            }
        }
        let tree = minimal(Tree::from_entries(entries), &Stack::default());
        let layer = store.commit_origins(tree, origins).map_err(store_error)?;
        store.copy_files(&layer, into).map_err(store_error)
    }

    /// The content of a file.
    pub(crate) fn open(&self, store: &Store, found: Found<'_>) -> Result<Content, Error> {
        match &self.bytes {
            Bytes::Directory(root) => {
                let path = root.join(OsStr::from_bytes(found.path()));
                fs::File::open(path)
                    .map(|file| file.into_file().into())
                    .map_err(|error| read_error(found.entry, error))
            }
            Bytes::Layers(layers) => store.open_file(&layers[found.layer], found.index).map_err(store_error),
        }
    }
}

fn read_error(entry: &Entry, error: std::io::Error) -> Error {
    let name = String::from_utf8_lossy(&entry.path);
    Error::new(ErrorKind::Input, format!("cannot read {name} of the build context")).because(error)
}

/// A failure of the store as the person sees it.
pub(crate) fn store_error(error: galley_store::StoreError) -> Error {
    use galley_store::StoreError::{FileChanged, TooDeep};
    let is_context = matches!(error, FileChanged { .. } | TooDeep { .. });
    let kind = if is_context { ErrorKind::Input } else { ErrorKind::Store };
    Error::new(kind, error.to_string()).because(error)
}
