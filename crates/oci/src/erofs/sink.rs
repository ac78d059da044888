//! What is written goes out in large pieces; long runs of zeros stay holes.

use std::io::{self, Seek, SeekFrom, Write};

use super::format::{BLOCK, BLOCK_BYTES};

/// How much is written at once.
const BUFFER_BYTES: usize = 256 << 10;
/// What is so long goes out as it is.
const DIRECT_BYTES_MIN: usize = 64 << 10;
/// Zeros are stepped over in pieces of this size.
const HOLE_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct BlockSink<W> {
    inner: W,
    buffer: Vec<u8>,
    /// Where the buffer begins.
    flushed: u64,
    /// Whether zeros may stay holes.
    sparse: bool,
}

impl<W: Write + Seek> BlockSink<W> {
    /// `inner` is empty and at its start.
    pub(super) fn new(inner: W) -> Self {
        Self { inner, buffer: Vec::with_capacity(BUFFER_BYTES), flushed: 0, sparse: true }
    }

    pub(super) const fn position(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if bytes.len() >= DIRECT_BYTES_MIN {
            self.flush()?;
            return self.put(bytes);
        }
        while !bytes.is_empty() {
            let taken = bytes.len().min(BUFFER_BYTES - self.buffer.len());
            let (now, later) = bytes.split_at(taken);
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BUFFER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes zeros up to `position`.
    pub(super) fn pad_to(&mut self, position: u64) -> io::Result<()> {
        static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
        while self.position() < position {
            let missing = (position - self.position()).min(BLOCK) as usize;
            self.write(&ZEROS[..missing])?;
        }
        Ok(())
    }

    /// Goes on to the next block, unless one begins here.
    pub(super) fn align(&mut self) -> io::Result<()> {
        self.pad_to(self.position().next_multiple_of(BLOCK))
    }

    /// From here on zeros are written: what the file ends with must be there.
    pub(super) fn end_holes(&mut self) -> io::Result<()> {
        self.flush()?;
        self.sparse = false;
        Ok(())
    }

    /// Writes what is left, then the first block over what it held.
    pub(super) fn finish(mut self, first: &[u8; BLOCK_BYTES]) -> io::Result<W> {
        self.end_holes()?;
        self.inner.seek(SeekFrom::Start(0))?;
        self.inner.write_all(first)?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.put(&buffer)?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    /// Writes `bytes` behind all that is in the file; the buffer is empty.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        for (number, piece) in bytes.chunks_exact(HOLE_BYTES).enumerate() {
            if self.sparse && is_zero(piece) {
                let start = number * HOLE_BYTES;
                self.inner.write_all(&bytes[written..start])?;
                self.inner.seek_relative(HOLE_BYTES as i64)?;
                written = start + HOLE_BYTES;
            }
        }
        self.inner.write_all(&bytes[written..])?;
        self.flushed += bytes.len() as u64;
        Ok(())
    }
}

fn is_zero(piece: &[u8]) -> bool {
    static ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];
    piece == &ZEROS[..piece.len()]
}
