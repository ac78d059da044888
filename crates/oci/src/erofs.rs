//! Packed layers: one layer as one EROFS file, which the kernel mounts as it is.
//!
//! Written in one go: the contents of files as they come, each from a block's start, then, when the whole tree is known,
//! inodes, attributes and directories, and last the superblock, without which the file is none. What of EROFS is used, and
//! why, says docs/internals/packed-layers.md. The same contents in the same order and the same tree give the same bytes.

mod check;
mod directory;
mod error;
mod format;
mod layout;
mod metadata;
mod read_at;
mod reader;
mod sink;
mod special;
#[cfg(test)]
mod tests;
mod walk;
mod window;
mod writer;
mod xattrs;

pub use error::{ReadErofsError, WriteErofsError};
pub use format::{BLOCK_BYTES, MAX_BYTES, MAX_NAME_BYTES, MAX_TARGET_BYTES};
pub use read_at::ReadAt;
pub use reader::{FileContent, Reader, Record, RecordKind, Runs};
pub use walk::{MAX_XATTR_BYTES, Walk};
pub use writer::{Content, NewFile, Writer};
