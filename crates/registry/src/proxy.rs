//! Which proxy to go through.

use crate::Secret;

/// The proxies that settings name.
#[derive(Clone, Debug, Default)]
pub struct Proxies {}

/// An HTTP proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The value of `Proxy-Authorization`, when its address has a name and password.
    pub authorization: Option<Secret>,
}

impl Proxies {
    /// The proxy for a connection to `host` and `port`; none when it is to be direct.
    #[must_use]
    pub fn get(&self, _https: bool, _host: &str, _port: u16) -> Option<Proxy> {
        None
    }
}
