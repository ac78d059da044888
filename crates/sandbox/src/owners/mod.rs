//! Owners where the kernel knows one user only: a user namespace in which one id is mapped.
//!
//! There every file belongs to root of the sandbox, and the kernel refuses every other id before a file system sees it.
//! So a process beside each sandbox, the supervisor, answers the system calls that are about owners and identities: a
//! seccomp filter hands them over (user notification), from static programs too. Everything else goes the kernel's way.
//!
//! * [`ids`] — who a process is: rules of the set-id calls. A process carries its identity in a resource limit that has
//!   no meaning any more, so that forks and new programs inherit it from the kernel.
//! * [`mark`] — who owns a file: an attribute of the file itself, so that it stays through renames, links and copy-up.
//! * [`rights`] — those of the supervisor.
//! * [`task`] — the calling process: its arguments, its paths.
//! * [`calls`] — the answers.
//! * [`door`] — sockets that wait for their network.
//!
//! Owners are told, not enforced: whoever a process says it is, the kernel knows it as root of the sandbox.

mod calls;
mod door;
mod files;
mod ids;
mod kernel;
mod mark;
mod rights;
mod supervisor;
mod task;

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::PidfdFlags;

use crate::spec::Spec;
use crate::{seccomp, wire};

pub(crate) use door::Door;
pub(crate) use mark::give;
pub(crate) use supervisor::start;

/// The supervisor's answer.
const READY: &[u8] = b"ready";

/// What the supervisor has to know of a sandbox.
struct About {
    /// Whether every process may change what its root is, from the beginning; else only chroot does.
    roots_differ: bool,
    /// The capabilities that its programs can have.
    capabilities: u64,
}

impl About {
    const BYTES: usize = 9;

    fn to_bytes(&self) -> Vec<u8> {
        [&[u8::from(self.roots_differ)][..], &self.capabilities.to_ne_bytes()].concat()
    }

    fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let [roots, capabilities @ ..] = bytes;
        Self { roots_differ: roots != 0, capabilities: u64::from_ne_bytes(capabilities) }
    }
}

/// Hands the calls of this process and all that it starts to the supervisor behind `socket`. When sockets are to wait,
/// gives galley's side of their door.
pub(crate) fn hand_over(socket: &OwnedFd, spec: &Spec) -> Result<Option<OwnedFd>, Errno> {
    // Not by its name in /proc, which an image or a mount may have covered.
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    let door = if spec.hold_sockets { Some(wire::packet_pair()?) } else { None };
    let listener = seccomp::load_listener(&seccomp::owners(spec.hold_sockets))?;
    let about = About { roots_differ: spec.insecure, capabilities: spec.capabilities.bits() };
    let door_inside = door.as_ref().map(|(inside, _)| inside.as_fd());
    let files: Vec<_> = [listener.as_fd(), own.as_fd()].into_iter().chain(door_inside).collect();
    wire::send(socket, &about.to_bytes(), &files)?;
    drop(listener);
    let mut answer = [0; 8];
    match wire::receive(socket, &mut answer, &mut Vec::new())? {
        length if answer[..length] == *READY => Ok(door.map(|(_, outside)| outside)),
        _ => Err(Errno::PIPE),
    }
}
