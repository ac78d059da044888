//! Reading: finding files and their bytes. Nothing that is read is trusted: a disk may fail, a power cut may cut.

use std::{
    io::{self, Read},
    ops::Range,
};

use super::{
    directory::Block,
    error::ReadErofsError,
    format::{
        BLOCK, BLOCK_BYTES, DataLayout, INODE_BYTES, Inode, InodeType, MAX_TARGET_BYTES, SLOT_BYTES,
        Superblock, device_parts,
    },
    read_at::ReadAt,
    special,
    walk::Walk,
    window::Window,
    xattrs,
};
use crate::{Kind, Meta, stand_in, tree::Xattrs};

/// Where the bytes of a file are: at most two pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    blocks: Range<u64>,
    tail: Range<u64>,
}

impl Runs {
    /// The pieces, in order, as places in the packed layer. Empty ones are left out.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        [self.blocks.clone(), self.tail.clone()].into_iter().filter(|run| !run.is_empty())
    }

    /// How many bytes the file has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.iter().map(|run| run.end - run.start).sum()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The piece at `offset` of the file, from there.
    fn at(&self, offset: u64) -> Range<u64> {
        let first = self.blocks.end - self.blocks.start;
        match offset.checked_sub(first) {
            None => self.blocks.start + offset..self.blocks.end,
            Some(behind) => self.tail.start.saturating_add(behind).min(self.tail.end)..self.tail.end,
        }
    }
}

/// What a packed layer says about one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it is; empty for the root.
    pub path: Box<[u8]>,
    /// Mode, owner, time, attributes.
    pub meta: Meta,
    /// What it is.
    pub kind: RecordKind,
    /// Names with one number are one file.
    pub inode: u64,
    /// How many names it has.
    pub links: u32,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A regular file: where its bytes are.
    File(Runs),
    /// A directory.
    Directory {
        /// Whether it hides what lower layers have below it.
        opaque: bool,
    },
    /// A link, a device, a pipe or a whiteout, as a tree has it.
    Other(Kind),
}

/// A packed layer.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    superblock: Superblock,
}

impl<R: ReadAt> Reader<R> {
    /// Reads and checks the superblock.
    pub fn open(input: R) -> Result<Self, ReadErofsError> {
        let mut block = [0; BLOCK_BYTES];
        match input.read_exact_at(&mut block, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ReadErofsError::NotErofs);
            }
            read => read?,
        }
        Ok(Self { input, superblock: Superblock::decode(&mut block)? })
    }

    /// The file at `path`, as a tree has it, if there is one. Symbolic links are not followed.
    pub fn find(&self, path: &[u8]) -> Result<Option<Record>, ReadErofsError> {
        let mut window = Window::small();
        let mut number = self.root();
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            let directory = self.inode(number, &mut window)?;
            if directory.inode.kind != InodeType::Directory {
                return Ok(None);
            }
            match self.find_name(&directory, name, &mut window)? {
                Some(found) => number = found,
                None => return Ok(None),
            }
        }
        let located = self.inode(number, &mut window)?;
        self.record(path, &located, &mut window).map(Some)
    }

    /// All files, in the order of a tree.
    #[must_use]
    pub fn walk(&self) -> Walk<'_, R> {
        Walk::new(self)
    }

    /// Reads bytes of a file, from `offset` on; as many as there are in one piece, none at the end.
    pub fn read_at(&self, runs: &Runs, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let run = runs.at(offset);
        let length = usize::try_from(run.end - run.start).unwrap_or(usize::MAX).min(buffer.len());
        self.input.read_exact_at(&mut buffer[..length], run.start)?;
        Ok(length)
    }

    /// The bytes of a file, from its start.
    #[must_use]
    pub const fn content(&self, runs: Runs) -> FileContent<'_, R> {
        FileContent { reader: self, runs, offset: 0 }
    }

    /// How many files the layer has, each counted once.
    #[must_use]
    pub const fn inodes(&self) -> u64 {
        self.superblock.inodes
    }

    /// How many bytes all of it has.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.superblock.blocks) * BLOCK
    }

    pub(super) fn root(&self) -> u64 {
        self.superblock.root.into()
    }

    /// Reads what must be in the layer, for `inode`.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64, inode: u64) -> Result<(), ReadErofsError> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.bytes()) {
            return Err(damaged(inode, "it is outside of the layer"));
        }
        match self.input.read_exact_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(damaged(inode, "the layer is cut off before it"))
            }
            read => Ok(read?),
        }
    }

    pub(super) fn inode(&self, number: u64, window: &mut Window) -> Result<Located, ReadErofsError> {
        let start = u64::from(self.superblock.first_inode_block) * BLOCK;
        let offset = number.checked_mul(SLOT_BYTES).and_then(|offset| offset.checked_add(start));
        let offset = offset.ok_or_else(|| damaged(number, "it is outside of the layer"))?;
        let bytes = window.get(self, offset, INODE_BYTES, number)?;
        let bytes = bytes.first_chunk().ok_or_else(|| damaged(number, "it is cut off"))?;
        let inode = Inode::decode(bytes).map_err(|what| damaged(number, what))?;
        let located = Located { number, offset, inode };
        self.runs(&located)?;
        Ok(located)
    }

    /// Where the bytes of an inode are, all of them in the layer.
    pub(super) fn runs(&self, located: &Located) -> Result<Runs, ReadErofsError> {
        let Located { number, inode, .. } = located;
        if !matches!(inode.kind, InodeType::File | InodeType::Directory | InodeType::Symlink)
            || inode.size == 0
        {
            return Ok(Runs::default());
        }
        let tail = if inode.layout == DataLayout::Inline { inode.size % BLOCK } else { 0 };
        let (start, behind) = (u64::from(inode.place) * BLOCK, located.behind());
        let end = start.checked_add(inode.size - tail).filter(|&end| end <= self.bytes());
        let end = end.ok_or_else(|| damaged(*number, "its bytes are outside of the layer"))?;
        if behind % BLOCK + tail > BLOCK || behind + tail > self.bytes() {
            return Err(damaged(*number, "its bytes leave its block"));
        }
        Ok(Runs { blocks: start..end, tail: behind..behind + tail })
    }

    /// Everything about an inode.
    pub(super) fn record(
        &self,
        path: &[u8],
        located: &Located,
        window: &mut Window,
    ) -> Result<Record, ReadErofsError> {
        let inode = &located.inode;
        let mut xattrs = self.xattrs(located, window)?;
        let kind = match inode.kind {
            InodeType::File => match take(&mut xattrs, special::STAND_IN) {
                Some(value) if inode.size == 0 => RecordKind::Other(
                    stand_in::device(&value)
                        .ok_or_else(|| damaged(located.number, "it stands for no device"))?,
                ),
                _ => RecordKind::File(self.runs(located)?),
            },
            InodeType::Directory => {
                RecordKind::Directory { opaque: take(&mut xattrs, xattrs::OPAQUE.0).is_some() }
            }
            InodeType::Symlink => RecordKind::Other(Kind::Symlink { target: self.target(located, window)? }),
            InodeType::Fifo => RecordKind::Other(Kind::Fifo),
            InodeType::CharDevice if inode.place == 0 => RecordKind::Other(Kind::Whiteout),
            InodeType::CharDevice | InodeType::BlockDevice => RecordKind::Other(device(inode)),
        };
        let meta = Meta {
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.mtime,
            xattrs: (!xattrs.is_empty()).then(|| Box::new(xattrs)),
        };
        Ok(Record { path: path.into(), meta, kind, inode: located.number, links: inode.links })
    }

    fn xattrs(&self, located: &Located, window: &mut Window) -> Result<Xattrs, ReadErofsError> {
        let (bytes, number) = (located.inode.xattr_bytes, located.number);
        if bytes == 0 {
            return Ok(Xattrs::new());
        }
        let bytes = window.get(self, located.offset + INODE_BYTES as u64, bytes, number)?;
        xattrs::decode(bytes).map_err(|what| damaged(number, what))
    }

    fn target(&self, located: &Located, window: &mut Window) -> Result<Box<[u8]>, ReadErofsError> {
        let runs = self.runs(located)?;
        if !(1..=MAX_TARGET_BYTES as u64).contains(&runs.len()) {
            return Err(damaged(located.number, "its target has an impossible length"));
        }
        let run = runs.at(0);
        let target = window.get(self, run.start, (run.end - run.start) as usize, located.number)?;
        if target.contains(&0) {
            Err(damaged(located.number, "its target has a zero byte"))
        } else {
            Ok(target.into())
        }
    }

    /// Block `number` of a directory; none behind its last one.
    pub(super) fn block<'w>(
        &self,
        directory: &Located,
        number: u64,
        window: &'w mut Window,
    ) -> Result<Option<Block<'w>>, ReadErofsError> {
        let run = self.runs(directory)?.at(number * BLOCK);
        let length = (run.end - run.start).min(BLOCK) as usize;
        if length == 0 {
            return Ok(None);
        }
        let bytes = window.get(self, run.start, length, directory.number)?;
        Block::new(bytes).map(Some).map_err(|what| damaged(directory.number, what))
    }

    /// The number that `name` has in a directory: first its block, then the name in it.
    fn find_name(
        &self,
        directory: &Located,
        name: &[u8],
        window: &mut Window,
    ) -> Result<Option<u64>, ReadErofsError> {
        let wrong = |what| damaged(directory.number, what);
        let (mut low, mut high) = (0, directory.inode.size.div_ceil(BLOCK));
        while low < high {
            let middle = low.midpoint(high);
            let Some(block) = self.block(directory, middle, window)? else { break };
            match block.search(name).map_err(wrong)? {
                Ok(found) => return block.get(found).map(|name| Some(name.child.inode)).map_err(wrong),
                Err(0) => high = middle,
                Err(at) if at == block.len() => low = middle + 1,
                Err(_) => break,
            }
        }
        Ok(None)
    }
}

/// An inode, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) number: u64,
    offset: u64,
    pub(super) inode: Inode,
}

impl Located {
    /// Where what comes behind the inode begins.
    fn behind(&self) -> u64 {
        self.offset + (INODE_BYTES + self.inode.xattr_bytes) as u64
    }
}

/// The bytes of one file.
#[derive(Debug)]
pub struct FileContent<'a, R> {
    reader: &'a Reader<R>,
    runs: Runs,
    offset: u64,
}

impl<R: ReadAt> Read for FileContent<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read_at(&self.runs, self.offset, buffer)?;
        self.offset += read as u64;
        Ok(read)
    }
}

fn device(inode: &Inode) -> Kind {
    let (major, minor) = device_parts(inode.place);
    match inode.kind {
        InodeType::BlockDevice => Kind::BlockDevice { major, minor },
        _ => Kind::CharDevice { major, minor },
    }
}

fn take(xattrs: &mut Xattrs, name: &[u8]) -> Option<Box<[u8]>> {
    let at = xattrs.iter().position(|(other, _)| **other == *name)?;
    Some(xattrs.remove(at).1)
}

pub(super) const fn damaged(inode: u64, what: &'static str) -> ReadErofsError {
    ReadErofsError::Damaged { inode, what }
}
