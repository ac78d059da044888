//! The JSON documents of an image: manifest, index, configuration.
//!
//! A document that has a digest is kept as raw bytes by whoever fetched it and never written again from these types,
//! which are for reading, and for writing new documents: then with the bytes that BuildKit would write.

mod config;
mod go_json;
mod lenient;
mod manifest;
#[cfg(test)]
mod tests;

pub use config::{Healthcheck, History, ImageConfig, RootFs, RunConfig};
pub use go_json::{to_compact, to_indented};
pub use manifest::{Descriptor, Index, Manifest};

/// The longest document that is parsed. Manifests and configurations have a few KiB; inline caches make them larger.
pub const MAX_DOCUMENT_BYTES: usize = 8 << 20;

/// Why bytes are no such document.
#[derive(Debug, thiserror::Error)]
pub enum ParseDocumentError {
    /// Above [`MAX_DOCUMENT_BYTES`].
    #[error("the {kind} has {bytes} bytes, more than the {MAX_DOCUMENT_BYTES} that are accepted")]
    TooLong {
        /// What was to be read.
        kind: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// Not JSON, or not of this shape.
    #[error("the {kind} is malformed")]
    Malformed {
        /// What was to be read.
        kind: &'static str,
        /// What is wrong, and where.
        #[source]
        source: serde_json::Error,
    },
}

fn parse<'a, T: serde::Deserialize<'a>>(
    kind: &'static str,
    bytes: &'a [u8],
) -> Result<T, ParseDocumentError> {
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(ParseDocumentError::TooLong { kind, bytes: bytes.len() });
    }
    serde_json::from_slice(bytes).map_err(|source| ParseDocumentError::Malformed { kind, source })
}
