//! Limits, rights, restarts and health, in docker's words.

use std::time::Duration;

use galley_engine::container::{ContainerConfig, Health, HealthState, MountFrom, Service};
use galley_sandbox::DEFAULT_SHM_SIZE;
use serde_json::{Map, Value, json};

/// How a container was asked to be.
pub(super) fn host_config(config: &ContainerConfig, network: &str, ports: &Value) -> Value {
    let service = &config.service;
    let limits = &service.limits;
    let size = |bytes: Option<u64>| bytes.unwrap_or_default();
    let swap = || Some(2 * i64::try_from(limits.memory?).ok()?);
    let mut described = without_meaning();
    let own = json!({
        "Binds": list(&binds(config)),
        "NetworkMode": network,
        "PortBindings": ports,
        "RestartPolicy": {
            "Name": service.restart.name(),
            "MaximumRetryCount": service.restart.count_max(),
        },
        "AutoRemove": config.remove,
        "CapAdd": list(&service.cap_add),
        "CapDrop": list(&service.cap_drop),
        "Dns": service.dns.servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "DnsOptions": service.dns.options,
        "DnsSearch": service.dns.search,
        "ExtraHosts": list(&hosts(config)),
        "GroupAdd": list(&service.group_add),
        "OomScoreAdj": service.oom_score_adj.unwrap_or_default(),
        "Privileged": service.privileged,
        "ReadonlyRootfs": service.read_only,
        "SecurityOpt": security(service),
        "Tmpfs": tmpfs(service),
        "ShmSize": config.surroundings.shm_size.unwrap_or(DEFAULT_SHM_SIZE),
        "Sysctls": Some(&service.sysctls).filter(|all| !all.is_empty()),
        "Init": service.init,
        "CgroupParent": service.cgroup_parent.clone().unwrap_or_default(),
        "Memory": size(limits.memory),
        "MemoryReservation": size(limits.memory_reservation),
        "MemorySwap": limits.memory_swap.or_else(swap).unwrap_or_default(),
        "CpuShares": size(limits.cpu_shares),
        "CpuPeriod": size(limits.cpu_period),
        "CpuQuota": limits.cpu_quota.unwrap_or_default(),
        "CpusetCpus": limits.cpuset_cpus.clone().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.clone().unwrap_or_default(),
        "PidsLimit": limits.pids,
        "Ulimits": ulimits(config),
    });
    if let (Some(described), Value::Object(own)) = (described.as_object_mut(), own) {
        described.extend(own);
    }
    described
}

/// Fields for what no container of galley has, with docker's empty values.
fn without_meaning() -> Value {
    json!({
        "ContainerIDFile": "",
        "LogConfig": { "Type": "json-file", "Config": {} },
        "VolumeDriver": "",
        "VolumesFrom": null,
        "CgroupnsMode": "private",
        "IpcMode": "private",
        "Cgroup": "",
        "Links": null,
        "PidMode": "",
        "PublishAllPorts": false,
        "UTSMode": "",
        "UsernsMode": "",
        "Runtime": "",
        "Isolation": "",
        // `--cpus` is written as a quota.
        "NanoCpus": 0,
        "BlkioWeight": 0,
        "Devices": null,
        "DeviceCgroupRules": null,
        "DeviceRequests": null,
        "MemorySwappiness": null,
        "OomKillDisable": null,
    })
}

/// `/from:/to:ro` and `name:/to`, whether `-v` or `--mount` asked for it.
fn binds(config: &ContainerConfig) -> Vec<String> {
    let binds = config.mounts.iter().filter_map(|mount| {
        let source = match &mount.source {
            MountFrom::Path(path) => path.display().to_string(),
            MountFrom::Volume(name) => name.clone(),
            MountFrom::Anonymous(_) => return None,
        };
        Some(format!("{source}:{}{}", mount.target, if mount.read_only { ":ro" } else { "" }))
    });
    binds.collect()
}

fn hosts(config: &ContainerConfig) -> Vec<String> {
    config.surroundings.hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect()
}

fn ulimits(config: &ContainerConfig) -> Value {
    // Docker has -1 for none.
    let limit = |value: u64| i64::try_from(value).unwrap_or(-1);
    let all = config.surroundings.ulimits.iter();
    let all: Vec<Value> = all
        .map(|it| json!({ "Name": it.resource, "Hard": limit(it.hard), "Soft": limit(it.soft) }))
        .collect();
    if all.is_empty() { Value::Null } else { Value::Array(all) }
}

/// Docker shows an empty list as null.
fn list(names: &[String]) -> Value {
    if names.is_empty() { Value::Null } else { json!(names) }
}

fn security(service: &Service) -> Value {
    let mut options = Vec::new();
    options.extend(service.no_new_privileges.then(|| "no-new-privileges".to_owned()));
    options.extend(service.seccomp_off.then(|| "seccomp=unconfined".to_owned()));
    // In one line, as in docker.
    let profile = |text: &String| serde_json::from_str::<Value>(text).ok();
    options.extend(service.seccomp.as_ref().and_then(profile).map(|profile| format!("seccomp={profile}")));
    list(&options)
}

fn tmpfs(service: &Service) -> Value {
    let options = |it: &galley_engine::container::Tmpfs| {
        let size = it.size.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
        let words = [if it.read_only { "ro" } else { "rw" }, if it.exec { "exec" } else { "noexec" }];
        let mode = it.mode.map(|mode| format!(",mode={mode:o}")).unwrap_or_default();
        Value::String(format!("{}{size}{mode}", words.join(",")))
    };
    let all: Map<String, Value> = service.tmpfs.iter().map(|it| (it.target.clone(), options(it))).collect();
    if all.is_empty() { Value::Null } else { Value::Object(all) }
}

/// How its health is checked.
pub(super) fn healthcheck(health: &Health) -> Value {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    json!({
        "Test": health.test,
        "Interval": nanoseconds(health.interval),
        "Timeout": nanoseconds(health.timeout),
        "StartPeriod": nanoseconds(health.start_period),
        "StartInterval": nanoseconds(health.start_interval),
        "Retries": health.retries,
    })
}

/// What the checks said.
pub(super) fn health(health: &HealthState) -> Value {
    let results = health.log.iter().map(|result| {
        json!({
            "Start": result.start,
            "End": result.end,
            "ExitCode": result.exit_code,
            "Output": result.output,
        })
    });
    json!({
        "Status": health.status.name(),
        "FailingStreak": health.failing_streak,
        "Log": results.collect::<Vec<_>>(),
    })
}
