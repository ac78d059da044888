//! The client against a registry that can be told to lie, break and be slow. What of the distribution specification is
//! shown where is listed in `conformance.md`.

mod blobs;
mod manifests;
mod retries;
mod support;
