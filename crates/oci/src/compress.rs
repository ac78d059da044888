//! Compression of layers and archives.
//!
//! Everything is decoded that Docker's ADD decodes. What is encoded has the same bytes for every number of threads;
//! [`encoder_version`] names the encoder, so that whoever remembers blobs forgets them when it changes.

mod decode;
mod gzip;
#[cfg(test)]
mod tests;
mod zstd;

use std::io::{self, Write};

pub use decode::{
    Counted, EXPANSION_FREE_BYTES, EXPANSION_MAX, Format, MAX_XZ_MEMORY_KIB, PREFIX_BYTES, decoder, detect,
};
pub use gzip::{BLOCK_BYTES, DEFAULT_GZIP_LEVEL, GzipWriter};
pub use zstd::{DEFAULT_ZSTD_LEVEL, ZstdWriter};

/// How a layer's blob is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Plain tar.
    None,
    /// What every registry and runtime reads.
    #[default]
    Gzip,
    /// Smaller and faster, read by newer runtimes.
    Zstd,
}

impl Compression {
    /// The name as users write it; `uncompressed` as in BuildKit.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// What distinguishes the bytes that this encoder writes from those of others, at the default level. Changes with every
/// change of the golden digests in the tests.
#[must_use]
pub const fn encoder_version(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "tar-1",
        Compression::Gzip => "gzip-1-zlib-rs-0.6",
        Compression::Zstd => "zstd-2-libzstd-1.5.7",
    }
}

/// Compresses into `W` in any of the ways.
#[derive(Debug)]
pub enum Compressor<W: Write> {
    /// Passes on.
    Plain(W),
    /// Gzip.
    Gzip(GzipWriter<W>),
    /// Zstandard.
    Zstd(ZstdWriter<W>),
}

impl<W: Write> Compressor<W> {
    /// Compresses with the default level unless `level` is given.
    pub fn new(out: W, compression: Compression, level: Option<i32>, threads: usize) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(out),
            Compression::Gzip => {
                let level =
                    level.map_or(DEFAULT_GZIP_LEVEL, |level| u32::try_from(level).unwrap_or_default());
                Self::Gzip(GzipWriter::new(out, level, threads)?)
            }
            Compression::Zstd => {
                Self::Zstd(ZstdWriter::new(out, level.unwrap_or(DEFAULT_ZSTD_LEVEL), threads)?)
            }
        })
    }

    /// Writes the end and returns the output.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(writer) => writer.finish(),
            Self::Zstd(writer) => writer.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(writer) => writer.write(bytes),
            Self::Zstd(writer) => writer.write(bytes),
        }
    }

    /// Does not end a block: the bytes would depend on it.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
