//! The store from outside: one binary, a module for each thing that is stored.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "tests fail by panicking and say when they are skipped"
)]

mod blobs;
mod check;
mod collect;
mod containers;
mod contexts;
mod crash;
mod erofs;
mod hostile;
mod images;
mod layers;
mod mounts;
mod opaque;
mod opening;
mod owning;
mod packed;
mod records;
mod remotes;
mod speed;
mod support;
mod trees;
mod unpack;
mod volumes;
