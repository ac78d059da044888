//! Tests of the crate against what other programs wrote, and its speed.

mod archive_foreign;
mod archive_go;
mod helpers;
mod image_buildkit;
mod layer_buildkit;
