//! `galley top` and `stats`: the processes of a container, and what they use.

use galley_sandbox::{Memory, processes};

pub use galley_sandbox::processes::Process;

use super::{Container, NetworkMode, ask};
use crate::Error;

/// What a container has used up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Milliseconds of processor time.
    pub cpu_milliseconds: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// How many it may have; none without a limit of its own.
    pub memory_limit: Option<u64>,
    /// Bytes that came by the network, and that went; loopback does not count.
    pub network: (u64, u64),
    /// Bytes that were read from disks, and written.
    pub disk: (u64, u64),
    /// Processes and threads.
    pub tasks: u64,
}

/// The processes of `container`, which has to run.
pub fn processes(container: &Container) -> Result<Vec<Process>, Error> {
    let first = container.state.pid.filter(|_| container.is_running());
    let found = first.map(processes::inside).filter(|found| !found.is_empty());
    found.ok_or_else(|| ask::not_running(container))
}

/// What `container` has used; nothing when it does not run.
#[must_use]
pub fn usage(container: &Container) -> Option<Usage> {
    let processes = processes(container).ok()?;
    let first = container.state.pid?;
    let sum = |of: fn(&Process) -> u64| processes.iter().map(of).fold(0, u64::saturating_add);
    let limited = Memory::of(first);
    let disk = processes.iter().map(|one| disk(one.pid));
    Some(Usage {
        cpu_milliseconds: sum(|one| one.cpu_milliseconds),
        memory: limited.map_or_else(|| sum(|one| one.resident), |memory| memory.used),
        memory_limit: limited.and_then(|memory| memory.limit),
        network: if container.config.network == NetworkMode::Host { (0, 0) } else { network(first) },
        disk: disk.fold((0, 0), |(read, written), one| (read + one.0, written + one.1)),
        tasks: sum(|one| one.threads),
    })
}

/// What one process and the children it waited for have read and written.
fn disk(pid: u32) -> (u64, u64) {
    let text = fs_err::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let count = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    (count("read_bytes:").unwrap_or_default(), count("write_bytes:").unwrap_or_default())
}

fn network(pid: u32) -> (u64, u64) {
    traffic(&fs_err::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default())
}

/// Two lines of headings, then `name: bytes …` with the bytes that went in the ninth column.
fn traffic(text: &str) -> (u64, u64) {
    let rows = text.lines().filter_map(|line| line.split_once(':'));
    let rows = rows.filter(|(name, _)| name.trim() != "lo").map(|(_, numbers)| {
        let mut numbers = numbers.split_whitespace().map(|number| number.parse::<u64>().unwrap_or_default());
        let came = numbers.next().unwrap_or_default();
        (came, numbers.nth(7).unwrap_or_default())
    });
    rows.fold((0, 0), |(came, went), row| (came.saturating_add(row.0), went.saturating_add(row.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_no_network() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n    \
            lo:     999       9    0    0    0     0          0         0      999       9    0\n  \
            eth0:    1500      12    0    0    0     0          0         0     700       7    0\n";
        assert_eq!(traffic(text), (1500, 700));
        assert_eq!(traffic(""), (0, 0));
        assert_eq!(traffic("x:\ny: a b"), (0, 0));
    }
}
