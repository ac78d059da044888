//! TLS for the registry, with certificates that were made once and are good for a hundred years.
//!
//! Made by `openssl`, see `certificates/make.sh`. Nothing but these tests trusts their authority.

use std::{io, net::TcpStream, sync::Arc};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::http::Stream;

/// The certificate of the authority that has signed all of [`Identity`], as PEM.
pub const TEST_AUTHORITY: &str = include_str!("certificates/authority.pem");

/// Which certificate the registry shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A good one for `localhost`, `127.0.0.1` and `registry.example`.
    Local,
    /// One for `other.example` only.
    OtherName,
    /// One for the names of [`Self::Local`] that expired in 2021.
    Expired,
}

impl Identity {
    fn pem(self) -> (&'static str, &'static str) {
        macro_rules! pair {
            ($name:literal) => {
                (
                    include_str!(concat!("certificates/", $name, ".pem")),
                    include_str!(concat!("certificates/", $name, ".key")),
                )
            };
        }
        match self {
            Self::Local => pair!("local"),
            Self::OtherName => pair!("other-name"),
            Self::Expired => pair!("expired"),
        }
    }
}

/// TLS over a connection that came in.
pub(super) fn serve(identity: Identity, socket: TcpStream) -> io::Result<Box<dyn Stream>> {
    let (certificate, key) = identity.pem();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(io::Error::other)?];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(io::Error::other)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(io::Error::other)?;
    let connection = ServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
    Ok(Box::new(StreamOwned::new(connection, socket)))
}
