//! What a container is, and what became of it: the two files of its folder.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use galley_oci::Digest;
use serde::{Deserialize, Serialize};

use super::{HealthState, Service};
use crate::plan::Surroundings;

/// Everything that was decided when the container was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// The image, as it was typed.
    pub image: String,
    /// The image's id.
    pub image_id: Digest,
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// How many of those are the entry point: what an image made of the container runs in any case.
    #[serde(default)]
    pub entrypoint: usize,
    /// `NAME=value`, in order.
    pub environment: Vec<String>,
    /// Absolute.
    pub working_directory: String,
    /// As written: empty, `name`, `uid:gid`, …
    pub user: String,
    /// The host name inside.
    pub hostname: String,
    /// In the order given.
    pub mounts: Vec<ContainerMount>,
    /// Ports of this machine that lead inside.
    pub ports: Vec<PublishedPort>,
    /// Which network.
    pub network: NetworkMode,
    /// The program has a terminal.
    pub tty: bool,
    /// Standard input is connected.
    pub open_stdin: bool,
    /// The container is removed when it ends.
    pub remove: bool,
    /// The signal that asks the program to end.
    pub stop_signal: i32,
    /// Free metadata.
    pub labels: BTreeMap<String, String>,
    /// When it was created, RFC 3339.
    pub created: String,
    /// Hosts, limits and the size of /dev/shm.
    #[serde(default)]
    pub surroundings: Surroundings,
    /// Limits, rights, restarts, health.
    #[serde(default)]
    pub service: Service,
}

/// A folder or file that a container sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerMount {
    /// Where, inside.
    pub target: String,
    /// What.
    pub source: MountFrom,
    /// The container cannot change it.
    pub read_only: bool,
}

/// What a container's mount shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountFrom {
    /// A path of this machine.
    Path(PathBuf),
    /// A named volume of the store.
    Volume(String),
    /// A volume of this container alone, which goes with it.
    Anonymous(String),
}

/// A port of this machine that leads to one of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The address of this machine.
    pub host_address: IpAddr,
    /// Its port; zero before the container runs means any free one.
    pub host_port: u16,
    /// The port inside.
    pub container_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// `tcp` or `udp`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Which network a container sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// Its own, connected to the world where that is possible. Docker calls it bridge.
    #[default]
    Private,
    /// The machine's.
    Host,
    /// Loopback alone.
    None,
}

/// What became of a container. Whether it runs is decided by a lock, not by this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// How far it came.
    pub phase: Phase,
    /// The first process's id as the supervisor sees it.
    pub pid: Option<u32>,
    /// How it ended, as docker counts: 128 + n for signal n.
    pub exit_code: Option<i32>,
    /// When it started, RFC 3339.
    pub started: Option<String>,
    /// When it ended.
    pub finished: Option<String>,
    /// Why it did not start.
    pub error: Option<String>,
    /// The ports as they were opened.
    pub ports: Vec<PublishedPort>,
    /// The cgroup in which its processes are stopped, or were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freezer: Option<PathBuf>,
    /// How often it was started again by its policy.
    #[serde(default)]
    pub restart_count: u32,
    /// The kernel ended one of its processes because its memory was used up.
    #[serde(default)]
    pub oom_killed: bool,
    /// What the checks of its health said; none without checks.
    #[serde(default)]
    pub health: Option<HealthState>,
}

/// How far a container came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Not started yet.
    #[default]
    Created,
    /// Started; it runs if its supervisor lives.
    Running,
    /// The same, but all its processes are stopped for now.
    Paused,
    /// Ended, and about to be started again; it will be if its supervisor lives.
    Restarting,
    /// Ended.
    Exited,
}
