//! What can go wrong.

use std::io;

use super::format::{MAX_BYTES, MAX_NAME_BYTES, MAX_TARGET_BYTES};

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
