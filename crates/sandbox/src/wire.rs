//! Messages with open files between galley and its helper process.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use crate::error::{ExecError, SetupError};
use crate::outcome::{MadeMountPoint, Outcome};

/// The descriptor number at which the helper process finds its control socket.
pub(crate) const CONTROL: i32 = 3;
/// Open files in one message: the spec, two sockets, three streams, the network namespace.
pub(crate) const FILES_MAX: usize = 7;

/// The longest request, without its files.
pub(crate) const REQUEST_MAX: usize = 1 + size_of::<i32>() + crate::cgroup::PLAN_MAX;

/// The helper process's first message, when it is ready; any other is the text of an error.
pub(crate) const READY: &[u8] = b"ready";
/// The first byte of a request: run a sandbox.
pub(crate) const SANDBOX: u8 = b'S';
/// The first byte of a request: run a sandbox in a cgroup of its own, below the one whose path follows.
pub(crate) const PLACED: u8 = b'P';
/// The first byte of a request: run a sandbox in the cgroup whose plan follows.
pub(crate) const PLANNED: u8 = b'L';
/// The first byte of a request: run another process in the sandbox whose number follows.
pub(crate) const JOIN: u8 = b'J';
/// The first byte of a request: run a program of the host beside the sandboxes.
pub(crate) const HELPER: u8 = b'H';

/// The first byte of a request: make the cgroups of the plan, which follows the number of a sandbox that runs, for that one too.
/// Who joins it enters them from then on. Where that is told comes along.
pub(crate) const PLACE: u8 = b'M';
/// The first byte of a request, which is otherwise the same: remove them again.
pub(crate) const DISPLACE: u8 = b'U';

/// The first byte of a request: make the next sandbox ahead, in the network namespace that comes along.
pub(crate) const AHEAD: u8 = b'A';

/// The first byte of a request: keep the file that comes along open as long as anything of a sandbox may run.
pub(crate) const KEEP: u8 = b'K';

/// What the helper process reports about one child over its status socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Status {
    /// It exists, with this number for the helper process; its pidfd comes along.
    Started {
        /// The process id there.
        number: i32,
    },
    /// It could not even be cloned, or its cgroup not be made.
    NotStarted(SetupError),
    /// It has ended.
    Ended(Outcome),
    /// It runs on, in other cgroups or soon to be moved there.
    Placed,
}

/// What a child reports about itself over its setup socket; the socket closes at exec.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Setup {
    /// Everything stands, exec comes next; the master of the terminal may come along.
    Ready { made: Vec<MadeMountPoint> },
    /// Sockets wait; where comes along. It may be the supervisor of owners that holds them.
    Holds { supervised: bool },
    /// A filter comes next that may forbid to say more; where a last word is left comes along (crate::note).
    Note,
    /// It does not stand.
    Failed(SetupError),
    /// Exec failed.
    Exec(ExecError),
}

/// A pair of connected sockets that keep message boundaries.
pub(crate) fn packet_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// A pair of connected byte streams.
pub(crate) fn stream_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// Sends bytes (not empty) and open files together.
pub fn send(socket: impl AsFd, bytes: &[u8], files: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(Errno::TOOBIG);
    }
    rustix::io::retry_on_intr(|| {
        sendmsg(socket.as_fd(), &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
    })
}

/// Receives into `buffer` and appends the open files that come along; 0 bytes mean that the other side is gone.
pub fn receive(socket: impl AsFd, buffer: &mut [u8], files: &mut Vec<OwnedFd>) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(socket.as_fd(), &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            files.extend(more);
        }
    }
    Ok(received.bytes)
}
