//! The merged view of layers: what a snapshot looks like.
//!
//! Upper layers hide what lies below them: a whiteout its name, an opaque directory everything below it, and a file that
//! is no directory everything that lower layers have below its path. Directories are merged; their attributes are those
//! of the topmost layer that has them, as overlayfs does it.

mod merge;
mod resolve;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::tree::{Entry, Kind, Tree, parent};
use merge::Node;
pub use resolve::{Last, MAX_SYMLINKS, ResolveError};

/// Layers, lowest first, seen as one tree.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    layers: Vec<Arc<Tree>>,
}

/// An entry of a [`Stack`] and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The entry; never a whiteout.
    pub entry: &'a Entry,
    /// The index of its layer.
    pub layer: usize,
    /// The index of the entry in that layer's tree.
    pub index: usize,
}

impl Stack {
    /// A stack of `layers`, lowest first.
    #[must_use]
    pub const fn new(layers: Vec<Arc<Tree>>) -> Self {
        Self { layers }
    }

    /// Puts a layer on top.
    pub fn push(&mut self, layer: Arc<Tree>) {
        self.layers.push(layer);
    }

    /// The layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[Arc<Tree>] {
        &self.layers
    }

    /// How many entries all layers have together, hidden ones too.
    pub(crate) fn entry_count(&self) -> usize {
        self.layers.iter().map(|tree| tree.len()).sum()
    }

    /// The entry at exactly `path`; symbolic links are not followed.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<Found<'_>> {
        for (layer, tree) in self.layers.iter().enumerate().rev() {
            let own = tree.position(path).ok();
            match own.and_then(|index| Some(Found { entry: tree.entry(index)?, layer, index })) {
                Some(found) if matches!(found.entry.kind, Kind::Whiteout) => return None,
                Some(found) => return Some(found),
                None if hides(tree, path) => return None,
                None => {}
            }
        }
        None
    }

    /// The entries directly in `dir`, sorted by name. Empty when it is no directory.
    #[must_use]
    pub fn list(&self, dir: &[u8]) -> Vec<Found<'_>> {
        let layers = self.contributing(dir);
        let parts = layers.map(|layer| {
            let tree = &self.layers[layer];
            let children = tree.child_indexes(dir);
            children.filter_map(|index| Some(Node { entry: tree.entry(index)?, layer, index })).collect()
        });
        merge::merge_all(parts)
    }

    /// `dir` and everything below it, sorted. Of a file that is no directory: just that.
    #[must_use]
    pub fn walk(&self, dir: &[u8]) -> Vec<Found<'_>> {
        let parts = self.reaching(dir).map(|layer| {
            let tree = &self.layers[layer];
            let entries = tree.numbered(tree.range_below(dir));
            entries.map(|(index, entry)| Node { entry, layer, index }).collect()
        });
        merge::merge_all(parts)
    }

    /// One tree with everything in it. Hard links hold within each layer.
    #[must_use]
    pub fn merged(&self) -> Tree {
        merge::flatten(&self.walk(b""))
    }

    /// The layers whose entries at or below `path` may be seen: from the lowest that is not hidden by an ancestor of
    /// `path`.
    fn reaching(&self, path: &[u8]) -> std::ops::Range<usize> {
        let lowest = self.layers.iter().rposition(|tree| hides(tree, path));
        lowest.unwrap_or(0)..self.layers.len()
    }

    /// The layers that contribute names to `dir`: from the topmost that replaces it.
    fn contributing(&self, dir: &[u8]) -> std::ops::Range<usize> {
        let mut range = self.reaching(dir);
        let own = |tree: &Tree| tree.get(dir).map(|entry| replaces(&entry.kind)).unwrap_or_default();
        if let Some(replacing) = self.layers[range.clone()].iter().rposition(|tree| own(tree)) {
            range.start += replacing;
        }
        range
    }
}

/// Whether what `tree` has above `path` hides lower layers there.
fn hides(tree: &Tree, path: &[u8]) -> bool {
    let mut ancestor = parent(path);
    while let Some(dir) = ancestor {
        if tree.get(dir).is_some_and(|entry| replaces(&entry.kind)) {
            return true;
        }
        ancestor = parent(dir);
    }
    false
}

/// Whether an entry hides everything that lower layers have below its path.
const fn replaces(kind: &Kind) -> bool {
    !matches!(kind, Kind::Directory { opaque: false })
}

impl<'a> Found<'a> {
    /// The path of the entry.
    #[must_use]
    pub fn path(self) -> &'a [u8] {
        &self.entry.path
    }
}
