//! Running this program again as root of a new user namespace.

use std::ffi::{CString, OsString};
use std::io::{self, PipeReader, PipeWriter, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, WaitId, WaitIdOptions};

use super::UserNsError;
use super::maps::{IdMaps, IdRange};
use crate::exe;
use crate::outcome::Exit;
use crate::sys::{self, CStringArray, Fork};

/// Set in the environment of the program that runs inside.
pub const MARKER: &str = "GALLEY_USER_NAMESPACE";

/// Signals for the program inside. Those that the terminal sends reach it anyway, being in the same group.
const FORWARDED: [i32; 5] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGWINCH];

/// Whether this process was started by [`enter_and_reexec`].
pub fn entered() -> bool {
    std::env::var_os(MARKER).is_some() && super::in_user_namespace()
}

/// Runs this program again with these arguments (the name first) and this environment (and [`MARKER`]) as root of a
/// new user namespace with a mount namespace of its own, and waits for its end.
///
/// The calling thread has to live until then: when it ends, the program inside is killed.
pub fn enter_and_reexec(
    maps: &IdMaps,
    args: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Exit, UserNsError> {
    let program = exe::pinned().map_err(failed("open own program"))?;
    let args = c_array(args.into_iter())?;
    let marked = env.into_iter().filter(|(name, _)| name != MARKER).chain([(MARKER.into(), "1".into())]);
    let env = c_array(marked.map(|(name, value)| [name, value].join("=".as_ref())))?;
    let (gate, opener) = io::pipe().map_err(failed("make a pipe"))?;
    let namespaces = (libc::CLONE_NEWUSER | libc::CLONE_NEWNS) as u64;
    // SAFETY: everything that needs memory was made above; the child makes system calls until it executes.
    let fork = unsafe { sys::fork_into(namespaces) };
    match fork.map_err(|source| UserNsError::Refused { source })? {
        Fork::Child => wait_and_execute(&gate, opener, program.as_fd(), &args, &env),
        Fork::Parent { pid, pidfd } => {
            drop(gate);
            if let Err(error) = write_maps(pid, maps).and_then(|()| open_gate(opener)) {
                let _ = sys::pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
                let _ = wait(&pidfd);
                return Err(error);
            }
            forward_until_end(&pidfd)
        }
    }
}

/// Whether these maps can be written, found out with a process that does nothing else; takes some milliseconds.
pub fn try_maps(maps: &IdMaps) -> Result<(), UserNsError> {
    let (gate, opener) = io::pipe().map_err(failed("make a pipe"))?;
    // SAFETY: the child makes system calls only.
    let fork = unsafe { sys::fork_into(libc::CLONE_NEWUSER as u64) };
    match fork.map_err(|source| UserNsError::Refused { source })? {
        Fork::Child => {
            drop(opener);
            let _ = rustix::io::read(&gate, &mut [0_u8]);
            sys::exit_now(0)
        }
        Fork::Parent { pid, pidfd } => {
            let written = write_maps(pid, maps);
            // Which ends the child.
            drop(opener);
            wait(&pidfd)?;
            written
        }
    }
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> UserNsError {
    move |source| UserNsError::Enter { action, source }
}

fn c_array(strings: impl Iterator<Item = OsString>) -> Result<CStringArray, UserNsError> {
    let strings: Result<Vec<CString>, _> = strings.map(|string| CString::new(string.as_bytes())).collect();
    Ok(CStringArray::new(strings.map_err(|error| failed("pass arguments on")(error.into()))?))
}

/// After the fork: only system calls.
fn wait_and_execute(
    gate: &PipeReader,
    opener: PipeWriter,
    program: BorrowedFd<'_>,
    args: &CStringArray,
    env: &CStringArray,
) -> ! {
    drop(opener);
    let tied = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    // The end of the pipe without a byte means that the parent failed, or died before the line above.
    if tied && rustix::io::read(gate, &mut [0_u8]) == Ok(1) {
        sys::exec_file(program, args, env);
    }
    sys::exit_now(127)
}

fn open_gate(mut opener: PipeWriter) -> Result<(), UserNsError> {
    opener.write_all(b"x").map_err(failed("let the child go"))
}

fn write_maps(pid: i32, maps: &IdMaps) -> Result<(), UserNsError> {
    if maps.is_alone() {
        return write_alone(pid, maps).map_err(failed("map the user alone"));
    }
    run_helper("newuidmap", pid, &maps.uids)?;
    run_helper("newgidmap", pid, &maps.gids)
}

/// Everybody may map itself, but give up for it to leave groups.
fn write_alone(pid: i32, maps: &IdMaps) -> io::Result<()> {
    let text = |ranges: &[IdRange]| {
        let lines =
            ranges.iter().map(|range| format!("{} {} {}\n", range.inside, range.outside, range.count));
        lines.collect::<String>()
    };
    fs_err::write(format!("/proc/{pid}/setgroups"), "deny")?;
    fs_err::write(format!("/proc/{pid}/uid_map"), text(&maps.uids))?;
    fs_err::write(format!("/proc/{pid}/gid_map"), text(&maps.gids))
}

fn run_helper(program: &'static str, pid: i32, ranges: &[IdRange]) -> Result<(), UserNsError> {
    let numbers = ranges.iter().flat_map(|range| [range.inside, range.outside, range.count]);
    let output =
        Command::new(program).arg(pid.to_string()).args(numbers.map(|number| number.to_string())).output();
    let output = output.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => UserNsError::NoHelper { program },
        _ => UserNsError::Helper { program, message: source.to_string() },
    })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(UserNsError::Helper { program, message })
}

fn wait(pidfd: &OwnedFd) -> Result<Exit, UserNsError> {
    let status = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
    });
    let status = status.map_err(|error| failed("wait for the child")(error.into()))?;
    let signal = || status.as_ref().and_then(|status| status.terminating_signal());
    match status.as_ref().and_then(|status| status.exit_status()) {
        Some(code) => Ok(Exit::Code(code)),
        None => Ok(Exit::Signal(signal().unwrap_or(libc::SIGKILL))),
    }
}

/// Passes signals on that were meant for galley and were sent to this process.
fn forward_until_end(pidfd: &OwnedFd) -> Result<Exit, UserNsError> {
    let signals = sys::signal_file(&FORWARDED).map_err(failed("wait for signals"))?;
    loop {
        let mut polled = [PollFd::new(pidfd, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut polled, None))
            .map_err(|error| failed("wait for the child")(error.into()))?;
        if !polled[0].revents().is_empty() {
            return wait(pidfd);
        }
        while let Some(arrived) = sys::read_signal(signals.as_fd()) {
            if !arrived.by_kernel {
                let _ = sys::pidfd_signal(pidfd.as_fd(), arrived.signal);
            }
        }
    }
}
