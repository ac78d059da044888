mod filter;

use galley_engine::container::{
    self, Container, HealthState, HealthStatus, MountFrom, PublishedPort, Status,
};
use galley_oci::Time;
use galley_store::Store;
use serde_json::{Value, json};

use crate::{
    commands::listing::{ListArgs, Listing},
    context::Context,
    failure::Outcome,
    human, message, namespace,
    template::METHOD,
};

/// List containers
#[derive(Debug, clap::Args)]
pub(crate) struct PsArgs {
    /// Also those that ended
    #[arg(short, long)]
    all: bool,
    /// The newest N, whatever their state
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "latest")]
    last: Option<usize>,
    /// The newest one, whatever its state
    #[arg(short, long)]
    latest: bool,
    /// Only these: ancestor=, before=, exited=, expose=, health=, id=, label=, name=, network=, publish=, since=, status=, volume=
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    #[command(flatten)]
    list: ListArgs,
    /// How much each has written, and how much that is with its image
    #[arg(short, long)]
    size: bool,
}

const HEADINGS: [(&str, &str); 14] = [
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("RunningFor", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Status", "STATUS"),
    ("State", "STATE"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Size", "SIZE"),
];
const TABLE: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
const TABLE_SIZE: &str =
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}";
/// Commands are cut here, as docker cuts them.
const COMMAND_CHARACTERS: usize = 20;

/// Lists containers, the newest first.
pub(crate) fn execute(arguments: &PsArgs, context: &Context) -> Outcome {
    let mut filter = filter::Filter::parse(&arguments.filter)?;
    let format = arguments.list.format.as_deref().unwrap_or_default();
    // Files of containers may be closed to their user.
    let sizes = !arguments.list.quiet && (arguments.size || format.contains(".Size"));
    if sizes {
        namespace::enter_unless_root(context)?;
    }
    let store = context.store()?;
    filter.look_up(&store)?;
    let containers = container::list(&store)?;
    let newest = if arguments.latest { Some(1) } else { arguments.last };
    let everything = arguments.all || newest.is_some() || filter.shows_ended();
    let shown = containers.iter().filter(|container| everything || container.is_running());
    let shown = shown.filter(|container| filter.takes(container)).take(newest.unwrap_or(usize::MAX));
    let sized = |container| {
        let mut row = row(container, arguments.list.no_trunc);
        if sizes {
            row["Size"] = size(&store, container).into();
        }
        row
    };
    let rows = shown.map(sized).collect();
    let table = if arguments.size { TABLE_SIZE } else { TABLE };
    Listing { headings: &HEADINGS, table, rows }.print(&arguments.list)
}

/// What it has written, and that with its image. What one cannot tell is no reason to hide the others.
fn size(store: &Store, container: &Container) -> String {
    match container::sizes(store, container) {
        Ok((own, all)) => {
            all.damage.iter().for_each(message::warn_of);
            format!("{} (virtual {})", human::size(own), human::size(all.bytes))
        }
        Err(error) => {
            message::warn_of(&error);
            "N/A".to_owned()
        }
    }
}

fn row(container: &Container, whole: bool) -> Value {
    let config = &container.config;
    let created = Time::parse_rfc3339(&config.created).unwrap_or_default();
    let labels: Vec<String> = config.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let (mounts, volumes) = mounts(container);
    let ports = if container.is_running() { container.state.ports.as_slice() } else { &[] };
    json!({
        "ID": if whole { container.folder.id() } else { container.short_id() },
        "Image": config.image,
        "Command": command(&config.arguments.join(" "), whole),
        "RunningFor": human::since(created),
        "CreatedAt": human::timestamp(created),
        "Status": status(&container.status, container.state.health.as_ref()),
        "State": state(&container.status),
        "Ports": ports.iter().map(port).collect::<Vec<_>>().join(", "),
        "Names": container.name,
        "Labels": labels.join(","),
        "Mounts": mounts,
        "LocalVolumes": volumes.to_string(),
        "Networks": network(container),
        "Size": "0B",
        METHOD: config.labels,
    })
}

pub(super) fn command(words: &str, whole: bool) -> String {
    let shown = if whole || words.chars().count() <= COMMAND_CHARACTERS {
        words.to_owned()
    } else {
        words.chars().take(COMMAND_CHARACTERS - 1).chain(['…']).collect()
    };
    Value::String(shown).to_string()
}

pub(super) fn status(status: &Status, health: Option<&HealthState>) -> String {
    let ago = |time: Option<Time>| time.map_or_else(String::new, |time| format!(" {}", human::since(time)));
    match status {
        Status::Created => "Created".to_owned(),
        Status::Running { started: Some(started) } => {
            let health = health.map(|health| match health.status {
                HealthStatus::Starting => " (health: starting)".to_owned(),
                known => format!(" ({})", known.name()),
            });
            let health = health.unwrap_or_default();
            format!("Up {}{health}", human::since(*started).trim_end_matches(" ago"))
        }
        Status::Running { started: None } => "Up".to_owned(),
        Status::Paused { started } => {
            let since = started.map(|started| format!(" {}", human::since(started)));
            format!("Up{} (Paused)", since.unwrap_or_default().trim_end_matches(" ago"))
        }
        Status::Restarting { code, finished } => format!("Restarting ({code}){}", ago(*finished)),
        Status::Exited { code, finished } => format!("Exited ({code}){}", ago(*finished)),
    }
}

const fn state(status: &Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Running { .. } => "running",
        Status::Paused { .. } => "paused",
        Status::Restarting { .. } => "restarting",
        Status::Exited { .. } => "exited",
    }
}

fn port(port: &PublishedPort) -> String {
    let address = port.host_address;
    let address = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
    format!("{address}:{}->{}/{}", port.host_port, port.container_port, port.protocol.name())
}

fn network(container: &Container) -> &'static str {
    match container.config.network {
        container::NetworkMode::Private => "bridge",
        container::NetworkMode::Host => "host",
        container::NetworkMode::None => "none",
    }
}

/// What is mounted, and how many of that are volumes.
pub(super) fn mounts(container: &Container) -> (String, usize) {
    let mounts = &container.config.mounts;
    let name = |source: &MountFrom| match source {
        MountFrom::Path(path) => path.display().to_string(),
        MountFrom::Volume(name) | MountFrom::Anonymous(name) => name.clone(),
    };
    let names: Vec<String> = mounts.iter().map(|mount| name(&mount.source)).collect();
    let volumes = mounts.iter().filter(|mount| !matches!(mount.source, MountFrom::Path(_))).count();
    (names.join(","), volumes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_states_look_like_dockers() {
        assert_eq!(command("/app", false), "\"/app\"");
        assert_eq!(command("sh -c 'sleep 1000; echo'", false), "\"sh -c 'sleep 1000; …\"");
        assert_eq!(status(&Status::Created, None), "Created");
        assert_eq!(status(&Status::Exited { code: 137, finished: None }, None), "Exited (137)");
        let started = Some(Time { seconds: i64::MAX, nanoseconds: 0 });
        assert_eq!(status(&Status::Running { started }, None), "Up Less than a second");
        let health = |status| HealthState { status, ..HealthState::default() };
        let up = |health| status(&Status::Running { started }, Some(&health));
        assert_eq!(up(health(HealthStatus::Healthy)), "Up Less than a second (healthy)");
        assert_eq!(up(health(HealthStatus::Starting)), "Up Less than a second (health: starting)");
        assert_eq!(status(&Status::Paused { started }, None), "Up Less than a second (Paused)");
        let restarting = Status::Restarting { code: 1, finished: None };
        assert_eq!(status(&restarting, None), "Restarting (1)");
    }
}
