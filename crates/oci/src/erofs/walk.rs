//! All files of a packed layer, in the order of a tree.

use std::collections::HashSet;

use super::{
    directory::Name,
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
    window: Window,
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
    block: u64,
    names: std::vec::IntoIter<Name>,
    last: Box<[u8]>,
    dots: u32,
}

impl<'a, R: ReadAt> Walk<'a, R> {
    pub(super) fn new(reader: &'a Reader<R>) -> Self {
        Self {
            reader,
            window: Window::large(),
            above: Vec::new(),
            path: Vec::new(),
            seen: HashSet::new(),
            directory_bytes_left: reader.len(),
            xattr_bytes_left: MAX_XATTR_BYTES,
            path_bytes_left: MAX_TREE_PATH_BYTES,
            started: false,
        }
    }

    fn advance(&mut self) -> Result<Option<Record>, ReadErofsError> {
        if !self.started {
            self.started = true;
            let root = self.reader.inode(self.reader.root(), &mut self.window)?;
            if root.inode.kind != InodeType::Directory {
                return Err(damaged(root.number, "it is the root, and no directory"));
            }
            return self.visit(root).map(Some);
        }
        while let Some(open) = self.above.last_mut() {
            self.path.truncate(open.path_length);
            let Some(name) = open.next(self.reader, &mut self.window)? else {
                open.finish()?;
                self.above.pop();
                continue;
            };
            let found = self.reader.inode(name.inode, &mut self.window)?;
            if !name.is(found.inode.kind) {
                return Err(damaged(found.number, "its directory says that it is something else"));
            }
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&name.name);
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
        let record = self.reader.record(&self.path, &found, &mut self.window)?;
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
            block: 0,
            names: Vec::new().into_iter(),
            last: Box::default(),
            dots: 0,
        });
        Ok(())
    }
}

impl Open {
    /// The next name that is no dot.
    fn next<R: ReadAt>(
        &mut self,
        reader: &Reader<R>,
        window: &mut Window,
    ) -> Result<Option<Name>, ReadErofsError> {
        loop {
            for name in self.names.by_ref() {
                let expected = match &*name.name {
                    b"." => self.directory.number,
                    b".." => self.above,
                    _ => {
                        self.last.clone_from(&name.name);
                        return Ok(Some(name));
                    }
                };
                if name.inode != expected || !name.is(InodeType::Directory) {
                    return Err(damaged(self.directory.number, "its dots lead elsewhere"));
                }
                self.dots += 1;
            }
            let names = reader.names(&self.directory, self.block, window)?;
            let Some(first) = names.first() else { return Ok(None) };
            if *first.name <= *self.last {
                return Err(damaged(self.directory.number, "its directory is not sorted"));
            }
            self.block += 1;
            self.names = names.into_iter();
        }
    }

    const fn finish(&self) -> Result<(), ReadErofsError> {
        match self.dots {
            2 => Ok(()),
            _ => Err(damaged(self.directory.number, "its directory lacks its dots")),
        }
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
