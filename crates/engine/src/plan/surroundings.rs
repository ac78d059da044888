//! What every RUN of a build, and every container, is surrounded by: `--add-host`, `--shm-size`, `--ulimit`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use galley_sandbox::Spec;
pub use galley_sandbox::{Resource, Ulimit};

/// What the person gives to all run steps alike, or to a container; empty unless asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Surroundings {
    /// `--add-host`, in the order given: further lines of /etc/hosts.
    pub hosts: Vec<(String, IpAddr)>,
    /// `--shm-size`: bytes that fit into /dev/shm.
    pub shm_size: Option<u64>,
    /// `--ulimit`, by name, each once.
    pub ulimits: Vec<Ulimit>,
}

impl Surroundings {
    /// Has a sandbox be so. The hosts are for whoever writes its /etc/hosts.
    pub(crate) fn apply(&self, spec: &mut Spec) {
        spec.ulimits.clone_from(&self.ulimits);
        spec.shm_size = self.shm_size.unwrap_or(spec.shm_size);
    }

    /// What `--add-host` adds to /etc/hosts.
    pub(crate) fn host_lines(&self) -> String {
        self.hosts.iter().map(|(name, address)| format!("{address}\t{name}\n")).collect()
    }
}
