//! Sets of capabilities by name.

use serde::{Deserialize, Serialize};

/// Names by number, as in the kernel's `linux/capability.h`, without the `CAP_` in front.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What Docker leaves to a container.
const DOCKER: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// A set of capabilities, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities(u64);

impl Capabilities {
    /// The empty set.
    pub const fn none() -> Self {
        Self(0)
    }

    /// Every capability known here.
    pub const fn all() -> Self {
        Self((1 << NAMES.len()) - 1)
    }

    /// Docker's 14.
    pub fn docker_default() -> Self {
        DOCKER.iter().fold(Self::none(), |set, name| set.with(name).unwrap_or(set))
    }

    /// What this process has itself, and so the most that a sandbox of it can have.
    pub fn permitted() -> Self {
        Self(crate::sys::permitted_capabilities() & Self::all().0)
    }

    /// The set with one more, named with or without `CAP_` in any case; `None` for an unknown name.
    #[must_use]
    pub fn with(self, name: &str) -> Option<Self> {
        number(name).map(|number| Self(self.0 | 1 << number))
    }

    /// The set with one less; `None` for an unknown name.
    #[must_use]
    pub fn without(self, name: &str) -> Option<Self> {
        number(name).map(|number| Self(self.0 & !(1 << number)))
    }

    /// Whether the capability of that name is in the set.
    pub fn contains(self, name: &str) -> bool {
        number(name).is_some_and(|number| self.has(number))
    }

    /// Whether the capability of that number is in the set.
    pub(crate) fn has(self, number: usize) -> bool {
        self.0 & (1 << number) != 0
    }

    /// The set as the kernel's bit mask.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

fn number(name: &str) -> Option<usize> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|&known| known == short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_default_is_the_mask_docker_shows() {
        assert_eq!(Capabilities::docker_default().bits(), 0xa804_25fb);
    }

    #[test]
    fn names_are_found_in_any_spelling() {
        let set = Capabilities::none().with("cap_sys_admin").unwrap();
        assert!(set.contains("SYS_ADMIN"));
        assert_eq!(set.without("Cap_Sys_Admin").unwrap(), Capabilities::none());
        assert_eq!(set.with("SYS_NOTHING"), None);
    }
}
