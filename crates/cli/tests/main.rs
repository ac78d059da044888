//! The one integration binary of the program: its style as a test, the command line, and end to end. Linking is what
//! costs time.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on says why and ends")]

mod commands;
mod counters;
mod e2e;
mod tidy;
