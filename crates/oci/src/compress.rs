//! Compression of layers and archives.

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
