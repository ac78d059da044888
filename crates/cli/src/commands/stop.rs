use std::{
    io::{self, Write},
    time::Duration,
};

use galley_engine::container::{self, Container};

use crate::{
    context::Context,
    failure::{Outcome, keep_first, output},
};

/// Stop running containers
#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    /// Seconds to wait before killing, 10 unless the container was created with another number; -1 waits for ever
    #[arg(short, long, visible_alias = "time", value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    timeout: Option<i64>,
    /// Names, ids or the start of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Understands whole seconds.
pub(super) fn seconds(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("{text:?} is no number of seconds: write 30, or -1 for ever"))
}

/// Asks each to end, one after the other, and prints its name once it has.
pub(crate) fn execute(arguments: &StopArgs, context: &Context) -> Outcome {
    let store = context.store()?;
    let patience = |found: &Container| match arguments.timeout {
        Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
        None => container::patience(found),
    };
    let mut outcome = Ok(());
    for name in &arguments.containers {
        let stopped =
            container::find(&store, name).and_then(|found| container::stop(&found, patience(&found)));
        match stopped {
            Ok(()) => writeln!(io::stdout().lock(), "{name}").map_err(output)?,
            Err(error) => keep_first(&mut outcome, error.into()),
        }
    }
    outcome
}
