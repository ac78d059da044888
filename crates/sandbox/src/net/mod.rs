//! Network namespaces, their connection to the world, and published ports.

mod error;

pub use error::NetError;
