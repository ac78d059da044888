//! The contents of files, as they come.

use std::io::{self, Seek, Write};

use super::{
    error::WriteErofsError,
    format::{BLOCK, BLOCK_BYTES, MAX_BYTES},
    layout::Layout,
    metadata,
    sink::BlockSink,
};
use crate::Tree;

/// Files up to this length are held back and written behind their inodes: a block of their own would be half empty.
const HELD_FILE_BYTES: usize = 2048;
/// The most bytes that are held back.
const HELD_BYTES_MAX: usize = 8 << 20;

/// Writes one layer. Contents first, in any order; what no entry of the tree turns out to have only takes room.
#[derive(Debug)]
pub struct Writer<W> {
    sink: BlockSink<W>,
    held: Vec<u8>,
}

/// A content that was written: for [`Writer::finish`], and for no other writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub(super) place: Place,
    pub(super) length: u64,
}

/// Where bytes are before the inodes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere yet: they are made from the tree.
    #[default]
    Built,
    /// Held back, from this offset.
    Held(u32),
    /// In the file, from this block.
    Blocks(u32),
}

impl Content {
    /// How many bytes it has.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.length
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.length == 0
    }
}

impl<W: Write + Seek> Writer<W> {
    /// Writes to `inner`, a new file that stands at its start.
    pub fn new(inner: W) -> io::Result<Self> {
        let mut sink = BlockSink::new(inner);
        sink.write(&[0; BLOCK_BYTES])?;
        Ok(Self { sink, held: Vec::new() })
    }

    /// Begins a file; its bytes are written to what this gives.
    pub fn file(&mut self) -> NewFile<'_, W> {
        let held_from = self.held.len();
        NewFile { writer: self, held_from, start: None, length: 0 }
    }

    /// Writes everything else: inodes, attributes, directories, superblock. `content` is asked once for each file that
    /// has bytes, by its index in `tree`; for one with several names by the index of the first.
    pub fn finish(
        mut self,
        tree: &Tree,
        mut content: impl FnMut(usize) -> Option<Content>,
    ) -> Result<W, WriteErofsError> {
        self.sink.align()?;
        self.sink.end_holes()?;
        let own = |index| content(index).filter(|content| self.has(content));
        let layout = Layout::new(tree, self.sink.position(), own)?;
        metadata::write(&mut self.sink, tree, &layout, &self.held)?;
        Ok(self.sink.finish(&layout.superblock().encode())?)
    }

    /// Whether `content` is one that this writer can have given.
    fn has(&self, content: &Content) -> bool {
        let (start, end) = match content.place {
            Place::Built => (0, 0),
            Place::Held(start) => (start.into(), self.held.len() as u64),
            Place::Blocks(block) => (u64::from(block) * BLOCK, self.sink.position()),
        };
        start.checked_add(content.length).is_some_and(|last| last <= end)
    }
}

/// A file whose bytes are being written. When it is dropped without [`NewFile::finish`], the file is none.
#[derive(Debug)]
pub struct NewFile<'a, W> {
    writer: &'a mut Writer<W>,
    /// Where its bytes begin among those held back.
    held_from: usize,
    /// Where they begin in the file, once they are too many to be held back.
    start: Option<u64>,
    length: u64,
}

impl<W: Write + Seek> NewFile<'_, W> {
    /// All bytes are written.
    #[must_use]
    pub fn finish(self) -> Content {
        // Neither `write` nor what may be held back lets an offset be larger.
        let small = |offset: u64| u32::try_from(offset).unwrap_or(u32::MAX);
        let place = match self.start {
            Some(start) => Place::Blocks(small(start / BLOCK)),
            None => Place::Held(small(self.held_from as u64)),
        };
        Content { place, length: self.length }
    }

    fn holds(&self, more: usize) -> bool {
        let held = self.writer.held.len();
        held - self.held_from + more <= HELD_FILE_BYTES && held + more <= HELD_BYTES_MAX
    }

    /// From here on its bytes go to the file.
    fn start(&mut self) -> io::Result<()> {
        let Writer { sink, held } = &mut *self.writer;
        sink.align()?;
        self.start = Some(sink.position());
        sink.write(&held[self.held_from..])?;
        held.truncate(self.held_from);
        Ok(())
    }
}

impl<W: Write + Seek> Write for NewFile<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.writer.sink.position() + bytes.len() as u64 > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, WriteErofsError::TooLarge));
        }
        if self.start.is_none() && !self.holds(bytes.len()) {
            self.start()?;
        }
        match self.start {
            Some(_) => self.writer.sink.write(bytes)?,
            None => self.writer.held.extend_from_slice(bytes),
        }
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
