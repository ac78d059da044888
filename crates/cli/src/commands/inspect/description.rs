//! A container in the shape docker gives it, as far as galley knows it.

use super::service;
use galley_engine::{
    Error, ErrorKind,
    container::{Container, ContainerMount, MountFrom, NetworkMode, PublishedPort, Status},
};
use galley_store::Store;
use serde_json::{Map, Value, json};
use signal_hook::low_level::signal_name;

/// Docker's word for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Everything known of `container`.
pub(super) fn describe(store: &Store, container: &Container) -> Result<Value, Error> {
    let config = &container.config;
    let (program, arguments) = match config.arguments.split_first() {
        Some((program, arguments)) => (program.clone(), arguments.to_vec()),
        None => (String::new(), Vec::new()),
    };
    let mounts: Result<Vec<Value>, Error> =
        config.mounts.iter().map(|mount| describe_mount(store, mount)).collect();
    let ports = if container.is_running() { &container.state.ports } else { &config.ports };
    Ok(json!({
        "Id": container.folder.id(),
        "Created": config.created,
        "Path": program,
        "Args": arguments,
        "State": state(container),
        "Image": config.image_id.to_string(),
        // These files are made anew at each start and have no path on this machine.
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": container.folder.log().display().to_string(),
        "Name": format!("/{}", container.name),
        "RestartCount": container.state.restart_count,
        "Driver": "overlay",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": service::host_config(config, network(config.network), &bindings(&config.ports)),
        "GraphDriver": { "Data": null, "Name": "overlay" },
        "Mounts": mounts?,
        "Config": settings(container),
        "NetworkSettings": network_settings(config.network, &bindings(ports)),
    }))
}

/// What it was made with, in docker's `Config`.
fn settings(container: &Container) -> Value {
    let config = &container.config;
    let volumes = config.mounts.iter().filter(|mount| matches!(mount.source, MountFrom::Anonymous(_)));
    let volumes: Map<String, Value> = volumes.map(|mount| (mount.target.clone(), json!({}))).collect();
    let exposed = config.service.exposed.iter().map(|port| (port.clone(), json!({})));
    json!({
        "Hostname": hostname(container),
        "Domainname": "",
        "User": config.user,
        "AttachStdin": false,
        "AttachStdout": false,
        "AttachStderr": false,
        "ExposedPorts": exposed.collect::<Map<_, _>>(),
        "Tty": config.tty,
        "OpenStdin": config.open_stdin,
        "StdinOnce": false,
        "Env": config.environment,
        "Cmd": config.arguments.get(config.entrypoint..).filter(|words| !words.is_empty()),
        "Healthcheck": config.service.health.as_ref().map(service::healthcheck),
        "Image": config.image,
        "Volumes": Some(volumes).filter(|all| !all.is_empty()),
        "WorkingDir": config.working_directory,
        "Entrypoint": config.arguments.get(..config.entrypoint).filter(|words| !words.is_empty()),
        "OnBuild": null,
        "Labels": config.labels,
        "StopSignal": signal_name(config.stop_signal).map_or_else(|| config.stop_signal.to_string(), str::to_owned),
        "StopTimeout": config.service.stop_timeout,
    })
}

/// The name it has inside; by chroot that is the machine's, which is nothing of the container's own.
fn hostname(container: &Container) -> &str {
    match container.config.hostname.as_str() {
        "" if container.folder.root().exists() => "",
        "" => container.short_id(),
        given => given,
    }
}

/// No container has an address by which this machine reaches it: what connects its namespace gives it the machine's own, so
/// all addresses are empty.
fn network_settings(mode: NetworkMode, ports: &Value) -> Value {
    let addresses = json!({
        "MacAddress": "",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
    });
    let with = |own: Value| match (own, &addresses) {
        (Value::Object(own), Value::Object(addresses)) => {
            Value::Object(own.into_iter().chain(addresses.clone()).collect())
        }
        (own, _) => own,
    };
    let network_of_mode = with(json!({
        "IPAMConfig": null,
        "Links": null,
        "Aliases": null,
        "DriverOpts": null,
        "GwPriority": 0,
        "NetworkID": "",
        "DNSNames": null,
    }));
    with(json!({
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": "",
        "Ports": ports,
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "Networks": { network(mode): network_of_mode },
    }))
}

fn state(container: &Container) -> Value {
    let (status, code) = match &container.status {
        Status::Created => ("created", 0),
        Status::Running { .. } => ("running", 0),
        Status::Paused { .. } => ("paused", 0),
        Status::Restarting { code, .. } => ("restarting", *code),
        Status::Exited { code, .. } => ("exited", *code),
    };
    let state = &container.state;
    let time = |time: &Option<String>| time.clone().unwrap_or_else(|| NEVER.to_owned());
    let mut described = json!({
        "Status": status,
        "Running": container.is_running(),
        "Paused": status == "paused",
        "Restarting": status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": false,
        "Pid": state.pid.filter(|_| container.is_running()).unwrap_or(0),
        "ExitCode": code,
        "Error": state.error.clone().unwrap_or_default(),
        "StartedAt": time(&state.started),
        "FinishedAt": time(&state.finished),
    });
    if let (Some(health), Some(described)) = (&state.health, described.as_object_mut()) {
        described.insert("Health".to_owned(), service::health(health));
    }
    described
}

const fn network(mode: NetworkMode) -> &'static str {
    match mode {
        NetworkMode::Private => "bridge",
        NetworkMode::Host => "host",
        NetworkMode::None => "none",
    }
}

/// `{"80/tcp": [{"HostIp": …, "HostPort": …}]}`.
fn bindings(ports: &[PublishedPort]) -> Value {
    let mut all: Map<String, Value> = Map::new();
    for port in ports {
        let key = format!("{}/{}", port.container_port, port.protocol.name());
        let binding =
            json!({ "HostIp": port.host_address.to_string(), "HostPort": port.host_port.to_string() });
        if let Some(list) = all.entry(key).or_insert_with(|| json!([])).as_array_mut() {
            list.push(binding);
        }
    }
    Value::Object(all)
}

fn describe_mount(store: &Store, mount: &ContainerMount) -> Result<Value, Error> {
    let unreadable = |error| Error::new(ErrorKind::Store, "cannot read the store's volumes").because(error);
    let (kind, name, source) = match &mount.source {
        MountFrom::Path(path) => ("bind", None, Some(path.clone())),
        MountFrom::Volume(name) | MountFrom::Anonymous(name) => {
            ("volume", Some(name.clone()), store.volume(name).map_err(unreadable)?)
        }
    };
    Ok(json!({
        "Type": kind,
        "Name": name.unwrap_or_default(),
        "Source": source.map(|path| path.display().to_string()).unwrap_or_default(),
        "Destination": mount.target,
        "RW": !mount.read_only,
    }))
}
