//! The client against a registry that can be told to lie, break and be slow. What of the distribution specification is
//! shown where is listed in `conformance.md`.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod auth;
mod blobs;
mod chaos;
mod files;
mod manifests;
mod mirrors;
mod pushes;
mod redirects;
mod referrers;
mod retries;
mod stopping;
mod support;
mod tls;
mod uploads;
