//! `--init`: the first process of a sandbox starts the program, passes signals on to it, and reaps what others leave behind.
//!
//! It is this very process, which has been restricted like the program by then; it ends as the program does.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal};

use super::exec::Program;
use super::last::LastFilter;
use super::step::Step as _;
use crate::error::{ExecError, SetupError, SetupStep};
use crate::outcome::Exit;
use crate::sys;

/// What a filter of system calls has to allow to this process.
pub const CALLS: [&str; 5] = ["read", "ppoll", "wait4", "kill", "exit_group"];
/// The largest number of a signal.
const SIGNAL_MAX: i32 = 64;
/// What this process does itself, or must not be kept from.
const OWN: [i32; 9] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGSEGV,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGBUS,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
];

/// Starts the program; returns only why exec did not happen.
pub(crate) fn run(program: Program, terminal: bool) -> Result<ExecError, SetupError> {
    let passed: Vec<i32> = (1..=SIGNAL_MAX).filter(|signal| !OWN.contains(signal)).collect();
    let signals = sys::signal_file(&passed).step(SetupStep::CloneProcess)?;
    // Before there is anybody who could look into this process, which still has open what galley gave it.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .step(SetupStep::CloneProcess)?;
    // SAFETY: this process has one thread.
    match unsafe { sys::fork_filtered() }.step(SetupStep::CloneProcess)? {
        None => {
            // A group of its own: keys on the terminal are for the program alone, once.
            let _ = rustix::process::setpgid(None, None);
            if terminal {
                let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpgrp());
            }
            sys::reset_signals(&sys::all_signals());
            program.exec()
        }
        Some(pid) => {
            // The socket that tells of exec is the program's now. A descriptor of the file of signals stays.
            let _ = sys::place_descriptor(signals.as_fd(), SIGNALS);
            sys::close_from(SIGNALS as u32 + 1);
            std::mem::forget(signals);
            // As for the program, which may be able to take this process over.
            program.filter().map_or(Ok(()), LastFilter::load_and_stay)?;
            watch(pid)
        }
    }
}

/// Where the file of signals is, behind the three streams.
const SIGNALS: i32 = 3;

fn watch(program: i32) -> ! {
    // SAFETY: placed there by `run`, which keeps no owner of it.
    let signals = unsafe { sys::adopt_descriptor(SIGNALS) };
    loop {
        while let Some(ended) = sys::reap_any() {
            if ended.pid == program {
                sys::exit_now(Exit::from_wait_status(ended.status).code());
            }
        }
        let _ = poll(&mut [PollFd::new(&signals, PollFlags::IN)], None);
        while let Some(arrived) = sys::read_signal(signals.as_fd()) {
            pass_on(arrived.signal, program);
        }
    }
}

fn pass_on(signal: i32, program: i32) {
    // These are about this process: its children, and its use of a terminal that is the program's.
    if matches!(signal, libc::SIGCHLD | libc::SIGTTIN | libc::SIGTTOU) {
        return;
    }
    // SAFETY: the signal came from the kernel, so it is one it knows; real-time ones have no name here.
    let signal = unsafe { Signal::from_raw_unchecked(signal) };
    if let Some(program) = Pid::from_raw(program) {
        let _ = rustix::process::kill_process(program, signal);
    }
}
