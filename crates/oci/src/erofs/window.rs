//! What was read last: inodes that are asked for one after the other lie one behind the other.

use super::{error::ReadErofsError, format::BLOCK, read_at::ReadAt, reader::Reader};

#[derive(Debug)]
pub(super) struct Window {
    /// How much is read at once: whole blocks.
    step: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// For single files.
    pub(super) const fn small() -> Self {
        Self { step: BLOCK, start: 0, bytes: Vec::new() }
    }

    /// For all of them.
    pub(super) const fn large() -> Self {
        Self { step: 16 * BLOCK, start: 0, bytes: Vec::new() }
    }

    /// `length` bytes at `offset`, which belong to `inode`.
    pub(super) fn get<R: ReadAt>(
        &mut self,
        reader: &Reader<R>,
        offset: u64,
        length: usize,
        inode: u64,
    ) -> Result<&[u8], ReadErofsError> {
        let wanted = offset..offset.saturating_add(length as u64);
        if wanted.start < self.start || wanted.end > self.start + self.bytes.len() as u64 {
            self.start = wanted.start - wanted.start % BLOCK;
            let end = wanted.end.max((self.start + self.step).min(reader.bytes()));
            self.bytes.clear();
            if end > reader.bytes() {
                return Err(super::reader::damaged(inode, "it is outside of the layer"));
            }
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.resize((end - self.start) as usize, 0);
            reader.read(&mut bytes, self.start, inode)?;
            self.bytes = bytes;
        }
        let from = (wanted.start - self.start) as usize;
        Ok(&self.bytes[from..from + length])
    }
}
