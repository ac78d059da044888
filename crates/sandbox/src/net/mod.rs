//! Network namespaces, their connection to the world, and published ports.

mod dns;
mod error;
mod namespace;
mod pasta;
mod tcp;
mod udp;

use std::io::{PipeReader, PipeWriter};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

pub use dns::resolv_conf;
pub use error::NetError;
pub use namespace::{Connectivity, NetNs, dial_tcp};

pub(crate) use pasta::NETNS_NAME;

/// How a published port is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A published port: listens on the host and passes everything on to loopback inside a network namespace.
///
/// Needs no firewall rules and no route into the namespace, so it is the same for root and for others. The program
/// inside sees 127.0.0.1 (or ::1) as its peer. Dropping it closes the port and all of its connections.
#[derive(Debug)]
pub struct Proxy {
    local: SocketAddr,
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on `listen` of the host (port 0: any free one) and passes on to `port` inside the namespace; without one, to
    /// that of this machine.
    pub fn start(
        netns: Option<BorrowedFd<'_>>,
        protocol: Protocol,
        listen: SocketAddr,
        port: u16,
    ) -> Result<Self, NetError> {
        let failed = |source| NetError::Listen { address: listen, source };
        let netns = netns.map(|netns| netns.try_clone_to_owned()).transpose().map_err(failed)?;
        let (stopped, stop) = std::io::pipe().map_err(failed)?;
        let (local, thread) = match protocol {
            Protocol::Tcp => tcp::start(Inside { netns, port }, listen, stopped).map_err(failed)?,
            Protocol::Udp => udp::start(Inside { netns, port }, listen, stopped).map_err(failed)?,
        };
        Ok(Self { local, stop: Some(stop), thread: Some(thread) })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The other end becomes readable; no byte is ever sent.
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a published port leads to.
struct Inside {
    netns: Option<OwnedFd>,
    port: u16,
}

/// Threads that only pass bytes on need little stack.
const STACK_BYTES: usize = 128 << 10;

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(work)
}

/// Waits for something to read; `false` when the proxy shall stop.
fn await_input(socket: BorrowedFd<'_>, stopped: &PipeReader) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
    let waited = rustix::io::retry_on_intr(|| poll(&mut polled, None));
    waited.is_ok() && polled[1].revents().is_empty()
}
