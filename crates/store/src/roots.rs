//! Roots: what a stack of layers shows, as one directory that programs run in where nothing can be mounted.
//!
//! A root serves one step after the other: what a step did to it is found by comparing it with what it was, by inode and
//! time of change. Nobody can set a time of change, and inodes do not get another one while something has them.

mod compare;
mod extend;
mod names;

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use galley_oci::{Digest, Stack, Tree, minimal};
use rustix::{
    fs::Timespec,
    time::{ClockId, clock_gettime},
};

use crate::{
    Layer, LayerContents, Store, StoreError, TempDir,
    error::At,
    files::{copier::Source, materialise},
};
use compare::Marks;
use names::Watch;

/// A directory with the files of several layers. It goes away when dropped.
#[derive(Debug)]
pub struct Root {
    temp: TempDir,
    /// What it shows, lowest first: layers with their times.
    layers: Vec<Digest>,
    /// How it was before the step that runs in it now.
    marks: Marks,
    /// By which names files are written to meanwhile.
    watch: Option<Watch>,
    shows_more: bool,
}

impl Root {
    /// Whether it shows what the last step left, and nothing else: only then another step may run in it.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        !self.shows_more
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.temp.path().join("root")
    }

    /// Whether it can become what `layers` show by adding some on top; how many it has.
    #[must_use]
    pub fn is_below(&self, layers: &[Layer]) -> Option<usize> {
        let shown = layers.get(..self.layers.len())?;
        let same = shown.iter().zip(&self.layers).all(|(layer, own)| layer.integrity() == own);
        same.then_some(shown.len())
    }

    /// Makes it the directory `path` of the store, which is not there yet, for as long as somebody wants it.
    pub fn keep_as(self, path: &Path) -> Result<(), StoreError> {
        rustix::fs::rename(self.path(), path).at("rename a folder to", path)
    }

    /// Says that the last step's changes are the layer `tree`: it is what the root shows now.
    pub fn has_become(&mut self, tree: &Tree) {
        self.layers.push(tree.integrity());
    }
}

impl Store {
    /// A new root that shows `layers`, lowest first.
    pub fn new_root(&self, layers: &[Layer]) -> Result<Root, StoreError> {
        let temp = self.temp_dir("root")?;
        let root = Root { temp, layers: Vec::new(), marks: Marks::default(), watch: None, shows_more: false };
        let trees: Result<Vec<_>, StoreError> = layers.iter().map(Layer::tree).collect();
        let stack = Stack::new(trees?);
        let (found, merged) = (stack.walk(b""), stack.merged());
        let contents: Result<Vec<_>, StoreError> = layers.iter().map(|layer| self.contents(layer)).collect();
        let contents: Vec<_> = contents?.into_iter().map(RefCell::new).collect();
        materialise::materialise(&merged, &root.path(), self.dialect(), &|index| {
            let found = found.get(index);
            let from = found
                .and_then(|found| Some((layers.get(found.layer)?, contents.get(found.layer)?, found.index)));
            let (layer, contents, index) = from.ok_or_else(|| no_such_entry(&merged, index))?;
            source(layer, &mut contents.borrow_mut(), index)
        })?;
        let layers = layers.iter().map(|layer| *layer.integrity()).collect();
        Ok(Root { layers, ..root })
    }

    /// Lays more layers over what `root` shows.
    pub fn extend_root(&self, root: &mut Root, layers: &[Layer]) -> Result<(), StoreError> {
        for layer in layers {
            let contents = RefCell::new(self.contents(layer)?);
            let open = |index| source(layer, &mut contents.borrow_mut(), index);
            extend::extend(&*layer.tree()?, &root.path(), self.dialect(), &open)?;
            root.layers.push(*layer.integrity());
        }
        Ok(())
    }

    /// Remembers how `root` is. What changes after this gets a later time of change.
    pub fn mark_root(&self, root: &mut Root) -> Result<(), StoreError> {
        root.marks = compare::mark(&root.path())?;
        root.watch = Watch::begin(&root.path(), root.marks.directories_of_linked());
        wait_until_past(root.marks.latest());
        Ok(())
    }

    /// What has changed in `root`, which shows `below`, since it was marked: the smallest layer that says so, with copies
    /// of its files in `diff` of a new directory.
    pub fn root_changes(&self, root: &mut Root, below: &Stack) -> Result<(TempDir, Tree), StoreError> {
        let path = root.path();
        let written = root.watch.take().and_then(|watch| watch.written()).unwrap_or_default();
        let found = compare::changes(&path, &root.marks, &written)?;
        root.shows_more = found.shows_more;
        let changes = minimal(found.tree, below);
        let temp = self.temp_dir("run")?;
        let open = |index: usize| -> Result<Source, StoreError> {
            let entry = changes.entries().get(index).ok_or_else(|| no_such_entry(&changes, index))?;
            let path = path.join(crate::origins::path_of(&entry.path));
            let content = crate::files::open::plain(&path)?.into();
            Ok(Source { content, path, immutable: false })
        };
        materialise::materialise(&changes, &temp.diff(), self.dialect(), &open)?;
        Ok((temp, changes))
    }
}

fn source(layer: &Layer, contents: &mut LayerContents, index: usize) -> Result<Source, StoreError> {
    let path = contents.path(index);
    Ok(Source { content: contents.open(index)?, path, immutable: layer.owns_bytes() })
}

fn no_such_entry(tree: &Tree, index: usize) -> StoreError {
    StoreError::NoSuchEntry { layer: tree.layer_id(), index }
}

/// Files get their times from a clock that ticks a few hundred times a second: within one tick, a change could not be
/// told from what was before.
fn wait_until_past(latest: (i64, u32)) {
    const POLL: Duration = Duration::from_micros(500);
    let now = || {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::RealtimeCoarse);
        (tv_sec, tv_nsec as u32)
    };
    // A time that is far off was set by another machine, or before the clock was set back: no tick helps there.
    let is_near = |now: (i64, u32)| latest.0 - now.0 <= 1;
    while now() <= latest && is_near(now()) {
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests;
