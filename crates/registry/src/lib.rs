//! The distribution client: pulls from and pushes to registries by the OCI distribution specification 1.1.
//!
//! Blocking, and the only crate with HTTP and TLS. It never asks the environment: whoever starts it says where settings
//! are ([`Hosts`], [`Credentials`], [`Certificates`], [`Proxies`]) and when to stop ([`Stop`]).
//!
//! | what | where |
//! |---|---|
//! | what can be asked | [`Client`] |
//! | bounds on patience and memory | [`Limits`] |
//! | which server answers for a name | [`Hosts`], [`Endpoint`] |
//! | who logs in, and what must not be printed | [`Credentials`], [`Secret`] |
//! | where all these look for their files and variables | [`Environment`] |
//! | a file at any URL | [`FileRequest`] |
//! | a Docker engine on this machine | [`Engine`] |
//! | why something failed | [`RegistryError`], [`Kind`] |

#![forbid(unsafe_code)]

mod answer;
mod auth;
mod certificates;
mod challenge;
mod client;
mod credentials;
mod docker_engine;
mod download;
mod environment;
mod error;
mod file;
mod hosts;
mod http;
mod manifests;
mod options;
mod proxy;
mod referrers;
mod retry;
mod secret;
mod session;
mod settings_file;
mod socket;
mod transport;
mod upload;
mod url;

pub use certificates::Certificates;
pub use client::{Client, Document, Uploaded};
pub use credentials::{Credential, Credentials, Forgotten, Kept, ReadableByOthers};
pub use docker_engine::Engine;
pub use download::BlobReader;
pub use environment::Environment;
pub use error::{Kind, RegistryError};
pub use file::{FileAnswer, FileRequest, FileSink};
pub use hosts::{Endpoint, Hosts, PullBy};
pub use options::{Limits, Options, Stop};
pub use proxy::{Proxies, Proxy};
pub use secret::Secret;
