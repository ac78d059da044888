//! A container's network: a namespace of its own, the ports that lead into it, and the files that describe it.

use std::{net::SocketAddr, os::fd::BorrowedFd, path::PathBuf};

use galley_sandbox::{
    Mount, Network as Mode, Source, Spawner,
    net::{self, Connectivity, NetNs, Proxy},
};

use super::{ContainerConfig, Dns, NetworkMode, Protocol, PublishedPort};
use crate::{Error, ErrorKind, plan::Surroundings, runner::machine_resolv_conf};

/// The files that tell programs where they are; containers may write to them, as with Docker.
const FILE_MODE: u32 = 0o644;

/// What a container's network is made of; it goes when this is dropped.
pub(super) struct Network {
    namespace: Option<NetNs>,
    connectivity: Connectivity,
    /// Whether there can be no namespace, so that ports lead to this machine's own.
    by_chroot: bool,
    /// Whether there can be no namespace and is no network.
    is_none: bool,
    proxies: std::cell::RefCell<Vec<Proxy>>,
}

impl Network {
    /// Makes what `config` asks for.
    pub(super) fn open(
        config: &ContainerConfig,
        spawner: &Spawner,
        warn: &(dyn Fn(&str) + Sync),
    ) -> Result<Self, Error> {
        let namespace = match config.network {
            _ if spawner.makes_chroots() => None,
            NetworkMode::Host => None,
            NetworkMode::None => Some(NetNs::isolated().map_err(failed)?),
            NetworkMode::Private => connected(config, spawner, warn)?,
        };
        let found = namespace.as_ref().and_then(NetNs::connectivity);
        let connectivity = found.unwrap_or(&Connectivity::Host).clone();
        let by_chroot = spawner.makes_chroots() && config.network == NetworkMode::Private;
        let is_none = spawner.makes_chroots() && config.network == NetworkMode::None;
        if by_chroot {
            warn_of_own_ports(&config.ports, warn);
        }
        Ok(Self { namespace, connectivity, by_chroot, is_none, proxies: std::cell::RefCell::default() })
    }

    pub(super) const fn mode(&self) -> Mode {
        match self.namespace {
            Some(_) => Mode::Shared,
            None if self.is_none => Mode::None,
            None => Mode::Host,
        }
    }

    pub(super) fn namespace(&self) -> Option<BorrowedFd<'_>> {
        self.namespace.as_ref().map(std::os::fd::AsFd::as_fd)
    }

    /// Opens the published ports; the result says which ports were taken where any would do.
    pub(super) fn publish(&self, ports: &[PublishedPort]) -> Result<Vec<PublishedPort>, Error> {
        // On the machine's own network every port of the program is public already.
        if self.namespace.is_none() && !self.by_chroot {
            return Ok(Vec::new());
        }
        let mut published = Vec::with_capacity(ports.len());
        for port in ports {
            if self.by_chroot && port.host_port == port.container_port {
                // The program itself listens there.
                published.push(*port);
                continue;
            }
            let listen = SocketAddr::new(port.host_address, port.host_port);
            let protocol = match port.protocol {
                Protocol::Tcp => net::Protocol::Tcp,
                Protocol::Udp => net::Protocol::Udp,
            };
            let proxy =
                Proxy::start(self.namespace(), protocol, listen, port.container_port).map_err(|error| {
                    Error::new(ErrorKind::Usage, format!("cannot publish port {listen}"))
                        .help(port_advice(&error))
                        .because(error)
                })?;
            published.push(PublishedPort { host_port: proxy.local_addr().port(), ..*port });
            self.proxies.borrow_mut().push(proxy);
        }
        Ok(published)
    }

    /// /etc/hosts, /etc/hostname, /etc/resolv.conf, and docker's sign of a container.
    pub(super) fn files(&self, hostname: &str, surroundings: &Surroundings, dns: &Dns) -> Vec<Mount> {
        let machine = machine_resolv_conf();
        let hosts = format!(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{hostname}\n{}",
            surroundings.host_lines()
        );
        vec![
            file("/etc/hosts", hosts.into_bytes()),
            file("/etc/hostname", format!("{hostname}\n").into_bytes()),
            file("/etc/resolv.conf", dns.over(net::resolv_conf(&machine, &self.connectivity))),
            file("/.dockerenv", Vec::new()),
        ]
    }
}

/// Where the program is on this machine's network, an address of `-p` counts only with another port in front of its own.
fn warn_of_own_ports(ports: &[PublishedPort], warn: &(dyn Fn(&str) + Sync)) {
    let elsewhere =
        |port: &&PublishedPort| port.host_port == port.container_port && !port.host_address.is_unspecified();
    if let Some(port) = ports.iter().find(elsewhere) {
        warn(&format!(
            "port {0} is the program's own: whether it listens on {1} alone is up to the program; -p {1}:HOST:{0} with \
             another port publishes it there alone",
            port.container_port, port.host_address
        ));
    }
}

/// A connected namespace. Where nothing can connect one, a container that publishes ports stays in a namespace without a
/// way out, and any other shares the machine's network.
fn connected(
    config: &ContainerConfig,
    spawner: &Spawner,
    warn: &(dyn Fn(&str) + Sync),
) -> Result<Option<NetNs>, Error> {
    let namespace = NetNs::unconnected().map_err(failed)?;
    let Connectivity::LoopbackOnly { reason } = namespace.connect(spawner) else {
        return Ok(Some(namespace));
    };
    if config.ports.is_empty() {
        warn(&format!("the container shares this machine's network: {reason}"));
        return Ok(None);
    }
    warn(&format!("the container can be reached by its ports, but reaches nothing itself: {reason}"));
    Ok(Some(namespace))
}

fn port_advice(error: &(dyn std::error::Error + 'static)) -> &'static str {
    if crate::error::permission_denied(error) {
        "ports below 1024 are root's unless the sysctl net.ipv4.ip_unprivileged_port_start says otherwise: choose a higher one, -p HOST:CONTAINER"
    } else {
        "choose another port of this machine: -p HOST:CONTAINER"
    }
}

fn file(target: &str, content: Vec<u8>) -> Mount {
    Mount {
        target: PathBuf::from(target),
        source: Source::File { content, mode: FILE_MODE, uid: 0, gid: 0 },
        readonly: false,
    }
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Machine, "cannot make a network namespace")
        .because(error)
        .help("try --network host")
}
