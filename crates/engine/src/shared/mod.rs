//! The build cache that travels: records and layers of finished steps, written for other machines and read from them.
//!
//! ```text
//! plan + built ─ export::pack ─▶ PackedImage ─▶ folder, or a registry
//! manifest + config + BlobSource ─ Cache::open ─▶ Caches: RecordSource ─▶ build
//! ```
//!
//! A cache is an OCI manifest: its config is a [`document`], its layers are blobs of steps. An image can carry the same
//! document in its own config (`inline`); then its own layers are the blobs. docs/internals/cache-format.md has the
//! format.
//!
//! Nothing of a cache has to be true: blobs are checked against their digests, layers against their ids, and whatever
//! cannot be had is forgotten and built again. That a step makes the layer which a record names is believed: whoever may
//! write a cache decides what comes out of builds that read it.

mod document;
mod export;
mod folder;
mod import;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    document::{BUILDKIT_KEY, KEY},
    export::inline,
};
pub use self::{
    export::{CacheOptions, Extent, pack},
    folder::{CacheFolder, DEFAULT_TAG, write},
    import::{Cache, Caches, remember},
};
