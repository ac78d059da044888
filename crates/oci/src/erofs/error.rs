//! What can go wrong.

use std::io;

use super::format::{MAX_BYTES, MAX_NAME_BYTES, MAX_TARGET_BYTES};
#[cfg(doc)]
use crate::tree::{MAX_PATH_BYTES, MAX_TREE_PATH_BYTES};

/// Why a layer cannot be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteErofsError {
    /// The file that it is written to fails.
    #[error("cannot write the packed layer: {0}")]
    Write(#[from] io::Error),
    /// A tree without root, or with an entry whose directory is not in it.
    #[error("cannot pack {path}: the tree does not have the directory that it is in")]
    NoDirectory {
        /// The entry.
        path: String,
    },
    /// Longer than any file system of Linux has names.
    #[error("cannot pack {path}: its name is longer than {MAX_NAME_BYTES} bytes")]
    NameTooLong {
        /// The entry.
        path: String,
    },
    /// Empty, or longer than Linux follows.
    #[error("cannot pack {path}: the target of a symbolic link must have 1 to {MAX_TARGET_BYTES} bytes")]
    BadTarget {
        /// The entry.
        path: String,
    },
    /// Capabilities that Linux would not have let anybody give to a file.
    #[error("cannot pack {path}: its capabilities have neither version 2 nor version 3")]
    BadCapability {
        /// The entry.
        path: String,
    },
    /// The caller has no content for a file, or one of another length.
    #[error("cannot pack {path}: it has {size} bytes, but {given} were written")]
    WrongContent {
        /// The entry.
        path: String,
        /// Its length in the tree.
        size: u64,
        /// The length of the content.
        given: u64,
    },
    /// More than the addresses of its blocks reach.
    #[error("cannot pack the layer: it would have more than {MAX_BYTES} bytes")]
    TooLarge,
}

/// Why a packed layer cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadErofsError {
    /// The file fails.
    #[error("cannot read the packed layer: {0}")]
    Read(#[from] io::Error),
    /// No superblock: another file, or one whose writing was never finished.
    #[error("this is no packed layer, or one that was not written to its end")]
    NotErofs,
    /// The superblock's checksum is another.
    #[error("the packed layer is damaged: the checksum of its superblock is wrong")]
    Checksum,
    /// EROFS, but not as a packed layer is.
    #[error(
        "this EROFS file was not written by galley: its superblock names features that packed layers do not have"
    )]
    Foreign,
    /// Something in it cannot be.
    #[error("the packed layer is damaged: inode {inode}: {what}")]
    Damaged {
        /// Which inode.
        inode: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// More than [`super::MAX_XATTR_BYTES`], [`MAX_PATH_BYTES`] or [`MAX_TREE_PATH_BYTES`].
    #[error("the packed layer has more than {limit} bytes of {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// It holds something else than the tree that it should hold.
    #[error("the packed layer does not hold what its tree says: {path}: {what}")]
    Different {
        /// The first file that differs.
        path: String,
        /// In what it differs.
        what: &'static str,
    },
}
