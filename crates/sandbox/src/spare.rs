//! The next sandbox, made before it is asked for.
//!
//! Most of the set-up of a sandbox is the same for all steps of a build. A spare one is a child that has done that part
//! and waits for the request; the helper process passes it on. Whatever in the request wants another set-up is made
//! anew by the child, so a spare is never wrong, only of less use.

use std::os::fd::{AsFd, OwnedFd};

use crate::setup::{Ahead, Request};
use crate::sys::{self, Fork};
use crate::wire;
use crate::zygote::Inherited;

/// A child that waits for its request.
#[derive(Debug)]
pub(crate) struct Spare {
    pid: i32,
    pidfd: OwnedFd,
    /// Where it waits.
    socket: OwnedFd,
    network: Option<Identity>,
}

/// Device and inode of a network namespace: there is no other with these as long as it is held open.
type Identity = (u64, u64);

impl Spare {
    /// Forks one, in the network of its requests to come. Without it the next sandbox is made when it is asked for.
    pub(crate) fn make(network: Option<&OwnedFd>, inherited: &Inherited) -> Option<Self> {
        let (socket, theirs) = wire::packet_pair().ok()?;
        let identity = identity(network)?;
        // SAFETY: the helper process has one thread, so the child may do what it likes.
        match unsafe { sys::fork_into(Request::sandbox_namespaces()) }.ok()? {
            Fork::Child => {
                // The end of the helper process has to be seen here.
                drop(socket);
                Ahead::make(network, inherited).serve(&theirs, inherited)
            }
            Fork::Parent { pid, pidfd } => Some(Self { pid, pidfd, socket, network: identity }),
        }
    }

    /// Whether it is in this network.
    pub(crate) fn is_in(&self, network: Option<&OwnedFd>) -> bool {
        identity(network) == Some(self.network)
    }

    /// Has it become the child of a request; `None` when it is gone.
    pub(crate) fn take_over(self, request: &Request) -> Option<Fork> {
        wire::send(&self.socket, &[wire::SANDBOX], &request.files()).ok()?;
        Some(Fork::Parent { pid: self.pid, pidfd: self.pidfd })
    }
}

/// `None` when it cannot be found out.
fn identity(network: Option<&OwnedFd>) -> Option<Option<Identity>> {
    let Some(network) = network else { return Some(None) };
    let stat = rustix::fs::fstat(network.as_fd()).ok()?;
    Some(Some((stat.st_dev, stat.st_ino)))
}
