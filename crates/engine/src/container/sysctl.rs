//! `run --sysctl`: which settings of the kernel a container may have of its own.

use std::collections::BTreeMap;

use crate::{Error, ErrorKind};

/// Those of the namespace of shared memory and queues, as docker has them.
const OF_IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];
/// All of these queues.
const OF_QUEUES: &str = "fs.mqueue.";
/// All of the network.
const OF_NETWORK: &str = "net.";
/// The longest name, and the longest value; the kernel's own are shorter.
const BYTES_MAX: usize = 4096;

/// Refuses what is no container's own.
pub(super) fn check(sysctls: &BTreeMap<String, String>) -> Result<(), Error> {
    for (name, value) in sysctls {
        let own =
            OF_IPC.contains(&name.as_str()) || [OF_QUEUES, OF_NETWORK].iter().any(|of| name.starts_with(of));
        if !own {
            let message =
                format!("--sysctl {name}: it is the machine's, and no container has one of its own");
            return Err(Error::new(ErrorKind::Usage, message)
                .help("these can be set: net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm*"));
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        let is_sound = name.bytes().all(is_name) && name.split('.').all(|part| !part.is_empty());
        if !is_sound || name.len() > BYTES_MAX || value.len() > BYTES_MAX || value.contains('\0') {
            let message = format!("--sysctl {name}: it is no name of a setting with a value");
            return Err(Error::new(ErrorKind::Usage, message).help("write --sysctl net.core.somaxconn=1024"));
        }
    }
    Ok(())
}

/// Refuses settings of the network where that is the machine's.
pub(super) fn refuse_machines(sysctls: &BTreeMap<String, String>, is_machines: bool) -> Result<(), Error> {
    match sysctls.keys().find(|name| is_machines && name.starts_with(OF_NETWORK)) {
        Some(name) => {
            let message =
                format!("--sysctl {name}: the container is on the machine's network, whose setting it is");
            Err(Error::new(ErrorKind::Usage, message)
                .help("leave it out, or give the container a network of its own"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str) -> String {
        check(&BTreeMap::from([(name.to_owned(), "1".to_owned())]))
            .map_or_else(|error| error.message.clone(), |()| String::new())
    }

    #[test]
    fn only_what_namespaces_have_can_be_set() {
        for name in ["net.ipv4.ip_forward", "net.ipv4.conf.eth0/1.x", "fs.mqueue.msg_max", "kernel.shmmax"] {
            assert_eq!(said(name), "");
        }
        for name in ["kernel.panic", "vm.overcommit_memory", "kernel.shmmaxx", "", "fs.file-max", "netx"] {
            assert!(said(name).contains("it is the machine's"), "{name}");
        }
        for name in ["net.", "net..x", "net.a b", "net.a\n"] {
            assert!(said(name).contains("no name of a setting"), "{name}");
        }
        let network = BTreeMap::from([("net.a".to_owned(), "1".to_owned())]);
        assert!(refuse_machines(&network, true).is_err() && refuse_machines(&network, false).is_ok());
    }
}
