//! Zstandard, with the same bytes for every number of threads.

use std::{
    fmt,
    io::{self, BufWriter, Write},
};

use zstd::{stream::write::Encoder, zstd_safe::CParameter};

/// What zstd itself takes when nothing is said.
pub const DEFAULT_ZSTD_LEVEL: i32 = 3;

/// The library chooses it by level and threads otherwise, and it decides the bytes.
const JOB_BYTES: u32 = 4 << 20;
/// The library sees the input in pieces of this size, however it was written.
const PIECE_BYTES: usize = 128 << 10;

/// Compresses into `W`.
pub struct ZstdWriter<W: Write>(BufWriter<Encoder<'static, W>>);

impl<W: Write> ZstdWriter<W> {
    /// Compresses on `threads` threads, at least one.
    pub fn new(out: W, level: i32, threads: usize) -> io::Result<Self> {
        let mut encoder = Encoder::new(out, level)?;
        // No workers at all would give other bytes than one.
        encoder.multithread(u32::try_from(threads.max(1)).unwrap_or(1))?;
        encoder.set_parameter(CParameter::JobSize(JOB_BYTES))?;
        Ok(Self(BufWriter::with_capacity(PIECE_BYTES, encoder)))
    }

    /// Writes the end and returns the output.
    pub fn finish(self) -> io::Result<W> {
        self.0.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
    }
}

impl<W: Write> Write for ZstdWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A write as large as the buffer would go round it.
        self.0.write(&bytes[..bytes.len().min(PIECE_BYTES - 1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> fmt::Debug for ZstdWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ZstdWriter(..)")
    }
}
