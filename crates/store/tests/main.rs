//! The store from outside: one binary, a module for each thing that is stored.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod blobs;
mod containers;
mod contexts;
mod crash;
mod hostile;
mod images;
mod layers;
mod mounts;
mod opening;
mod records;
mod support;
mod trees;
mod unpack;
