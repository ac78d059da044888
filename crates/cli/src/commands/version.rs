use serde_json::{Value, json};

use crate::{
    args::{DOCKER_VERSION, VERSION},
    commands::listing,
    context::Context,
    failure::Outcome,
};

/// Print the version
#[derive(Debug, clap::Args)]
pub(crate) struct VersionArgs {
    /// `json`, or a Go template over docker's fields: {{.Client.Version}}, {{.Server.Version}}
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// As `docker version` with galley in place of both client and server.
pub(crate) fn execute(arguments: &VersionArgs, context: &Context) -> Outcome {
    let version = if context.environment.as_docker { DOCKER_VERSION } else { VERSION };
    let part = json!({
        "Version": version,
        "GalleyVersion": VERSION,
        "Os": "linux",
        "Arch": galley_oci::Platform::of_this_machine().architecture,
        "ApiVersion": "none",
    });
    let data = json!({ "Client": part, "Server": part });
    listing::print_one(&data, arguments.format.as_deref(), plain)
}

fn plain(data: &Value) -> String {
    let field =
        |name: &str| data.pointer(&format!("/Client/{name}")).and_then(Value::as_str).unwrap_or_default();
    format!(
        "Client: galley {}\n Version:    {}\n OS/Arch:    {}/{}\n\nServer: none, galley has no daemon\n Version:    {}",
        field("GalleyVersion"),
        field("Version"),
        field("Os"),
        field("Arch"),
        field("Version"),
    )
}
