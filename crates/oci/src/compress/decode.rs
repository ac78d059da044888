//! Decoding whatever it is.

use std::{
    io::{self, Cursor, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::archive;

/// How many bytes [`detect`] wants to see: one tar header.
pub const PREFIX_BYTES: usize = 512;

/// The most memory that an xz archive may ask for. `xz -9` needs 65 MiB.
pub const MAX_XZ_MEMORY_KIB: u32 = 256 << 10;

/// What a compressed file may unpack to, whatever its own length: images hold disks of zeros now and then.
pub const EXPANSION_FREE_BYTES: u64 = 64 << 30;

/// How many times its own length a file may unpack to beyond that. Programs shrink to a third.
pub const EXPANSION_MAX: u64 = 200;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A tar archive as it is.
    Tar,
    /// Gzip.
    Gzip,
    /// Bzip2.
    Bzip2,
    /// Xz.
    Xz,
    /// Zstandard.
    Zstd,
}

/// What a file is that begins with `prefix`; `None` when it is none of these. A whole tar header is needed to see a tar.
#[must_use]
pub fn detect(prefix: &[u8]) -> Option<Format> {
    match prefix {
        [0x1f, 0x8b, 0x08, ..] => Some(Format::Gzip),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Format::Bzip2),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Format::Xz),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Format::Zstd),
        _ => archive::is_header(prefix).then_some(Format::Tar),
    }
}

/// Decompresses `input` when it is compressed; passes it on otherwise. What unpacks to more than
/// [`EXPANSION_FREE_BYTES`] and [`EXPANSION_MAX`] times its own length is an error when it gets there.
pub fn decoder(input: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    bounded(input, EXPANSION_FREE_BYTES)
}

/// The same with another free length.
pub(super) fn bounded(mut input: Box<dyn Read + Send>, free: u64) -> io::Result<Box<dyn Read + Send>> {
    let mut prefix = Vec::with_capacity(PREFIX_BYTES);
    (&mut input).take(PREFIX_BYTES as u64).read_to_end(&mut prefix)?;
    let format = detect(&prefix);
    let input = Cursor::new(prefix).chain(input);
    let packed = Arc::new(AtomicU64::new(0));
    let input = Counted { inner: input, count: Arc::clone(&packed) };
    let inner: Box<dyn Read + Send> = match format {
        Some(Format::Gzip) => Box::new(flate2::read::MultiGzDecoder::new(input)),
        Some(Format::Bzip2) => Box::new(bzip2::read::MultiBzDecoder::new(input)),
        Some(Format::Xz) => Box::new(lzma_rust2::XzReader::new_mem_limit(input, true, MAX_XZ_MEMORY_KIB)),
        Some(Format::Zstd) => Box::new(zstd::stream::read::Decoder::new(input)?),
        Some(Format::Tar) | None => return Ok(Box::new(input.inner)),
    };
    Ok(Box::new(Bounded { inner, packed, unpacked: 0, free }))
}

/// A reader that counts, where others can see it.
#[derive(Debug)]
pub struct Counted<R> {
    /// What is read.
    pub inner: R,
    /// The bytes that were read so far.
    pub count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A decompressor that stops when nobody can mean what comes out of it.
struct Bounded<R> {
    inner: R,
    packed: Arc<AtomicU64>,
    unpacked: u64,
    free: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.unpacked += count as u64;
        let packed = self.packed.load(Ordering::Relaxed);
        if self.unpacked.saturating_sub(self.free) <= packed.saturating_mul(EXPANSION_MAX) {
            return Ok(count);
        }
        let (unpacked, free) = (self.unpacked, self.free);
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{packed} bytes of it unpack to {unpacked}: the limit is {free} bytes and {EXPANSION_MAX} times its length"
            ),
        ))
    }
}
