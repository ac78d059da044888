//! What a cgroup may use, as docker's flags name it, and what that is in the files of either version.

use serde::{Deserialize, Serialize};

/// How much a sandbox may use; what is not given is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 for no limit of swap. With `memory` alone it is twice that, as in Docker.
    pub memory_swap: Option<i64>,
    /// Bytes that are left to it when memory is short.
    pub memory_reservation: Option<u64>,
    /// Its weight among others; 1024 is everybody's.
    pub cpu_shares: Option<u64>,
    /// Microseconds of processor time in each period; -1 for no limit.
    pub cpu_quota: Option<i64>,
    /// The period in microseconds.
    pub cpu_period: Option<u64>,
    /// Processors, `0-3,7`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    pub cpuset_mems: Option<String>,
    /// Processes and threads; -1 for no limit.
    pub pids: Option<i64>,
}

/// A file of a cgroup and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Write {
    pub(crate) file: String,
    pub(crate) value: String,
    /// Whether a kernel without the file is good enough: nobody asked for it by name.
    pub(crate) optional: bool,
}

/// The period of the processor's time unless asked otherwise.
const CPU_PERIOD: u64 = 100_000;

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These, and where nothing is said those.
    #[must_use]
    pub fn over(&self, other: &Self) -> Self {
        let (this, other) = (self.clone(), other.clone());
        Self {
            memory: this.memory.or(other.memory),
            memory_swap: this.memory_swap.or(other.memory_swap),
            memory_reservation: this.memory_reservation.or(other.memory_reservation),
            cpu_shares: this.cpu_shares.or(other.cpu_shares),
            cpu_quota: this.cpu_quota.or(other.cpu_quota),
            cpu_period: this.cpu_period.or(other.cpu_period),
            cpuset_cpus: this.cpuset_cpus.or(other.cpuset_cpus),
            cpuset_mems: this.cpuset_mems.or(other.cpuset_mems),
            pids: this.pids.or(other.pids),
        }
    }

    /// The controllers that it takes, with what is written for each.
    pub(crate) fn writes(&self, legacy: impl Fn(&str) -> bool) -> Vec<(&'static str, Vec<Write>)> {
        let all = [
            ("memory", if legacy("memory") { self.memory_v1() } else { self.memory_v2() }),
            ("cpu", if legacy("cpu") { self.cpu_v1() } else { self.cpu_v2() }),
            ("cpuset", self.cpuset()),
            ("pids", self.pids.map(|pids| write("pids.max", limit(pids))).into_iter().collect()),
        ];
        all.into_iter().filter(|(_, writes): &(_, Vec<Write>)| !writes.is_empty()).collect()
    }

    /// The total of memory and swap, and whether somebody asked for it.
    fn swap(&self) -> Option<(i64, bool)> {
        let memory = self.memory?;
        match self.memory_swap {
            Some(total) => Some((total, true)),
            None => Some((i64::try_from(memory.saturating_mul(2)).unwrap_or(i64::MAX), false)),
        }
    }

    fn memory_v1(&self) -> Vec<Write> {
        let mut writes = Vec::new();
        writes.extend(self.memory.map(|bytes| write("memory.limit_in_bytes", bytes.to_string())));
        writes.extend(self.memory_reservation.map(|it| write("memory.soft_limit_in_bytes", it.to_string())));
        writes.extend(self.swap().map(|(total, asked)| Write {
            optional: !asked,
            ..write("memory.memsw.limit_in_bytes", total.to_string())
        }));
        writes
    }

    fn memory_v2(&self) -> Vec<Write> {
        let mut writes = Vec::new();
        writes.extend(self.memory.map(|bytes| write("memory.max", bytes.to_string())));
        writes.extend(self.memory_reservation.map(|bytes| write("memory.low", bytes.to_string())));
        let memory = i64::try_from(self.memory.unwrap_or_default()).unwrap_or(i64::MAX);
        writes.extend(self.swap().map(|(total, asked)| {
            let value = if total < 0 { "max".to_owned() } else { total.saturating_sub(memory).to_string() };
            Write { optional: !asked, ..write("memory.swap.max", value) }
        }));
        writes
    }

    fn cpu_v1(&self) -> Vec<Write> {
        let mut writes = Vec::new();
        writes.extend(self.cpu_shares.map(|shares| write("cpu.shares", shares.to_string())));
        // The period first: the quota has to fit it.
        writes.extend(self.cpu_period.map(|period| write("cpu.cfs_period_us", period.to_string())));
        writes.extend(self.cpu_quota.map(|quota| write("cpu.cfs_quota_us", quota.to_string())));
        writes
    }

    fn cpu_v2(&self) -> Vec<Write> {
        let mut writes = Vec::new();
        writes.extend(self.cpu_shares.map(|shares| write("cpu.weight", weight(shares).to_string())));
        if self.cpu_quota.is_some() || self.cpu_period.is_some() {
            let period = self.cpu_period.unwrap_or(CPU_PERIOD);
            writes.push(write("cpu.max", format!("{} {period}", limit(self.cpu_quota.unwrap_or(-1)))));
        }
        writes
    }

    fn cpuset(&self) -> Vec<Write> {
        let cpus = self.cpuset_cpus.iter().map(|cpus| write("cpuset.cpus", cpus.clone()));
        let mems = self.cpuset_mems.iter().map(|mems| write("cpuset.mems", mems.clone()));
        cpus.chain(mems).collect()
    }
}

fn write(file: &str, value: String) -> Write {
    Write { file: file.to_owned(), value, optional: false }
}

fn limit(number: i64) -> String {
    if number < 0 { "max".to_owned() } else { number.to_string() }
}

/// From 2..=262144 of version 1 to 1..=10000, as the OCI runtimes do it.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(limits: &Limits, legacy: bool) -> String {
        let writes = limits.writes(|_| legacy).into_iter().flat_map(|(_, writes)| writes);
        writes.map(|it| format!("{}={} ", it.file, it.value)).collect::<String>().trim_end().to_owned()
    }

    fn everything() -> Limits {
        Limits {
            memory: Some(1000),
            memory_swap: Some(3000),
            memory_reservation: Some(500),
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            cpuset_cpus: Some("0-1".into()),
            cpuset_mems: Some("0".into()),
            pids: Some(7),
        }
    }

    #[test]
    fn files_of_version_1() {
        let expected = "memory.limit_in_bytes=1000 memory.soft_limit_in_bytes=500 memory.memsw.limit_in_bytes=3000 \
                        cpu.shares=1024 cpu.cfs_period_us=100000 cpu.cfs_quota_us=50000 cpuset.cpus=0-1 cpuset.mems=0 pids.max=7";
        assert_eq!(shown(&everything(), true), expected);
    }

    #[test]
    fn files_of_version_2() {
        let expected = "memory.max=1000 memory.low=500 memory.swap.max=2000 cpu.weight=39 cpu.max=50000 100000 \
                        cpuset.cpus=0-1 cpuset.mems=0 pids.max=7";
        assert_eq!(shown(&everything(), false), expected);
    }

    #[test]
    fn what_is_not_limited() {
        let none = Limits { memory: Some(8), memory_swap: Some(-1), pids: Some(-1), ..Limits::default() };
        assert_eq!(shown(&none, false), "memory.max=8 memory.swap.max=max pids.max=max");
        assert_eq!(shown(&none, true), "memory.limit_in_bytes=8 memory.memsw.limit_in_bytes=-1 pids.max=max");
        let swap = Limits { memory: Some(8), ..Limits::default() };
        assert_eq!(shown(&swap, false), "memory.max=8 memory.swap.max=8", "as much swap as memory");
        assert!(Limits::default().is_empty() && shown(&Limits::default(), true).is_empty());
        assert_eq!([2, 1024, 262_144].map(weight), [1, 39, 10_000]);
    }
}
