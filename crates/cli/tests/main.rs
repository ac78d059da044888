//! The one integration binary of the workspace's program: the style as a test, the command line, and end to end.

mod commands;
mod e2e;
mod tidy;
