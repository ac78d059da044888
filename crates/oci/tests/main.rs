//! Tests of the crate against what other programs wrote, and its speed.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panicking, measurements print")]

mod archive_foreign;
mod archive_go;
mod helpers;
mod image_buildkit;
mod layer_buildkit;
mod speed;
