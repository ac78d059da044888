use std::io::{self, Write};

use galley_engine::container;

use crate::{
    commands::{run::signal, start::each},
    context::Context,
    failure::{Outcome, keep_first, output},
};

/// Send a signal to running containers
#[derive(Debug, clap::Args)]
pub(crate) struct KillArgs {
    /// Which, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Names, ids or the start of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Wait until containers have ended, and print their exit codes
#[derive(Debug, clap::Args)]
pub(crate) struct WaitArgs {
    /// Names, ids or the start of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Sends it to each and prints its name.
pub(crate) fn execute(arguments: &KillArgs, context: &Context) -> Outcome {
    let signal = signal("--signal", &arguments.signal)?;
    let store = context.store()?;
    each(&arguments.containers, |name| Ok(container::signal(&container::find(&store, name)?, signal)?))
}

/// Waits for each, one after the other.
pub(crate) fn wait(arguments: &WaitArgs, context: &Context) -> Outcome {
    let store = context.store()?;
    let mut outcome = Ok(());
    for name in &arguments.containers {
        match container::wait(&store, name) {
            Ok(code) => writeln!(io::stdout().lock(), "{code}").map_err(output)?,
            Err(error) => keep_first(&mut outcome, error.into()),
        }
    }
    outcome
}
