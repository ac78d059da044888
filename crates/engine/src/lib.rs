//! The engine: from a Dockerfile and options to snapshots, images and containers.
//!
//! ```text
//! text ─ dockerfile ─▶ AST ─ plan ─▶ Plan ─ build ─▶ snapshots ─ image ─▶ local store / tar / directory / registry
//! ```
//!
//! Plain values go in and out at each arrow. What happens meanwhile is one stream of [`events`]. What the engine needs
//! from outside (base images, something that runs a process) it asks through [`ports`]; it never prints, never reads the
//! environment, never exits.

#![forbid(unsafe_code)]

pub mod blobs;
pub mod build;
mod cache;
pub mod cancel;
pub mod clock;
mod config_changes;
mod confined;
pub mod container;
pub mod context;
mod contexts;
pub mod error;
pub mod events;
pub mod export;
pub mod held;
pub mod image;
pub mod images;
pub mod import;
pub mod plan;
pub mod ports;
pub mod prune;
pub mod remote;
pub mod runner;
pub mod schedule;
pub mod shared;
mod side_by_side;
pub mod snapshot;
pub mod ssh;
mod steps;
pub mod survey;
mod upper;
pub mod why;

pub use cancel::{Cancel, CancelGuard};
pub use error::{Error, ErrorKind, Place};
pub use events::{Event, Events, Stamped};
pub use held::{Fetcher, Held};
pub use side_by_side::side_by_side;
pub use snapshot::Snapshot;
