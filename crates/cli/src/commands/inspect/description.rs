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
        "LogPath": container.folder.log().display().to_string(),
        "Name": format!("/{}", container.name),
        "RestartCount": container.state.restart_count,
        "Platform": "linux",
        "HostConfig": service::host_config(config, network(config.network), &bindings(&config.ports)),
        "Mounts": mounts?,
        "Config": {
            "Hostname": config.hostname,
            "User": config.user,
            "ExposedPorts": config.service.exposed.iter().map(|port| (port.clone(), json!({}))).collect::<Map<_, _>>(),
            "Tty": config.tty,
            "OpenStdin": config.open_stdin,
            "Env": config.environment,
            "Cmd": config.arguments.get(config.entrypoint..).filter(|words| !words.is_empty()),
            "Entrypoint": config.arguments.get(..config.entrypoint).filter(|words| !words.is_empty()),
            "Image": config.image,
            "WorkingDir": config.working_directory,
            "Labels": config.labels,
            "Healthcheck": config.service.health.as_ref().map(service::healthcheck),
            "StopSignal": signal_name(config.stop_signal).map_or_else(|| config.stop_signal.to_string(), str::to_owned),
            "StopTimeout": config.service.stop_timeout,
        },
        "NetworkSettings": { "Ports": bindings(ports) },
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
