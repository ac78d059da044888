//! The vocabulary of images: digests, references, image JSON, file trees, tar and compression.
//!
//! Everything here is pure: bytes, readers and writers go in and out; no disk, no network, no environment.
//!
//! | what | where |
//! |---|---|
//! | files, described | [`tree`]; several layers of them seen as one: [`stack`]; the smallest layer between two: [`minimal()`] |
//! | what things are called | [`digest`], [`reference`], [`platform`], [`media_type`], [`time`] |
//! | documents | [`image`] |
//! | bytes | [`archive`], [`layer`], [`compress`]; all at once: [`sink`]; a layer as one mountable file: [`erofs`] |

#![forbid(unsafe_code)]

pub mod archive;
pub mod compress;
pub mod digest;
pub mod erofs;
pub mod image;
pub mod layer;
pub mod media_type;
pub mod minimal;
pub mod platform;
pub mod reference;
pub mod sink;
pub mod stack;
pub mod stand_in;
#[cfg(test)]
mod testing;
pub mod time;
pub mod tree;

pub use digest::{Blake3, Digest, Sha256};
pub use image::{Descriptor, Healthcheck, History, ImageConfig, Index, Manifest, RootFs, RunConfig};
pub use layer::{FileContents, TimePolicy, write_layer};
pub use minimal::minimal;
pub use platform::Platform;
pub use reference::Reference;
pub use sink::{BlobOptions, LayerBlob, LayerSink};
pub use stack::{Found, Last, ResolveError, Stack};
pub use time::Time;
pub use tree::{Entry, Kind, Meta, Tree};
