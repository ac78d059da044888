//! The vocabulary of images: digests, references, image JSON, file trees, tar and compression.
//!
//! Everything here is pure: bytes, readers and writers go in and out; no disk, no network, no environment.

#![forbid(unsafe_code)]

pub mod digest;
pub mod tree;

pub use digest::{Blake3, Digest, Sha256};
pub use tree::{Entry, Kind, Meta, Time, Tree};
