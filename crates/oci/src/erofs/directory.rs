//! Directories: blocks of sorted names, each block with the numbers first and the names behind them.

use super::format::{BLOCK_BYTES, DIRENT_BYTES, InodeType};

/// One name of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dirent<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u64,
    pub(super) kind: InodeType,
}

impl Dirent<'_> {
    const fn bytes(&self) -> usize {
        DIRENT_BYTES + self.name.len()
    }
}

/// The names of each block; no name is longer than a block.
pub(super) fn blocks<'a, 'b>(dirents: &'b [Dirent<'a>]) -> impl Iterator<Item = &'b [Dirent<'a>]> {
    let mut rest = dirents;
    std::iter::from_fn(move || {
        let mut used = 0;
        let mut fits = |dirent: &Dirent<'_>| {
            used += dirent.bytes();
            used <= BLOCK_BYTES
        };
        let count = rest.iter().take_while(|dirent| fits(dirent)).count();
        let (block, later) = rest.split_at(count);
        rest = later;
        (count > 0).then_some(block)
    })
}

/// How long the whole directory is: the last block ends with its last name.
pub(super) fn length(dirents: &[Dirent<'_>]) -> u64 {
    blocks(dirents).fold(0_u64, |length, block| {
        let used: usize = block.iter().map(Dirent::bytes).sum();
        length.next_multiple_of(BLOCK_BYTES as u64) + used as u64
    })
}

/// One block, as long as it has names.
pub(super) fn encode(block: &[Dirent<'_>], into: &mut Vec<u8>) {
    into.clear();
    let mut name_offset = block.len() * DIRENT_BYTES;
    for dirent in block {
        into.extend(dirent.inode.to_le_bytes());
        into.extend((name_offset as u16).to_le_bytes());
        into.extend([dirent.kind.dirent(), 0]);
        name_offset += dirent.name.len();
    }
    block.iter().for_each(|dirent| into.extend_from_slice(dirent.name));
}
