use std::path::Path;

use galley_engine::{
    container::{self, Status},
    images,
};
use serde_json::{Value, json};

use crate::{
    args::{DOCKER_VERSION, VERSION},
    collect,
    commands::listing,
    context::Context,
    failure::Outcome,
    human,
};

/// Print what this galley works with
#[derive(Debug, clap::Args)]
pub(crate) struct InfoArgs {
    /// `json`, or a Go template over docker's fields: {{.ServerVersion}}, {{.DockerRootDir}}
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// The fields of `docker info` that mean something here.
pub(crate) fn execute(arguments: &InfoArgs, context: &Context) -> Outcome {
    let store = context.store()?;
    let containers = container::list(&store)?;
    let count = |of: fn(&Status) -> bool| containers.iter().filter(|container| of(&container.status)).count();
    let paused = count(|status| matches!(status, Status::Paused { .. }));
    let running = count(|status| matches!(status, Status::Running { .. } | Status::Restarting { .. }));
    let limit = collect::limit(context, &store)?;
    let (machine, memory) = (rustix::system::uname(), rustix::system::sysinfo());
    let data = json!({
        "ID": "",
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": containers.len() - running - paused,
        "Images": images::list(&store)?.len(),
        "Driver": "overlay",
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "2" } else { "1" },
        "KernelVersion": machine.release().to_string_lossy(),
        "OperatingSystem": operating_system(),
        "OSType": "linux",
        // Docker's info has the kernel's word, its images have Go's.
        "Architecture": machine.machine().to_string_lossy(),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": memory.totalram.saturating_mul(memory.mem_unit.into()),
        "Name": machine.nodename().to_string_lossy(),
        "DockerRootDir": store.root().display().to_string(),
        "ServerVersion": if context.environment.as_docker { DOCKER_VERSION } else { VERSION },
        "GalleyVersion": VERSION,
        "StoreLimit": limit.map_or_else(|| "none".to_owned(), human::size),
        "Swarm": { "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "" },
        "SecurityOptions": null,
        "Labels": null,
        "Warnings": null,
    });
    listing::print_one(&data, arguments.format.as_deref(), plain)
}

/// The machine's own name for what it runs.
fn operating_system() -> String {
    let text = fs_err::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map(|name| name.trim_matches('"').to_owned()).unwrap_or_default()
}

/// Docker's headings, for those who look for them.
fn plain(data: &Value) -> String {
    let rows = [
        (" Containers", "Containers"),
        ("  Running", "ContainersRunning"),
        ("  Paused", "ContainersPaused"),
        ("  Stopped", "ContainersStopped"),
        (" Images", "Images"),
        (" Server Version", "ServerVersion"),
        (" Galley Version", "GalleyVersion"),
        (" Storage Driver", "Driver"),
        (" Logging Driver", "LoggingDriver"),
        (" Cgroup Driver", "CgroupDriver"),
        (" Cgroup Version", "CgroupVersion"),
        (" Kernel Version", "KernelVersion"),
        (" Operating System", "OperatingSystem"),
        (" OSType", "OSType"),
        (" Architecture", "Architecture"),
        (" CPUs", "NCPU"),
        (" Total Memory", "MemTotal"),
        (" Name", "Name"),
        (" Docker Root Dir", "DockerRootDir"),
        (" Store Limit", "StoreLimit"),
    ];
    let row = |(heading, field): (&str, &str)| match data.get(field) {
        Some(Value::Number(bytes)) if field == "MemTotal" => {
            format!("{heading}: {}", human::binary_size(bytes.as_u64().unwrap_or_default()))
        }
        Some(Value::String(text)) => format!("{heading}: {text}"),
        other => format!("{heading}: {}", other.unwrap_or(&Value::Null)),
    };
    format!("Server:\n{}", rows.map(row).join("\n"))
}
