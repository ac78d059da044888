//! Directories: blocks of sorted names, each block with the numbers first and the names behind them.

use super::format::{BLOCK_BYTES, DIRENT_BYTES, InodeType, MAX_NAME_BYTES, field};

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

/// One name that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) name: Box<[u8]>,
    pub(super) inode: u64,
    kind: u8,
}

impl Name {
    /// Whether the directory says about the inode what it is.
    pub(super) const fn is(&self, kind: InodeType) -> bool {
        self.kind == kind.dirent()
    }
}

/// The names of one block, sorted, or what is wrong with it.
pub(super) fn decode(block: &[u8]) -> Result<Vec<Name>, &'static str> {
    let offset = |index: usize| usize::from(u16::from_le_bytes(field(block, index * DIRENT_BYTES + 8)));
    let first = offset(0);
    let count = first / DIRENT_BYTES;
    if count == 0 || first % DIRENT_BYTES != 0 || first > block.len() {
        return Err("its directory has no names where they should be");
    }
    let mut names: Vec<Name> = Vec::with_capacity(count);
    for index in 0..count {
        let end = if index + 1 < count { offset(index + 1) } else { block.len() };
        let mut name =
            block.get(offset(index)..end).ok_or("its directory has a name outside of its block")?;
        if index + 1 == count {
            name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        }
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
            return Err("its directory has a name that cannot be");
        }
        if names.last().is_some_and(|last| *last.name >= *name) {
            return Err("its directory is not sorted");
        }
        let inode = u64::from_le_bytes(field(block, index * DIRENT_BYTES));
        names.push(Name { name: name.into(), inode, kind: block[index * DIRENT_BYTES + 10] });
    }
    Ok(names)
}
