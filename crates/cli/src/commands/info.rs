use galley_engine::{container, images};
use galley_oci::Platform;
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
    let running = containers.iter().filter(|container| container.is_running()).count();
    let limit = collect::limit(context, &store)?;
    let data = json!({
        "ServerVersion": if context.environment.as_docker { DOCKER_VERSION } else { VERSION },
        "GalleyVersion": VERSION,
        "StoreLimit": limit.map_or_else(|| "none".to_owned(), human::size),
        "DockerRootDir": store.root().display().to_string(),
        "Driver": "overlay",
        "OSType": "linux",
        "Architecture": Platform::of_this_machine().architecture,
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "Containers": containers.len(),
        "ContainersRunning": running,
        "Images": images::list(&store)?.len(),
    });
    listing::print_one(&data, arguments.format.as_deref(), plain)
}

fn plain(data: &Value) -> String {
    let rows = data.as_object().into_iter().flatten();
    let row = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name}: {text}"),
        other => format!("{name}: {other}"),
    };
    rows.map(row).collect::<Vec<_>>().join("\n")
}
