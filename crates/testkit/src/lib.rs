//! Fixtures and fakes for galley's own tests. A dev-dependency only; nothing here reaches the product.

#![forbid(unsafe_code)]

mod agent;
mod environment;
mod faults;
mod layout;
mod programs;
pub mod registry;
mod rootfs;
pub mod web;

pub use agent::FakeAgent;
pub use environment::TestEnv;
pub use faults::{Meddle, Meddler};
pub use layout::{ARCHITECTURE, Machine, write_layout, write_platforms};
pub use programs::{install, install_script};
pub use rootfs::{BUSYBOX, TarEntry, busybox_rootfs, rootfs_tar};
