//! The network of run steps: one namespace for the whole build, made when the first step needs it.
//!
//! Connecting it takes longer than most steps, of which few open a socket. So a step starts without: the first who would
//! make a socket has the namespace connected, and waits for that. If it cannot be connected, such a step is begun anew on
//! the machine's network.

use std::{
    io::Read,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use fs_err as fs;
use galley_sandbox::{
    self as sandbox, Spawner,
    net::{Connectivity, NetNs, resolv_conf},
};

use super::machine;
use crate::{
    Error, Event, Events,
    plan::Network,
    ports::{MountSource, ResolvedMount, RunRequest},
};

/// The host's list of name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What is read of it.
const RESOLV_CONF_BYTES_MAX: u64 = 1 << 20;

/// This machine's list of name servers; nothing when there is none, and when it is too long for one.
pub(crate) fn machine_resolv_conf() -> Vec<u8> {
    short_file(Path::new(RESOLV_CONF), RESOLV_CONF_BYTES_MAX)
}

fn short_file(path: &Path, bytes_max: u64) -> Vec<u8> {
    let mut text = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut text));
    if read.is_ok_and(|length| length as u64 <= bytes_max) { text } else { Vec::new() }
}

/// The namespace that all steps of a build share.
#[derive(Debug, Default)]
pub(super) struct SharedNetwork {
    namespace: Mutex<Option<Arc<NetNs>>>,
    /// Somebody was told why it is not used.
    warned: AtomicBool,
    /// The kernel does not let sockets wait here, so a step has to.
    awaited: AtomicBool,
}

/// What one step joins.
#[derive(Debug)]
pub(super) struct Joined {
    /// For the sandbox.
    pub(super) kind: sandbox::Network,
    /// Whether sockets have to wait: it is not known yet whether the namespace can be connected.
    pub(super) holds: bool,
    shared: Option<Arc<NetNs>>,
    resolv_conf: Vec<u8>,
}

impl SharedNetwork {
    /// The network that a step asks for. Where nothing can connect a namespace to the world the host's own network is
    /// used, and a warning says so once.
    pub(super) fn join(
        &self,
        request: &RunRequest<'_>,
        spawner: &Spawner,
        events: &Events,
    ) -> Result<Joined, Error> {
        let host = machine_resolv_conf();
        let namespace = match request.network {
            Network::Host => None,
            Network::None => return Ok(Joined::none(&host)),
            // It has no filter that could hold its sockets.
            Network::Default => self.usable(!request.operation.insecure, spawner, events)?,
        };
        let Some((namespace, holds)) = namespace else {
            return Ok(Joined::alone(sandbox::Network::Host, host));
        };
        let resolv_conf = resolv_conf(&host, &Connectivity::Pasta);
        Ok(Joined { kind: sandbox::Network::Shared, holds, shared: Some(namespace), resolv_conf })
    }

    /// Makes what [`join`](Self::join) will ask for, and the first sandbox in it. Whatever fails fails again there.
    pub(super) fn prepare(&self, spawner: &Spawner) {
        let Ok(namespace) = self.namespace(spawner) else { return };
        let can_wait = self.may_hold() && namespace.connectivity().is_none();
        if !can_wait && !is_connected(namespace.connect(spawner)) {
            spawner.make_ahead(None);
        }
    }

    fn may_hold(&self) -> bool {
        !self.awaited.load(Ordering::Relaxed)
    }

    /// Says that the kernel refused to let sockets wait: they cannot where something outside answers system calls already.
    pub(super) fn await_from_now_on(&self) {
        self.awaited.store(true, Ordering::Relaxed);
    }

    /// The namespace of the build, if it is connected, or as long as nobody knows; and whether sockets have to wait for that.
    fn usable(
        &self,
        may_hold: bool,
        spawner: &Spawner,
        events: &Events,
    ) -> Result<Option<(Arc<NetNs>, bool)>, Error> {
        let namespace = self.namespace(spawner)?;
        if may_hold && self.may_hold() && namespace.connectivity().is_none() {
            return Ok(Some((namespace, true)));
        }
        if let Connectivity::LoopbackOnly { reason } = namespace.connect(spawner) {
            if !self.warned.swap(true, Ordering::Relaxed) {
                events.emit(warning(reason));
            }
            return Ok(None);
        }
        Ok(Some((namespace, false)))
    }

    /// The namespace of the build.
    fn namespace(&self, spawner: &Spawner) -> Result<Arc<NetNs>, Error> {
        let mut slot = self.namespace.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(namespace) = &*slot {
            return Ok(Arc::clone(namespace));
        }
        let made = Arc::new(NetNs::unconnected().map_err(|error| machine(error.into()))?);
        // `pasta` takes longer.
        spawner.make_ahead(Some(made.as_fd()));
        *slot = Some(Arc::clone(&made));
        Ok(made)
    }
}

fn is_connected(connectivity: &Connectivity) -> bool {
    *connectivity == Connectivity::Pasta
}

fn warning(reason: &str) -> Event {
    Event::Warning {
        rule: None,
        message: format!("RUN uses the network of this machine: {reason}"),
        place: None,
        help: Some("`galley doctor` tells how builds get a network of their own".to_owned()),
    }
}

/// What the step has written so far will be written again.
pub(super) fn begins_anew() -> Event {
    Event::Warning {
        rule: None,
        message: "RUN begins anew: it wants a network, and a private one cannot be had".to_owned(),
        place: None,
        help: None,
    }
}

impl Joined {
    /// This machine's own or none, where there can be no other.
    pub(super) fn in_place(network: Network) -> Self {
        let host = machine_resolv_conf();
        if network == Network::None { Self::none(&host) } else { Self::alone(sandbox::Network::Host, host) }
    }

    fn none(host: &[u8]) -> Self {
        let alone = Connectivity::LoopbackOnly { reason: String::new() };
        Self::alone(sandbox::Network::None, resolv_conf(host, &alone))
    }

    const fn alone(kind: sandbox::Network, resolv_conf: Vec<u8>) -> Self {
        Self { kind, holds: false, shared: None, resolv_conf }
    }

    /// Whether the namespace can be connected; waits for that.
    pub(super) fn is_connected(&self, spawner: &Spawner) -> bool {
        self.shared.as_ref().is_none_or(|namespace| is_connected(namespace.connect(spawner)))
    }

    /// The namespace to join, when it is shared.
    pub(super) fn namespace(&self) -> Option<BorrowedFd<'_>> {
        self.shared.as_ref().map(|namespace| namespace.as_fd())
    }

    /// Adds the files that every process finds its network by, unless the step mounts its own.
    pub(super) fn add_files(&self, request: &mut RunRequest<'_>) {
        let added = request.operation.surroundings.host_lines();
        let hosts = (hosts(&request.operation.hostname) + &added).into_bytes();
        for (target, content) in [(&b"/etc/resolv.conf"[..], &self.resolv_conf), (b"/etc/hosts", &hosts)] {
            if request.mounts.iter().any(|mount| mount.target == target) {
                continue;
            }
            let source =
                MountSource::File { content: content.as_slice().into(), mode: 0o644, uid: 0, gid: 0 };
            // First, so that a mount above them hides them as it would hide files of the image.
            request.mounts.insert(0, ResolvedMount { target: target.to_vec(), source });
        }
    }
}

/// `/etc/hosts` as BuildKit writes it.
fn hosts(hostname: &str) -> String {
    let (four, six) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    format!("{four}\tlocalhost {hostname}\n{six}\tlocalhost ip6-localhost ip6-loopback\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_name_servers_is_short() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "nameserver ::1").unwrap();
        assert_eq!(short_file(file.path(), 14), b"nameserver ::1");
        assert_eq!(short_file(file.path(), 13), b"");
        assert_eq!(short_file(Path::new("/dev/zero"), 13), b"");
    }

    #[test]
    fn hosts_are_as_in_buildkit() {
        let expected = "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n";
        assert_eq!(hosts("buildkitsandbox"), expected);
    }
}
