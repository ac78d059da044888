//! Owners where the kernel knows one user only: a user namespace in which one id is mapped.
//!
//! There every file belongs to root of the sandbox, and the kernel refuses every other id before a file system sees it.
//! So a process beside each sandbox, the supervisor, answers the system calls that are about owners and identities: a
//! seccomp filter hands them over (user notification), from static programs too. Everything else goes the kernel's way.
//!
//! * [`ids`] — who a process is: rules of the set-id calls. A process carries its identity in a resource limit that has
//!   no meaning any more, so that forks and new programs inherit it from the kernel.
//! * [`mark`] — who owns a file: an attribute of the file itself, so that it stays through renames, links and copy-up.
//! * [`task`] — the calling process: its arguments, its paths.
//! * [`calls`] — the answers.
//!
//! Owners are told, not enforced: whoever a process says it is, the kernel knows it as root of the sandbox.

mod calls;
mod files;
mod ids;
mod kernel;
mod mark;
mod supervisor;
mod task;

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::PidfdFlags;

use crate::{seccomp, wire};

pub(crate) use mark::give;
pub(crate) use supervisor::start;

/// Says that every process of the sandbox may change what its root is, from the beginning.
const ROOTS_DIFFER: u8 = b'R';
/// Says that only chroot changes the root of a process.
const ROOT_IS_ONE: u8 = b'1';
/// The supervisor's answer.
const READY: &[u8] = b"ready";

/// Hands the calls of this process and all that it starts to the supervisor behind `socket`.
pub(crate) fn hand_over(socket: &OwnedFd, insecure: bool) -> Result<(), Errno> {
    // Not by its name in /proc, which an image or a mount may have covered.
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    let listener = seccomp::load_listener(&seccomp::owners())?;
    let about = if insecure { ROOTS_DIFFER } else { ROOT_IS_ONE };
    wire::send(socket, &[about], &[listener.as_fd(), own.as_fd()])?;
    drop(listener);
    let mut answer = [0; 8];
    match wire::receive(socket, &mut answer, &mut Vec::new())? {
        length if answer[..length] == *READY => Ok(()),
        _ => Err(Errno::PIPE),
    }
}
