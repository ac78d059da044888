//! What a container that runs as a service has besides its program: limits, rights, a policy for its end, and checks of its
//! health. Docker calls most of it the host config.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use galley_sandbox::{Capabilities, CgroupParent, Limits, Mount, Network, Seccomp, Source, Spec};
use serde::{Deserialize, Serialize};

use super::{filter, sysctl};
use crate::{Error, ErrorKind};

/// The least memory that a container gets along with, as in Docker.
const MEMORY_MIN: u64 = 6 << 20;
/// What the kernel takes as a period of processor time, and as a quota of it, in microseconds.
const CPU_PERIOD: std::ops::RangeInclusive<u64> = 1000..=1_000_000;
const CPU_QUOTA_MIN: i64 = 1000;
/// All capabilities at once.
const ALL: &str = "ALL";

/// Everything beyond program, files and network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// What it may use.
    pub limits: Limits,
    /// Below which cgroup its own is made, a path.
    pub cgroup_parent: Option<String>,
    /// The root file system cannot be written to.
    pub read_only: bool,
    /// Empty file systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Capabilities beyond docker's usual ones; `ALL` is one name.
    pub cap_add: Vec<String>,
    /// Capabilities that it does without.
    pub cap_drop: Vec<String>,
    /// Everything that galley itself may do.
    pub privileged: bool,
    /// Setuid programs give no rights.
    pub no_new_privileges: bool,
    /// System calls are not filtered.
    pub seccomp_off: bool,
    /// They are by this profile, which [`seccomp_profile`](super::seccomp_profile) has read: docker's JSON.
    pub seccomp: Option<String>,
    /// Settings of the kernel that are its own.
    pub sysctls: BTreeMap<String, String>,
    /// A small first process starts the program.
    pub init: bool,
    /// What happens when it ends.
    pub restart: Restart,
    /// Seconds that `stop` waits; -1 for ever.
    pub stop_timeout: Option<i64>,
    /// What the kernel adds when it looks for a process to end, -1000 to 1000.
    pub oom_score_adj: Option<i16>,
    /// How its health is checked.
    pub health: Option<Health>,
    /// Name servers and what belongs to them, instead of the machine's.
    pub dns: Dns,
    /// Further groups of the program, names or numbers.
    pub group_add: Vec<String>,
    /// Ports that it has, `80/tcp`, beyond those of the image; published only when that is asked for.
    pub exposed: Vec<String>,
}

/// Lines of /etc/resolv.conf; of what nothing is given the machine's stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Domains in which names are looked for; a dot alone is for none.
    pub search: Vec<String>,
    /// As in resolv.conf(5).
    pub options: Vec<String>,
}

impl Dns {
    /// The file with these lines instead of its own.
    pub(super) fn over(&self, file: Vec<u8>) -> Vec<u8> {
        let keys: [(&[&[u8]], bool); 3] = [
            (&[b"nameserver"], self.servers.is_empty()),
            (&[b"search", b"domain"], self.search.is_empty()),
            (&[b"options"], self.options.is_empty()),
        ];
        let stays = |line: &&[u8]| {
            let key = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty()).unwrap_or_default();
            !line.is_empty() && keys.iter().all(|(names, kept)| *kept || !names.contains(&key))
        };
        let mut text: Vec<u8> =
            file.split(|&byte| byte == b'\n').filter(stays).flat_map(|line| [line, b"\n"].concat()).collect();
        let search: Vec<&str> = self.search.iter().map(String::as_str).filter(|name| *name != ".").collect();
        let lines = self.servers.iter().map(|server| format!("nameserver {server}\n"));
        let lines = lines.chain((!search.is_empty()).then(|| format!("search {}\n", search.join(" "))));
        let options = (!self.options.is_empty()).then(|| format!("options {}\n", self.options.join(" ")));
        text.extend(lines.chain(options).flat_map(String::into_bytes));
        text
    }
}

/// An empty file system in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Where, inside.
    pub target: String,
    /// Bytes; half of the memory without it.
    pub size: Option<u64>,
    /// Permissions of its root; those of the directory that it hides without it.
    pub mode: Option<u32>,
    /// Programs on it can be executed.
    pub exec: bool,
    /// It stays empty.
    pub read_only: bool,
}

/// What happens when the program ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Nothing.
    #[default]
    No,
    /// It is started again when it failed, this many times; zero is always.
    OnFailure(u32),
    /// It is started again.
    Always,
    /// The same: nothing starts containers after the machine did.
    UnlessStopped,
}

/// How the health of a container is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `CMD` and arguments, or `CMD-SHELL` and a command.
    pub test: Vec<String>,
    /// What runs a command.
    pub shell: Vec<String>,
    /// Between checks.
    pub interval: Duration,
    /// After which a check has failed.
    pub timeout: Duration,
    /// In which failures do not count.
    pub start_period: Duration,
    /// Between checks in the start period.
    pub start_interval: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

impl Restart {
    /// Understands `no`, `always`, `unless-stopped`, `on-failure`, `on-failure:N`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, count) = text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
        let wrong = || {
            format!(
                "{text:?} is no restart policy: write no, on-failure, on-failure:TIMES, always or unless-stopped"
            )
        };
        match (name, count) {
            ("no" | "", None) => Ok(Self::No),
            ("always", None) => Ok(Self::Always),
            ("unless-stopped", None) => Ok(Self::UnlessStopped),
            ("on-failure", None) => Ok(Self::OnFailure(0)),
            ("on-failure", Some(count)) => count.parse().map(Self::OnFailure).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }

    /// Docker's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure(_) => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// How often it starts a container again at most; zero is for ever, or never.
    #[must_use]
    pub const fn count_max(self) -> u32 {
        match self {
            Self::OnFailure(count) => count,
            _ => 0,
        }
    }
}

impl Tmpfs {
    /// Reads `TARGET[:OPTION,…]`.
    pub fn parse(text: &str, size: impl Fn(&str) -> Result<u64, String>) -> Result<Self, String> {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        if !target.starts_with('/') || target.trim_matches('/').is_empty() {
            return Err(format!("{target:?} is not the absolute path of a directory inside, and not /"));
        }
        let mut tmpfs =
            Self { target: target.to_owned(), size: None, mode: None, exec: false, read_only: false };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                None => tmpfs.flag(option)?,
                Some(("size", value)) => tmpfs.size = Some(size(value)?),
                Some(("mode", value)) => {
                    let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
                    let wrong = || format!("{value:?} is no mode in octal digits");
                    tmpfs.mode = Some(mode.ok_or_else(wrong)?);
                }
                Some(_) => return Err(unknown_option(option)),
            }
        }
        Ok(tmpfs)
    }

    fn flag(&mut self, option: &str) -> Result<(), String> {
        match option {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "exec" => self.exec = true,
            "noexec" => self.exec = false,
            // What it is anyway.
            "nosuid" | "nodev" => {}
            _ => return Err(unknown_option(option)),
        }
        Ok(())
    }

    pub(super) fn mount(&self) -> Mount {
        let source = Source::Tmpfs { size: self.size, mode: self.mode, noexec: !self.exec };
        Mount { target: self.target.clone().into(), source, readonly: self.read_only }
    }
}

fn unknown_option(option: &str) -> String {
    format!(
        "the option {option:?} is not supported: known are size, mode, ro, rw, exec, noexec, nosuid, nodev"
    )
}

impl Service {
    /// What contradicts itself, in docker's order.
    pub fn check(&self) -> Result<(), Error> {
        check_limits(&self.limits)?;
        self.parent()?;
        sysctl::check(&self.sysctls)?;
        let capabilities = self.capabilities()?;
        let Some(profile) = &self.seccomp else { return Ok(()) };
        let capabilities = if self.privileged { Capabilities::all() } else { capabilities };
        filter::program(profile, capabilities, self.init).map(drop)
    }

    /// Refuses what was asked for by name and `own`, which is what galley has itself, lacks.
    pub(super) fn check_rights(&self, own: Capabilities) -> Result<(), Error> {
        let named = self.cap_add.iter().filter(|name| !name.eq_ignore_ascii_case(ALL));
        let Some(name) = named.into_iter().find(|name| !own.contains(name)) else { return Ok(()) };
        let message = format!("--cap-add {name}: galley does not have this capability itself");
        Err(Error::new(ErrorKind::Machine, message).help(
            "give it to the container that galley runs in, or leave it out; --cap-add ALL is what there is",
        ))
    }

    /// Has a sandbox be so, but for its cgroup.
    pub(super) fn apply(&self, spec: &mut Spec) -> Result<(), Error> {
        self.check_rights(Capabilities::permitted())?;
        spec.readonly_root = self.read_only;
        spec.capabilities = self.capabilities()?;
        spec.no_new_privileges = self.no_new_privileges;
        if self.seccomp_off {
            spec.seccomp = Seccomp::Off;
        }
        if self.privileged {
            spec.make_insecure();
        }
        self.filter(spec, self.init)?;
        sysctl::refuse_machines(&self.sysctls, spec.network == Network::Host)?;
        spec.sysctls = self.sysctls.clone().into_iter().collect();
        spec.init = self.init;
        spec.oom_score_adj = self.oom_score_adj;
        if self.read_only {
            // The files that tell it where it is, as in docker.
            spec.mounts.iter_mut().for_each(|mount| mount.readonly = true);
        }
        spec.mounts.extend(self.tmpfs.iter().map(Tmpfs::mount));
        Ok(())
    }

    /// Gives a sandbox the container's own filter of system calls, if there is one: its rules depend on capabilities.
    pub(super) fn filter(&self, spec: &mut Spec, init: bool) -> Result<(), Error> {
        if let Some(profile) = &self.seccomp {
            spec.seccomp = Seccomp::Own(filter::program(profile, spec.capabilities, init)?);
        }
        Ok(())
    }

    /// The parent cgroup as the sandbox wants it.
    pub(super) fn parent(&self) -> Result<Option<CgroupParent>, Error> {
        let parent = self.cgroup_parent.as_deref().map(|path| CgroupParent::new(path.as_ref()));
        parent.transpose().map_err(|error| {
            Error::new(ErrorKind::Usage, format!("--cgroup-parent: {error}"))
                .help("write a path below the root of the cgroups, without .. : /batch/web")
        })
    }

    /// Docker's usual ones, with what was added and without what was dropped.
    fn capabilities(&self) -> Result<Capabilities, Error> {
        let has_all = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case(ALL));
        let start = match (has_all(&self.cap_add), has_all(&self.cap_drop)) {
            (true, _) => Capabilities::all(),
            (false, true) => Capabilities::none(),
            (false, false) => Capabilities::docker_default(),
        };
        let named = |names: &'_ [String]| {
            names.iter().filter(|name| !name.eq_ignore_ascii_case(ALL)).cloned().collect::<Vec<_>>()
        };
        // What is dropped by name stays dropped from everything, but not from what was added by name.
        let mut set = start;
        for name in named(&self.cap_drop) {
            set = set.without(&name).ok_or_else(|| no_capability("--cap-drop", &name))?;
        }
        for name in named(&self.cap_add) {
            set = set.with(&name).ok_or_else(|| no_capability("--cap-add", &name))?;
        }
        Ok(set)
    }
}

/// What contradicts itself, in docker's order.
pub fn check_limits(limits: &Limits) -> Result<(), Error> {
    let wrong = |message: &str| Err(Error::new(ErrorKind::Usage, message));
    let memory = limits.memory;
    if memory.is_some_and(|memory| memory < MEMORY_MIN) {
        return Err(Error::new(ErrorKind::Usage, "--memory: the least that a container can have is 6m")
            .help("write a number with a unit: 512m, 2g; without one it is bytes"));
    }
    let swap = limits.memory_swap.filter(|swap| *swap >= 0).map(i64::cast_unsigned);
    if limits.memory_swap.is_some() && memory.is_none() {
        return wrong("--memory-swap is memory and swap together: give --memory too");
    }
    if swap.zip(memory).is_some_and(|(swap, memory)| swap < memory) {
        return wrong("--memory-swap is memory and swap together: it cannot be less than --memory");
    }
    if limits.memory_reservation.zip(memory).is_some_and(|(reserved, memory)| reserved > memory) {
        return wrong("--memory-reservation cannot be more than --memory");
    }
    if limits.cpu_period.is_some_and(|period| !CPU_PERIOD.contains(&period)) {
        return wrong("--cpu-period has to be between 1000 and 1000000 microseconds");
    }
    if limits.cpu_quota.is_some_and(|quota| (0..CPU_QUOTA_MIN).contains(&quota)) {
        return wrong("--cpu-quota has to be 1000 microseconds at least, or -1");
    }
    for (flag, list, there) in [
        ("--cpuset-cpus", &limits.cpuset_cpus, "/sys/devices/system/cpu/online"),
        ("--cpuset-mems", &limits.cpuset_mems, "/sys/devices/system/node/online"),
    ] {
        if let Some(list) = list {
            check_list(flag, list, fs_err::read_to_string(there).unwrap_or_default().trim())?;
        }
    }
    Ok(())
}

/// Refuses a list of numbers that is none, or names what is not `there`; of nothing known there, anything goes.
fn check_list(flag: &str, list: &str, there: &str) -> Result<(), Error> {
    let refused =
        |why: String, help: String| Error::new(ErrorKind::Usage, format!("{flag} {list}: {why}")).help(help);
    let wanted = numbers(list)
        .ok_or_else(|| refused("this is no list of numbers".to_owned(), format!("write {flag} 0-2,7")))?;
    let there = numbers(there).unwrap_or_default();
    match wanted.iter().find(|number| !there.contains(number)) {
        Some(missing) if !there.is_empty() => {
            let known: Vec<String> = there.iter().map(u32::to_string).collect();
            Err(refused(
                format!("this machine has no number {missing}"),
                format!("there are: {}", known.join(", ")),
            ))
        }
        _ => Ok(()),
    }
}

/// The numbers of `0-2,7`; no kernel has more of either than this.
fn numbers(list: &str) -> Option<Vec<u32>> {
    const MAX: u32 = 1 << 13;
    let mut all = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        if first > last || last > MAX {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

fn no_capability(flag: &str, name: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("{flag} {name}: there is no such capability"))
        .help("capabilities(7) lists them; write NET_ADMIN, CAP_NET_ADMIN or ALL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_as_docker_reads_them() {
        let parse = |text| Restart::parse(text).ok();
        assert_eq!(parse("no"), Some(Restart::No));
        assert_eq!(parse("on-failure:3"), Some(Restart::OnFailure(3)));
        assert_eq!(parse("on-failure"), Some(Restart::OnFailure(0)));
        assert_eq!(parse("unless-stopped"), Some(Restart::UnlessStopped));
        for wrong in ["never", "always:3", "on-failure:x", "on-failure:-1", "no:1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn file_systems_in_memory_as_docker_reads_them() {
        let parse = |text: &str| Tmpfs::parse(text, |size| size.parse().map_err(|_| "no size".to_owned()));
        let plain = parse("/run").unwrap();
        assert_eq!((plain.size, plain.mode, plain.exec, plain.read_only), (None, None, false, false));
        let full = parse("/run:rw,exec,nosuid,size=4096,mode=750").unwrap();
        assert_eq!((full.size, full.mode, full.exec), (Some(4096), Some(0o750), true));
        for wrong in ["run", "/", "/run:suid", "/run:size=x", "/run:mode=8", "/run:uid=5"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn capabilities_are_added_and_dropped() {
        let set = |add: &[&str], drop: &[&str]| {
            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            Service { cap_add: names(add), cap_drop: names(drop), ..Service::default() }.capabilities()
        };
        assert_eq!(set(&[], &[]).unwrap(), Capabilities::docker_default());
        assert_eq!(set(&[], &["all"]).unwrap(), Capabilities::none());
        let one = set(&["net_admin"], &["ALL"]).unwrap();
        assert_eq!(one, Capabilities::none().with("NET_ADMIN").unwrap());
        let most = set(&["ALL"], &["CAP_SYS_ADMIN"]).unwrap();
        assert!(!most.contains("SYS_ADMIN") && most.contains("SYS_BOOT"));
        assert!(set(&["NOTHING"], &[]).is_err() && set(&[], &["NOTHING"]).is_err());
    }

    #[test]
    fn a_capability_that_galley_lacks_cannot_be_added_by_name() {
        let said = |add: &str| {
            let service = Service { cap_add: vec![add.to_owned()], ..Service::default() };
            service.check_rights(Capabilities::docker_default()).map_err(|error| error.message.clone())
        };
        let refused = "--cap-add cap_sys_time: galley does not have this capability itself".to_owned();
        assert_eq!(said("cap_sys_time"), Err(refused));
        assert_eq!((said("chown"), said("all")), (Ok(()), Ok(())));
    }

    #[test]
    fn lines_of_resolv_conf_are_replaced() {
        let machine = b"# here\nnameserver 10.0.0.1\nsearch lan\noptions edns0\n".to_vec();
        let dns = |servers: &[&str], search: &[&str], options: &[&str]| Dns {
            servers: servers.iter().map(|server| server.parse().unwrap()).collect(),
            search: search.iter().map(|name| (*name).to_owned()).collect(),
            options: options.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(Dns::default().over(machine.clone()), machine);
        let text = dns(&["1.1.1.1", "::1"], &[], &["rotate", "ndots:2"]).over(machine.clone());
        assert_eq!(text, b"# here\nsearch lan\nnameserver 1.1.1.1\nnameserver ::1\noptions rotate ndots:2\n");
        assert_eq!(dns(&[], &["."], &[]).over(machine), b"# here\nnameserver 10.0.0.1\noptions edns0\n");
    }

    #[test]
    fn lists_of_processors() {
        let said =
            |list: &str| check_list("--cpuset-cpus", list, "0-3").map_err(|error| error.message.clone());
        assert_eq!((said("0"), said("0-2,3")), (Ok(()), Ok(())));
        assert_eq!(said("1,99"), Err("--cpuset-cpus 1,99: this machine has no number 99".to_owned()));
        for wrong in ["", "x", "3-1", "0,,1", "0-9999999"] {
            assert!(said(wrong).unwrap_err().ends_with("no list of numbers"), "{wrong}");
        }
        assert!(check_list("--cpuset-mems", "5", "").is_ok(), "nothing is known");
    }

    #[test]
    fn limits_that_contradict_themselves() {
        let said =
            |limits| Service { limits, ..Service::default() }.check().map_err(|error| error.message.clone());
        let memory = |memory, memory_swap| Limits { memory, memory_swap, ..Limits::default() };
        assert_eq!(said(memory(Some(6 << 20), Some(-1))), Ok(()));
        for limits in [
            memory(Some(1 << 20), None),
            memory(None, Some(1 << 30)),
            memory(Some(8 << 20), Some(7 << 20)),
            Limits { memory_reservation: Some(9 << 20), ..memory(Some(8 << 20), None) },
            Limits { cpu_period: Some(1), ..Limits::default() },
            Limits { cpu_quota: Some(1), ..Limits::default() },
        ] {
            assert!(said(limits.clone()).is_err(), "{limits:?}");
        }
    }
}
