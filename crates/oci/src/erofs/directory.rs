//! Directories: blocks of sorted names, each block with the numbers first and the names behind them.

use std::cmp::Ordering;

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

/// One block that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a> {
    bytes: &'a [u8],
    count: usize,
}

/// One name that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    pub(super) name: &'a [u8],
    pub(super) child: Child,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child {
    pub(super) inode: u64,
    kind: u8,
}

impl Child {
    /// Whether the directory says about the inode what it is.
    pub(super) const fn is(self, kind: InodeType) -> bool {
        self.kind == kind.dirent()
    }
}

impl<'a> Block<'a> {
    /// A block has one name at least.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let names = offset(bytes, 0);
        match names / DIRENT_BYTES {
            count if count > 0 && names.is_multiple_of(DIRENT_BYTES) && names <= bytes.len() => {
                Ok(Self { bytes, count })
            }
            _ => Err("its directory has no names where they should be"),
        }
    }

    pub(super) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// The name with this index, or what is wrong with it.
    pub(super) fn get(&self, index: usize) -> Result<Name<'a>, &'static str> {
        let is_last = index + 1 == self.count;
        let end = if is_last { self.bytes.len() } else { offset(self.bytes, index + 1) };
        let name = self.bytes.get(offset(self.bytes, index)..end);
        let mut name = name.ok_or("its directory has a name outside of its block")?;
        if is_last {
            name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        }
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
            return Err("its directory has a name that cannot be");
        }
        let at = index * DIRENT_BYTES;
        let [kind] = field(self.bytes, at + 10);
        Ok(Name { name, child: Child { inode: u64::from_le_bytes(field(self.bytes, at)), kind } })
    }

    /// The index of `name`, or where it would be.
    pub(super) fn search(&self, name: &[u8]) -> Result<Result<usize, usize>, &'static str> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            match self.get(middle)?.name.cmp(name) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(Ok(middle)),
                Ordering::Greater => high = middle,
            }
        }
        Ok(Err(low))
    }
}

/// Where the name with this index begins.
fn offset(block: &[u8], index: usize) -> usize {
    u16::from_le_bytes(field(block, index * DIRENT_BYTES + 8)).into()
}
