//! Zstandard, with the same bytes for every number of threads.

use std::{
    fmt,
    io::{self, Write},
};

use zstd::{stream::write::Encoder, zstd_safe::CParameter};

/// What zstd itself takes when nothing is said.
pub const DEFAULT_ZSTD_LEVEL: i32 = 3;

/// How much input is compressed at once. The library chooses it by level and threads otherwise, and it decides the bytes.
/// It keeps about twelve of these for two threads: twice as much saves 0.2 % of the output and takes 25 MB more.
const JOB_BYTES: u32 = 2 << 20;

/// Compresses into `W`.
pub struct ZstdWriter<W: Write>(Encoder<'static, W>);

impl<W: Write> ZstdWriter<W> {
    /// Compresses on `threads` threads, at least one.
    pub fn new(out: W, level: i32, threads: usize) -> io::Result<Self> {
        let mut encoder = Encoder::new(out, level)?;
        // No workers at all would give other bytes than one.
        encoder.multithread(u32::try_from(threads.max(1)).unwrap_or(1))?;
        encoder.set_parameter(CParameter::JobSize(JOB_BYTES))?;
        Ok(Self(encoder))
    }

    /// Writes the end and returns the output.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

impl<W: Write> Write for ZstdWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    /// Does not end a block: the bytes would depend on it.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> fmt::Debug for ZstdWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ZstdWriter(..)")
    }
}
