//! The client: what can be asked of registries.

use std::sync::Arc;

use galley_oci::{Digest, Reference};

use crate::{Credential, Limits, Options, RegistryError, session::Session};

/// Talks to registries. Cheap to clone; connections and tokens are shared by all clones.
///
/// Everything here waits for the network, tries again after failures that pass, and ends with
/// [`RegistryError::Stopped`] soon after the caller wants to stop.
#[derive(Clone, Debug)]
pub struct Client {
    session: Arc<Session>,
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
        let printable = options.user_agent.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if !printable {
            let reason = "it has characters that no header may have".to_owned();
            return Err(RegistryError::Setting { what: "user agent".to_owned(), reason });
        }
        Ok(Self { session: Arc::new(Session::new(options)) })
    }

    /// Whether `registry` (`docker.io`, `host:port`) lets `credential` in. Some registries hand out a token that is to be
    /// kept in the password's place.
    pub fn try_login(
        &self,
        registry: &str,
        credential: &Credential,
    ) -> Result<Option<String>, RegistryError> {
        let reference =
            Reference { registry: registry.to_owned(), repository: String::new(), tag: None, digest: None };
        let endpoint = self.session.home(&reference)?;
        let token = self.session.try_login(&endpoint, credential)?;
        Ok(token.map(|token| token.reveal().to_owned()).filter(|token| !token.is_empty()))
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.session.options.limits
    }
}
