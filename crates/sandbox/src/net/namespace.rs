//! A network namespace that several sandboxes share.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::NetError;
use super::pasta::{self, Pasta};
use crate::spawner::Spawner;
use crate::sys;

/// How much of the world a sandbox reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// It shares the host's network.
    Host,
    /// `pasta` connects it: everything the host reaches, but not the host's own loopback.
    Pasta,
    /// Nothing but itself.
    LoopbackOnly {
        /// Why `pasta` does not connect it.
        reason: String,
    },
}

/// A network namespace, held by this process; sandboxes join it with
/// [`Network::Shared`](crate::Network::Shared) and [`Handles::netns`](crate::Handles).
#[derive(Debug)]
pub struct NetNs {
    namespace: OwnedFd,
    connectivity: Connectivity,
    _pasta: Option<Pasta>,
}

impl NetNs {
    /// Makes a namespace with nothing but loopback.
    pub fn isolated() -> Result<Self, NetError> {
        let connectivity = Connectivity::LoopbackOnly { reason: "no network was asked for".to_owned() };
        Ok(Self { namespace: new_namespace()?, connectivity, _pasta: None })
    }

    /// Makes a namespace and connects it.
    pub fn connected(spawner: &Spawner) -> Result<Self, NetError> {
        Ok(Self::isolated()?.connect(spawner))
    }

    /// Lets `pasta` connect it, where that is possible; [`NetNs::connectivity`] tells.
    ///
    /// `pasta` runs until the value is dropped, or galley ends.
    #[must_use]
    pub fn connect(self, spawner: &Spawner) -> Self {
        let (connectivity, pasta) = match pasta::start(spawner, self.namespace.as_fd()) {
            Ok(pasta) => (Connectivity::Pasta, Some(pasta)),
            Err(reason) => (Connectivity::LoopbackOnly { reason }, None),
        };
        Self { namespace: self.namespace, connectivity, _pasta: pasta }
    }

    /// How much of the world is in reach.
    pub fn connectivity(&self) -> &Connectivity {
        &self.connectivity
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

/// A thread of its own makes the namespace and ends in it: the others stay where they are.
fn new_namespace() -> Result<OwnedFd, NetError> {
    let failed = |action| move |source: io::Error| NetError::Create { action, source };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: only the network namespace of this one thread changes, which invalidates no descriptor.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(|e| failed("unshare")(e.into()))?;
            sys::furnish_network().map_err(failed("furnish it"))?;
            fs_err::File::open("/proc/thread-self/ns/net").map(OwnedFd::from).map_err(failed("open it"))
        });
        thread.join().unwrap_or_else(|_| Err(failed("start a thread")(io::ErrorKind::Other.into())))
    })
}

/// Moves the calling thread into a network namespace.
pub(super) fn enter(netns: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?)
}

/// Does something inside a network namespace, in a thread of its own.
pub(super) fn inside<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T, NetError> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| enter(netns).map(|()| work()));
        thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    })
    .map_err(|source| NetError::Enter { source })
}

/// Connects to an address inside a network namespace.
pub fn dial_tcp(netns: BorrowedFd<'_>, address: SocketAddr) -> Result<TcpStream, NetError> {
    inside(netns, || TcpStream::connect(address))?.map_err(|source| NetError::Dial { address, source })
}
