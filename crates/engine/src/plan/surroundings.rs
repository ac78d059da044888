//! What every RUN of a build is surrounded by: `--add-host`, `--shm-size`, `--ulimit`, `--cgroup-parent`.

use std::net::IpAddr;

pub use galley_sandbox::{Resource, Ulimit};

/// What the person gives to all run steps alike; empty unless asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Surroundings {
    /// `--add-host`, in the order given: further lines of /etc/hosts.
    pub hosts: Vec<(String, IpAddr)>,
    /// `--shm-size`: bytes that fit into /dev/shm.
    pub shm_size: Option<u64>,
    /// `--ulimit`, by name, each once.
    pub ulimits: Vec<Ulimit>,
    /// `--cgroup-parent`: the cgroup below which steps get one each.
    pub cgroup_parent: Option<String>,
}
