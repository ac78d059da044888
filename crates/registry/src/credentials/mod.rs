//! Who logs in where.

use crate::{RegistryError, Secret};

/// Where credentials are kept.
#[derive(Clone, Debug, Default)]
pub struct Credentials {}

/// What a registry is told about who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    #[default]
    Anonymous,
    /// A name and a password, or an access token in its place.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token that the registry's token server handed out at login.
    IdentityToken(Secret),
}

impl Credentials {
    /// What to tell `registry` when asking for `repository`. [`Credential::Anonymous`] when nothing is kept.
    pub fn get(&self, _registry: &str, _repository: &str) -> Result<Credential, RegistryError> {
        Ok(Credential::Anonymous)
    }
}
