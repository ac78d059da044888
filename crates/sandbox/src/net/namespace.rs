//! A network namespace that several sandboxes share.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::NetError;
use super::pasta::{self, Needs, Pasta};
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
    /// What `pasta` needs, where it may be asked.
    needs: Option<Needs>,
    connection: OnceLock<Connection>,
}

#[derive(Debug)]
struct Connection {
    connectivity: Connectivity,
    _pasta: Option<Pasta>,
}

impl Connection {
    const fn none(reason: String) -> Self {
        Self { connectivity: Connectivity::LoopbackOnly { reason }, _pasta: None }
    }
}

impl NetNs {
    /// Makes a namespace with nothing but loopback.
    pub fn isolated() -> Result<Self, NetError> {
        let connection = Connection::none("no network was asked for".to_owned()).into();
        Ok(Self { namespace: new_namespace()?, needs: None, connection })
    }

    /// Makes a namespace that [`NetNs::connect`] connects. Where it is plain that it cannot, that is known at once.
    pub fn unconnected() -> Result<Self, NetError> {
        let namespace = new_namespace()?;
        Ok(match pasta::find() {
            Ok(needs) => Self { namespace, needs: Some(needs), connection: OnceLock::new() },
            Err(reason) => Self { namespace, needs: None, connection: Connection::none(reason).into() },
        })
    }

    /// Makes a namespace and connects it.
    pub fn connected(spawner: &Spawner) -> Result<Self, NetError> {
        let namespace = Self::unconnected()?;
        namespace.connect(spawner);
        Ok(namespace)
    }

    /// Lets `pasta` connect it, where that is possible and was not tried yet. Whoever asks meanwhile waits for it.
    ///
    /// `pasta` runs until the value is dropped, or galley ends.
    pub fn connect(&self, spawner: &Spawner) -> &Connectivity {
        &self.connection.get_or_init(|| self.start(spawner)).connectivity
    }

    fn start(&self, spawner: &Spawner) -> Connection {
        let Some(needs) = &self.needs else { return Connection::none(String::new()) };
        match pasta::start(needs, spawner, self.namespace.as_fd()) {
            Ok(pasta) => Connection { connectivity: Connectivity::Pasta, _pasta: Some(pasta) },
            Err(reason) => Connection::none(reason),
        }
    }

    /// How much of the world is in reach; `None` while that is not known.
    pub fn connectivity(&self) -> Option<&Connectivity> {
        self.connection.get().map(|connection| &connection.connectivity)
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
