use std::{
    io::{self, Write},
    time::Duration,
};

use galley_engine::container;

use crate::{
    context::Context,
    failure::{Outcome, keep_first, output},
};

/// Stop running containers
#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    /// Seconds to wait before killing; -1 waits for ever
    #[arg(
        short,
        long,
        visible_alias = "time",
        value_name = "SECONDS",
        default_value_t = 10,
        allow_negative_numbers = true
    )]
    timeout: i64,
    /// Names, ids or the start of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Asks each to end, one after the other, and prints its name once it has.
pub(crate) fn execute(arguments: &StopArgs, context: &Context) -> Outcome {
    let store = context.store()?;
    let patience = u64::try_from(arguments.timeout).ok().map(Duration::from_secs);
    let mut outcome = Ok(());
    for name in &arguments.containers {
        let stopped = container::find(&store, name).and_then(|found| container::stop(&found, patience));
        match stopped {
            Ok(()) => writeln!(io::stdout().lock(), "{name}").map_err(output)?,
            Err(error) => keep_first(&mut outcome, error.into()),
        }
    }
    outcome
}
