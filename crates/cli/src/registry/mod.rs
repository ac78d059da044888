//! Registries: what the engine's ports ask of them, and what pushes to them.
//!
//! ```text
//! FROM name ─▶ named context ─▶ local store ─▶ RemoteImages ─▶ Client (made when first asked)
//!                                                  │  remembers: name → digest, manifest, config
//!                                                  └─▶ RepositoryBlobs: layers, when something needs them
//! ```

mod client;
mod push;
mod source;
mod web;

pub(crate) use client::{Registries, failed, settings};
pub(crate) use push::{push, push_image};
pub(crate) use source::{Ask, Found, RemoteImages};
pub(crate) use web::{Web, git_settings};
