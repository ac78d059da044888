//! Real sandboxes on the real kernel.
//!
//! The binary is its own helper process, so it has its own `main` that calls [`galley_sandbox::init`] first, and a
//! small runner: `cargo test -p galley-sandbox --test main [FILTER]`. Tests named `privileged_*` need root; where the
//! kernel or the user refuses, they are skipped, loudly. One of them runs all of the others again as an ordinary user.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program prints, and a panic is how a test fails"
)]

mod ahead;
mod cgroup;
mod chroot;
mod crash;
mod errnos;
mod escape;
mod fixture;
mod gate;
mod guarded;
mod net;
mod owners;
mod process;
mod roots;
mod runner;
mod service;
mod user;

fn main() -> std::process::ExitCode {
    galley_sandbox::init();
    crash::run_victim();
    if let Some(code) = errnos::enter()
        .or_else(chroot::enter)
        .or_else(guarded::enter)
        .or_else(cgroup::enter)
        .or_else(user::enter)
    {
        return code;
    }
    runner::run(&[
        process::TESTS,
        roots::TESTS,
        ahead::TESTS,
        net::TESTS,
        gate::TESTS,
        owners::TESTS,
        errnos::TESTS,
        crash::TESTS,
        cgroup::TESTS,
        chroot::TESTS,
        guarded::TESTS,
        service::TESTS,
        escape::TESTS,
        user::TESTS,
    ])
}
