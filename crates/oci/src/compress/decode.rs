//! Decoding whatever it is.

use std::io::{self, Cursor, Read};

use crate::archive;

/// How many bytes [`detect`] wants to see: one tar header.
pub const PREFIX_BYTES: usize = 512;

/// The most memory that an xz archive may ask for. `xz -9` needs 65 MiB.
pub const MAX_XZ_MEMORY_KIB: u32 = 256 << 10;

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

/// Decompresses `input` when it is compressed; passes it on otherwise.
pub fn decoder(mut input: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut prefix = Vec::with_capacity(PREFIX_BYTES);
    (&mut input).take(PREFIX_BYTES as u64).read_to_end(&mut prefix)?;
    let format = detect(&prefix);
    let input = Cursor::new(prefix).chain(input);
    Ok(match format {
        Some(Format::Gzip) => Box::new(flate2::read::MultiGzDecoder::new(input)),
        Some(Format::Bzip2) => Box::new(bzip2::read::MultiBzDecoder::new(input)),
        Some(Format::Xz) => Box::new(lzma_rust2::XzReader::new_mem_limit(input, true, MAX_XZ_MEMORY_KIB)),
        Some(Format::Zstd) => Box::new(zstd::stream::read::Decoder::new(input)?),
        Some(Format::Tar) | None => Box::new(input),
    })
}
