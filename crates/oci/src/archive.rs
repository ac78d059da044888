//! Tar archives: written byte for byte as Go's `archive/tar` writes them, read from whoever wrote them.
//!
//! Go is the model because Docker, BuildKit and containerd are its users: what they read is what their library writes.
//! The reader knows ustar, PAX, GNU long names, both kinds of GNU sparse files and base-256 numbers, and refuses the rest
//! by name.

mod block;
mod name;
mod pax;
mod reader;
mod sparse;
mod writer;

pub use name::{OPAQUE_MARKER, WHITEOUT_PREFIX};
pub use reader::{
    Content, Item, ItemKind, MAX_ENTRIES, MAX_EXTENSION_BYTES, MAX_XATTR_BYTES, ReadArchiveError, Reader,
    Whiteouts,
};
pub use sparse::MAX_SPARSE_PIECES;
pub use writer::{EntryHeader, EntryKind, WriteArchiveError, Writer};

/// Whether `prefix` begins with the header of an archive's entry.
#[must_use]
pub fn is_header(prefix: &[u8]) -> bool {
    prefix.first_chunk().is_some_and(block::is_sealed)
}
