//! galley builds multi-stage Dockerfiles into small OCI images, with no daemon and no root, and runs them.

#![forbid(unsafe_code)]

mod app;
mod args;
mod collect;
mod commands;
mod context;
mod diff;
mod display;
mod environment;
mod exit;
mod failure;
mod human;
mod lock;
mod message;
mod namespace;
mod page;
mod ports;
mod registry;
mod signals;
mod story;
mod table;
mod template;

fn main() -> std::process::ExitCode {
    galley_sandbox::init();
    app::run()
}
