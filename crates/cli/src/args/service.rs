//! Flags of `run` and `create` about limits, rights, restarts and health.

use std::{path::PathBuf, time::Duration};

use galley_engine::{
    Error, ErrorKind,
    container::{HealthOptions, Limits, Restart, Service, Tmpfs},
};

use super::{or_nothing, size};

/// Microseconds of the period in which `--cpus` counts.
const PERIOD: u64 = 100_000;

/// A value that may be empty, as scripts give it. Under a name of its own, because the parser takes two options in a row for a
/// flag with an optional value.
type OrNothing<T> = Option<T>;

/// What was typed, of limits that can be changed too.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct ResourceArgs {
    /// Limit the memory: bytes, or with k, m, g
    #[arg(short, long, value_name = "SIZE", value_parser = or_nothing(size::parse))]
    memory: Option<OrNothing<u64>>,
    /// Limit memory and swap together; -1 for all the swap there is
    #[arg(long, value_name = "SIZE", value_parser = or_nothing(swap), allow_hyphen_values = true)]
    memory_swap: Option<OrNothing<i64>>,
    /// What is left to it when memory is short
    #[arg(long, value_name = "SIZE", value_parser = or_nothing(size::parse))]
    memory_reservation: Option<OrNothing<u64>>,
    /// How many processors it may keep busy: 1.5
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = or_nothing(cpus), conflicts_with_all = ["cpu_quota", "cpu_period"])]
    cpus: Option<OrNothing<i64>>,
    /// Its weight among others, 1024 is the usual
    #[arg(short = 'c', long, value_name = "WEIGHT", value_parser = or_nothing(count))]
    cpu_shares: Option<OrNothing<u64>>,
    /// Microseconds of processor time in each period
    #[arg(long, value_name = "TIME", value_parser = or_nothing(number), allow_hyphen_values = true)]
    cpu_quota: Option<OrNothing<i64>>,
    /// Microseconds of a period
    #[arg(long, value_name = "TIME", value_parser = or_nothing(count))]
    cpu_period: Option<OrNothing<u64>>,
    /// On which processors: 0-2,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// On which memory nodes
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// How many processes and threads; -1 for no limit
    #[arg(long, value_name = "NUMBER", value_parser = or_nothing(number), allow_hyphen_values = true)]
    pids_limit: Option<OrNothing<i64>>,
}

/// What was typed.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    #[command(flatten)]
    resources: ResourceArgs,
    /// Make its cgroup below this one, a path below the root of the hierarchies
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
    /// What the kernel adds when memory is short and it looks for a process to end, -1000 to 1000
    #[arg(long, value_name = "NUMBER", value_parser = or_nothing(score), allow_hyphen_values = true)]
    oom_score_adj: Option<OrNothing<i16>>,
}

/// What was typed.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Rights")]
pub(crate) struct RightArgs {
    /// Nothing can be written to the root file system
    #[arg(long)]
    read_only: bool,
    /// An empty directory in memory: PATH[:size=64m,mode=1777,exec,ro]
    #[arg(long, value_name = "PATH[:OPTIONS]", value_parser = |text: &str| Tmpfs::parse(text, size::parse))]
    tmpfs: Vec<Tmpfs>,
    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// Let it do everything that galley itself may do
    #[arg(long)]
    privileged: bool,
    /// no-new-privileges, seccomp=unconfined, seccomp=FILE with a filter in docker's JSON
    #[arg(long, value_name = "OPTION", value_parser = security_option)]
    security_opt: Vec<SecurityOption>,
    /// A kernel setting of its own: net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm*
    #[arg(long, value_name = "NAME=VALUE", value_parser = sysctl)]
    sysctl: Vec<(String, String)>,
}

/// What was typed.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Service")]
pub(crate) struct KeepArgs {
    /// Start the command through a small first process that reaps and passes signals on
    #[arg(long)]
    init: bool,
    /// When to start it again: no, on-failure[:TIMES], always, unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = Restart::parse)]
    restart: Option<Restart>,
    /// Seconds that `stop` waits before killing; -1 for ever
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    stop_timeout: Option<i64>,
    /// Check its health with this command
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Time between checks, 30s without it
    #[arg(long, value_name = "TIME", value_parser = or_nothing(time))]
    health_interval: Option<OrNothing<Duration>>,
    /// Time after which a check has failed, 30s without it
    #[arg(long, value_name = "TIME", value_parser = or_nothing(time))]
    health_timeout: Option<OrNothing<Duration>>,
    /// Failures in a row that make it unhealthy, 3 without it
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    health_retries: Option<u32>,
    /// Time in which failures do not count
    #[arg(long, value_name = "TIME", value_parser = or_nothing(time))]
    health_start_period: Option<OrNothing<Duration>>,
    /// Time between checks in the start period, 5s without it
    #[arg(long, value_name = "TIME", value_parser = or_nothing(time))]
    health_start_interval: Option<OrNothing<Duration>>,
    /// Do not check its health, whatever the image says
    #[arg(long)]
    no_healthcheck: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SecurityOption {
    NoNewPrivileges(bool),
    Seccomp(Filter),
    /// What is so anyway.
    Nothing,
}

/// Which filter of system calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    Builtin,
    Off,
    File(PathBuf),
}

/// The last one of a name counts.
fn sysctl(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

impl RightArgs {
    /// The last one counts.
    pub(crate) fn filter(&self) -> &Filter {
        let filters = self.security_opt.iter().rev().find_map(|option| match option {
            SecurityOption::Seccomp(filter) => Some(filter),
            _ => None,
        });
        filters.unwrap_or(&Filter::Builtin)
    }
}

impl ResourceArgs {
    /// Nothing of what was not given.
    pub(crate) fn limits(&self) -> Limits {
        let cpus = self.cpus.flatten().filter(|quota| *quota > 0);
        let nonempty = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Limits {
            memory: self.memory.flatten().filter(|bytes| *bytes > 0),
            memory_swap: self.memory_swap.flatten().filter(|bytes| *bytes != 0),
            memory_reservation: self.memory_reservation.flatten().filter(|bytes| *bytes > 0),
            cpu_shares: self.cpu_shares.flatten().filter(|weight| *weight > 0),
            cpu_quota: cpus.or(self.cpu_quota.flatten()).filter(|quota| *quota != 0),
            cpu_period: cpus.map(|_| PERIOD).or(self.cpu_period.flatten()).filter(|period| *period > 0),
            cpuset_cpus: nonempty(&self.cpuset_cpus),
            cpuset_mems: nonempty(&self.cpuset_mems),
            // Docker takes zero for no limit.
            pids: self.pids_limit.flatten().map(|pids| if pids <= 0 { -1 } else { pids }),
        }
    }
}

/// All of them together.
pub(crate) fn service(limits: &LimitArgs, rights: &RightArgs, keep: &KeepArgs) -> Result<Service, Error> {
    let last = |wanted: fn(&SecurityOption) -> Option<bool>| {
        rights.security_opt.iter().filter_map(wanted).next_back().unwrap_or(false)
    };
    let service = Service {
        limits: limits.resources.limits(),
        sysctls: rights.sysctl.iter().cloned().collect(),
        cgroup_parent: limits.cgroup_parent.clone().filter(|path| !path.is_empty()),
        read_only: rights.read_only,
        tmpfs: rights.tmpfs.clone(),
        cap_add: rights.cap_add.clone(),
        cap_drop: rights.cap_drop.clone(),
        privileged: rights.privileged,
        no_new_privileges: last(|option| match option {
            SecurityOption::NoNewPrivileges(on) => Some(*on),
            _ => None,
        }),
        seccomp_off: *rights.filter() == Filter::Off,
        init: keep.init,
        restart: keep.restart.unwrap_or_default(),
        stop_timeout: keep.stop_timeout,
        oom_score_adj: limits.oom_score_adj.flatten(),
        ..Service::default()
    };
    if limits.cgroup_parent.as_deref().is_some_and(|path| path.ends_with(".slice") && !path.contains('/')) {
        let error = Error::new(
            ErrorKind::Usage,
            "--cgroup-parent: this is a unit's name, which systemd would have to be asked about",
        );
        return Err(error.help("write the slice as a path: /system.slice"));
    }
    service.check().map(|()| service)
}

impl KeepArgs {
    /// What replaces the image's health check.
    pub(crate) fn health(&self) -> HealthOptions {
        HealthOptions {
            off: self.no_healthcheck,
            command: self.health_cmd.clone().filter(|command| !command.is_empty()),
            interval: self.health_interval.flatten(),
            timeout: self.health_timeout.flatten(),
            start_period: self.health_start_period.flatten(),
            start_interval: self.health_start_interval.flatten(),
            retries: self.health_retries,
        }
    }
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn score(text: &str) -> Result<i16, String> {
    let score = text.parse().ok().filter(|score| (-1000..=1000).contains(score));
    score.ok_or_else(|| format!("{text:?} is no number between -1000 and 1000"))
}

fn swap(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    size::parse(text).map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// The quota of so many processors.
fn cpus(text: &str) -> Result<i64, String> {
    let there = std::thread::available_parallelism().map_or(usize::MAX, usize::from);
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    let number = number.ok_or_else(|| format!("{text:?} is no number of processors"))?;
    if number > 0.0 && (number < 0.01 || number > there as f64) {
        return Err(format!("this machine has {there} processors: write a number from 0.01 to {there}"));
    }
    Ok((number * PERIOD as f64) as i64)
}

/// Go's durations, as everywhere in docker.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: write 30s, 1m30s or 500ms");
    let nanoseconds = galley_engine::container::parse_duration(text).map_err(|_| wrong())?;
    let time = u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| wrong())?;
    if !time.is_zero() && time < Duration::from_millis(1) {
        return Err(format!("{text:?} is less than a millisecond"));
    }
    Ok(time)
}

fn security_option(text: &str) -> Result<SecurityOption, String> {
    let (name, value) = text.split_once(['=', ':']).map_or((text, None), |(name, value)| (name, Some(value)));
    let unsupported = |why: &str| Err(format!("{text} is not supported: {why}"));
    match (name, value) {
        ("no-new-privileges", None) => Ok(SecurityOption::NoNewPrivileges(true)),
        ("no-new-privileges", Some(value)) => super::truth(value)
            .map(SecurityOption::NoNewPrivileges)
            .ok_or_else(|| format!("{value:?} is neither true nor false")),
        ("seccomp", Some("unconfined")) => Ok(SecurityOption::Seccomp(Filter::Off)),
        ("seccomp", Some("builtin")) => Ok(SecurityOption::Seccomp(Filter::Builtin)),
        ("seccomp", Some(file)) if !file.is_empty() => {
            Ok(SecurityOption::Seccomp(Filter::File(PathBuf::from(file))))
        }
        ("seccomp", _) => unsupported("write seccomp=unconfined, seccomp=builtin or seccomp=FILE"),
        ("apparmor", Some("unconfined")) | ("label", Some("disable")) => Ok(SecurityOption::Nothing),
        ("apparmor", _) => unsupported(
            "galley loads no AppArmor profiles; what the machine confines galley to holds inside too",
        ),
        ("label", _) => unsupported("galley sets no SELinux labels"),
        ("systempaths", _) => {
            unsupported("what docker masks in /proc and /sys is masked, but for --privileged")
        }
        _ => unsupported("known are no-new-privileges, seccomp=unconfined, seccomp=builtin and seccomp=FILE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_become_a_quota() {
        assert_eq!(cpus("1"), Ok(100_000));
        assert_eq!(cpus("0.5"), Ok(50_000));
        assert_eq!(cpus("0"), Ok(0));
        for wrong in ["x", "-1", "0.001", "100000", "inf"] {
            assert!(cpus(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn security_options_as_docker_reads_them() {
        assert_eq!(security_option("no-new-privileges"), Ok(SecurityOption::NoNewPrivileges(true)));
        assert_eq!(security_option("no-new-privileges:false"), Ok(SecurityOption::NoNewPrivileges(false)));
        let filter = |text| {
            security_option(text).map(|option| {
                RightArgs { security_opt: vec![option], ..RightArgs::default() }.filter().clone()
            })
        };
        assert_eq!(filter("seccomp=unconfined"), Ok(Filter::Off));
        assert_eq!(filter("seccomp=a=b.json"), Ok(Filter::File(PathBuf::from("a=b.json"))));
        for refused in ["seccomp=", "seccomp", "apparmor=docker-default", "label=type:x", "nonsense"] {
            assert!(security_option(refused).unwrap_err().contains("is not supported"), "{refused}");
        }
    }

    #[test]
    fn times_and_swap() {
        assert_eq!(time("1m30s"), Ok(Duration::from_secs(90)));
        assert!(time("5").is_err() && time("-1s").is_err() && time("1us").is_err());
        assert_eq!((swap("-1"), swap("1g")), (Ok(-1), Ok(1 << 30)));
        assert!(swap("-2").is_err());
    }

    #[test]
    fn what_is_nothing_to_docker_limits_nothing() {
        let arguments =
            ResourceArgs { memory: Some(Some(0)), cpus: Some(Some(0)), ..ResourceArgs::default() };
        assert!(arguments.limits().is_empty());
        let pids = ResourceArgs { pids_limit: Some(Some(0)), ..ResourceArgs::default() };
        assert_eq!(pids.limits().pids, Some(-1));
    }
}
