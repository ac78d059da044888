//! All files of a packed layer, in the order of a tree.

use std::collections::HashSet;

use super::{
    directory::{Block, Child},
    error::ReadErofsError,
    format::InodeType,
    read_at::ReadAt,
    reader::{Located, Reader, Record, damaged},
    window::Window,
};
use crate::tree::{MAX_PATH_BYTES, MAX_TREE_PATH_BYTES};

/// The most bytes of attributes that all files together may have, each name of a file counted.
pub const MAX_XATTR_BYTES: usize = 256 << 20;

/// Goes through a packed layer; ends after the first error.
#[derive(Debug)]
pub struct Walk<'a, R> {
    reader: &'a Reader<R>,
    inodes: Window,
    /// Of directories.
    blocks: Window,
    /// The directories above the next file.
    above: Vec<Open>,
    path: Vec<u8>,
    /// Directories have one name each: else a few of them could have names without end.
    seen: HashSet<u64>,
    /// What may still come. No two directories share bytes.
    directory_bytes_left: u64,
    xattr_bytes_left: usize,
    path_bytes_left: usize,
    started: bool,
}

/// A directory that is being read.
#[derive(Debug)]
struct Open {
    directory: Located,
    above: u64,
    path_length: usize,
    /// The block that comes next.
    next_block: u64,
    /// The block that is being read, and the index of the name in it that comes next.
    bytes: Vec<u8>,
    next: usize,
    /// The name that came last.
    name: Vec<u8>,
    dots: u32,
}

impl<'a, R: ReadAt> Walk<'a, R> {
    pub(super) fn new(reader: &'a Reader<R>) -> Self {
        Self {
            reader,
            inodes: Window::large(),
            blocks: Window::small(),
            above: Vec::new(),
            path: Vec::new(),
            seen: HashSet::new(),
            directory_bytes_left: reader.bytes(),
            xattr_bytes_left: MAX_XATTR_BYTES,
            path_bytes_left: MAX_TREE_PATH_BYTES,
            started: false,
        }
    }

    fn advance(&mut self) -> Result<Option<Record>, ReadErofsError> {
        if !self.started {
            self.started = true;
            let root = self.reader.inode(self.reader.root(), &mut self.inodes)?;
            if root.inode.kind != InodeType::Directory {
                return Err(damaged(root.number, "it is the root, and no directory"));
            }
            return self.visit(root).map(Some);
        }
        while let Some(open) = self.above.last_mut() {
            self.path.truncate(open.path_length);
            let Some(child) = open.next(self.reader, &mut self.blocks)? else {
                self.above.pop();
                continue;
            };
            let found = self.reader.inode(child.inode, &mut self.inodes)?;
            if !child.is(found.inode.kind) {
                return Err(damaged(found.number, "its directory says that it is something else"));
            }
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&open.name);
            return self.visit(found).map(Some);
        }
        Ok(None)
    }

    /// A file that was met; a directory is opened.
    fn visit(&mut self, found: Located) -> Result<Record, ReadErofsError> {
        let limit = |what, limit| ReadErofsError::Limit { what, limit };
        if self.path.len() > MAX_PATH_BYTES {
            return Err(limit("one path", MAX_PATH_BYTES));
        }
        let left = self.path_bytes_left.checked_sub(self.path.len());
        self.path_bytes_left = left.ok_or_else(|| limit("paths", MAX_TREE_PATH_BYTES))?;
        let left = self.xattr_bytes_left.checked_sub(found.inode.xattr_bytes);
        self.xattr_bytes_left = left.ok_or_else(|| limit("attributes", MAX_XATTR_BYTES))?;
        let record = self.reader.record(&self.path, &found, &mut self.inodes)?;
        if found.inode.kind == InodeType::Directory {
            self.open(found)?;
        }
        Ok(record)
    }

    fn open(&mut self, directory: Located) -> Result<(), ReadErofsError> {
        let number = directory.number;
        if !self.seen.insert(number) {
            return Err(damaged(number, "it is a directory with several names"));
        }
        let left = self.directory_bytes_left.checked_sub(directory.inode.size);
        self.directory_bytes_left =
            left.ok_or_else(|| damaged(number, "its names are those of other directories"))?;
        let above = self.above.last().map_or(number, |open| open.directory.number);
        self.above.push(Open {
            directory,
            above,
            path_length: self.path.len(),
            next_block: 0,
            bytes: Vec::new(),
            next: 0,
            name: Vec::new(),
            dots: 0,
        });
        Ok(())
    }
}

impl Open {
    /// What the next name that is no dot stands for.
    fn next<R: ReadAt>(
        &mut self,
        reader: &Reader<R>,
        window: &mut Window,
    ) -> Result<Option<Child>, ReadErofsError> {
        let number = self.directory.number;
        while let Some(child) = self.next_name(reader, window)? {
            let expected = match &*self.name {
                b"." => number,
                b".." => self.above,
                _ => return Ok(Some(child)),
            };
            if child.inode != expected || !child.is(InodeType::Directory) {
                return Err(damaged(number, "its dots lead elsewhere"));
            }
            self.dots += 1;
        }
        if self.dots == 2 { Ok(None) } else { Err(damaged(number, "its directory lacks its dots")) }
    }

    fn next_name<R: ReadAt>(
        &mut self,
        reader: &Reader<R>,
        window: &mut Window,
    ) -> Result<Option<Child>, ReadErofsError> {
        let wrong = |what| damaged(self.directory.number, what);
        if self.bytes.is_empty() {
            let Some(block) = reader.block(&self.directory, self.next_block, window)? else {
                return Ok(None);
            };
            self.bytes.extend_from_slice(block.bytes());
            (self.next_block, self.next) = (self.next_block + 1, 0);
        }
        let block = Block::new(&self.bytes).map_err(wrong)?;
        let name = block.get(self.next).map_err(wrong)?;
        if *name.name <= *self.name {
            return Err(wrong("its directory is not sorted"));
        }
        self.name.clear();
        self.name.extend_from_slice(name.name);
        self.next += 1;
        let (child, is_last) = (name.child, self.next == block.len());
        if is_last {
            self.bytes.clear();
        }
        Ok(Some(child))
    }
}

impl<R: ReadAt> Iterator for Walk<'_, R> {
    type Item = Result<Record, ReadErofsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if let Some(Err(_)) = next {
            self.above.clear();
        }
        next
    }
}
