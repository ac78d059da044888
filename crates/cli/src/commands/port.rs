use std::io::{self, Write};

use galley_engine::{
    Error, ErrorKind,
    container::{self, PublishedPort},
};

use crate::{
    context::Context,
    failure::{Outcome, output},
};

/// Print which ports of this machine lead into a container
#[derive(Debug, clap::Args)]
pub(crate) struct PortArgs {
    /// Name, id or the start of one
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Only this port inside
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

/// Prints a line each.
pub(crate) fn execute(arguments: &PortArgs, context: &Context) -> Outcome {
    let store = context.store()?;
    let found = container::find(&store, &arguments.container)?;
    let ports = if found.is_running() { found.state.ports.as_slice() } else { &[] };
    let inside = |port: &PublishedPort| format!("{}/{}", port.container_port, port.protocol.name());
    let mut out = io::stdout().lock();
    let Some(wanted) = &arguments.port else {
        let lines = ports.iter().map(|port| format!("{} -> {}\n", inside(port), outside(port)));
        return out.write_all(lines.collect::<String>().as_bytes()).map_err(output);
    };
    let wanted = if wanted.contains('/') { wanted.clone() } else { format!("{wanted}/tcp") };
    let lines: String =
        ports.iter().filter(|port| inside(port) == wanted).map(|port| outside(port) + "\n").collect();
    if lines.is_empty() {
        let message = format!("container {} publishes no port {wanted}", found.name);
        return Err(Error::new(ErrorKind::NotFound, message).help("ports are published by `run -p`").into());
    }
    out.write_all(lines.as_bytes()).map_err(output)
}

fn outside(port: &PublishedPort) -> String {
    std::net::SocketAddr::new(port.host_address, port.host_port).to_string()
}
