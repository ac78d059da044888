//! The client: what can be asked of registries.

use galley_oci::{Digest, Reference};

use crate::{Options, RegistryError};

/// Talks to registries. Cheap to clone; connections and tokens are shared by all clones.
#[derive(Clone, Debug)]
pub struct Client {
    #[expect(dead_code, reason = "used by what comes next")]
    options: std::sync::Arc<Options>,
}

/// A manifest or index as the registry keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it is.
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// How a blob came to be in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uploaded {
    /// It was there.
    Present,
    /// The registry took it from this other repository of its own.
    Mounted(Reference),
    /// Its bytes were sent.
    Sent,
}

impl Client {
    /// A client with these options.
    pub fn new(options: Options) -> Result<Self, RegistryError> {
        Ok(Self { options: std::sync::Arc::new(options) })
    }
}
