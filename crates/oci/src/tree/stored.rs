//! A tree in its encoded form, of which entries are made a few at a time, when somebody asks for one of them.
//!
//! A step looks up a handful of paths in trees of all layers below it. To make the 21,000 entries of a base for that takes
//! longer than everything else that galley does for the step, most of it for memory.

use std::{fmt, sync::OnceLock};

use super::{DecodeTreeError, Entry, compare_paths, decode::Entries, normal::Normal, position};

/// How many entries are made at once.
const BLOCK: usize = if cfg!(test) { 3 } else { 64 };

/// An encoded tree that was looked at from beginning to end.
#[derive(Clone)]
pub(super) struct Stored {
    encoded: Vec<u8>,
    index: Index,
}

/// Where the blocks of an encoded tree are.
#[derive(Clone)]
pub(super) struct Index {
    count: usize,
    blocks: Vec<Block>,
}

/// Up to [`BLOCK`] entries.
#[derive(Clone)]
struct Block {
    /// The path of the first one.
    path: Box<[u8]>,
    /// Where the rest of the first one begins.
    at: usize,
    entries: OnceLock<Vec<Entry>>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored({} entries)", self.index.count)
    }
}

impl Stored {
    /// Looks at all of `encoded` as [`Tree::decode`](super::Tree::decode) does. `None` for what gains nothing, and for what
    /// only a whole tree can bring into the usual form.
    pub(super) fn read(encoded: &[u8]) -> Result<Option<Index>, DecodeTreeError> {
        let mut entries = Entries::of(encoded)?;
        let count = entries.left();
        if count <= BLOCK {
            return Ok(None);
        }
        let (mut blocks, mut normal) = (Vec::with_capacity(count.div_ceil(BLOCK)), Normal::default());
        for number in 0..count {
            let path = entries.next_path()?;
            if number % BLOCK == 0 {
                let path = path.into();
                blocks.push(Block { path, at: entries.at(), entries: OnceLock::new() });
            }
            let (meta, kind) = entries.rest()?;
            normal.look_at(&meta, &kind);
        }
        Ok(normal.is_kept().then_some(Index { count, blocks }))
    }

    /// What [`Stored::read`] found in `encoded`.
    pub(super) const fn new(encoded: Vec<u8>, index: Index) -> Self {
        Self { encoded, index }
    }

    pub(super) const fn len(&self) -> usize {
        self.index.count
    }

    pub(super) fn all(&self) -> Vec<Entry> {
        // ok: they were all read once already.
        Entries::of(&self.encoded).map(|entries| entries.map_while(Result::ok).collect()).unwrap_or_default()
    }

    pub(super) fn entry(&self, index: usize) -> Option<&Entry> {
        self.block(index / BLOCK)?.get(index % BLOCK)
    }

    pub(super) fn position(&self, path: &[u8]) -> Result<usize, usize> {
        let not_after = |block: &Block| compare_paths(&block.path, path).is_le();
        let Some(block) = self.index.blocks.partition_point(not_after).checked_sub(1) else { return Err(0) };
        let before = block * BLOCK;
        let entries = self.block(block).unwrap_or_default();
        position(entries, path).map(|index| before + index).map_err(|index| before + index)
    }

    fn block(&self, number: usize) -> Option<&[Entry]> {
        let block = self.index.blocks.get(number)?;
        Some(block.entries.get_or_init(|| {
            let left = BLOCK.min(self.index.count - number * BLOCK);
            let mut entries = Entries::within(&self.encoded, block.at, left);
            let first = entries.entry_at(&block.path);
            // ok: they were all read once already.
            std::iter::once(first).chain(entries).map_while(Result::ok).collect()
        }))
    }
}
