//! What can go wrong with networks.

use std::io;
use std::net::SocketAddr;

/// Failures of network namespaces and published ports.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The namespace could not be made.
    #[error("cannot make a network namespace: {action}: {source}")]
    Create {
        /// What was being done.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The namespace could not be entered.
    #[error("cannot enter the network namespace: {source}")]
    Enter {
        /// The kernel's answer.
        source: io::Error,
    },
    /// A published port could not be opened on the host.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The asked address.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A connection into the namespace could not be made.
    #[error("cannot connect to {address} in the container: {source}")]
    Dial {
        /// The asked address.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
}
