use std::{
    io::{self, Write},
    time::Duration,
};

use galley_engine::container::{self, Container};

use crate::{
    commands::run::signal,
    context::Context,
    failure::{Outcome, keep_first, output},
};

/// Stop running containers
#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    /// Seconds to wait before killing, 10 unless the container was created with another number; -1 waits for ever
    #[arg(short, long, visible_alias = "time", value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    timeout: Option<i64>,
    /// The signal that asks it to end, instead of its own
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Names, ids or the start of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Understands whole seconds.
pub(super) fn seconds(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("{text:?} is no number of seconds: write 30, or -1 for ever"))
}

/// Of `--signal`; an empty one, from a script's variable that is not set, is none.
pub(super) fn other_signal(name: Option<&str>) -> Outcome<Option<i32>> {
    name.filter(|name| !name.is_empty()).map(|name| signal("--signal", name)).transpose()
}

/// Asks each to end, one after the other, and prints its name once it has.
pub(crate) fn execute(arguments: &StopArgs, context: &Context) -> Outcome {
    let signal = other_signal(arguments.signal.as_deref())?;
    let store = context.store()?;
    let patience = |found: &Container| match arguments.timeout {
        Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
        None => container::patience(found),
    };
    let mut outcome = Ok(());
    for name in &arguments.containers {
        let stopped =
            container::find(&store, name).and_then(|found| container::stop(&found, signal, patience(&found)));
        match stopped {
            Ok(()) => writeln!(io::stdout().lock(), "{name}").map_err(output)?,
            Err(error) => keep_first(&mut outcome, error.into()),
        }
    }
    outcome
}
