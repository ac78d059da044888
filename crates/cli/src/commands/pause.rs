use galley_engine::container;

use crate::{commands::start::each, context::Context, failure::Outcome};

/// Stop all processes of containers for a while, without their knowing
#[derive(Debug, clap::Args)]
pub(crate) struct PauseArgs {
    /// Names, ids or the start of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Let the processes of paused containers go on
#[derive(Debug, clap::Args)]
pub(crate) struct UnpauseArgs {
    /// Names, ids or the start of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Pauses each and prints its name.
pub(crate) fn execute(arguments: &PauseArgs, context: &Context) -> Outcome {
    let store = context.store()?;
    each(&arguments.containers, |name| Ok(container::pause(&container::find(&store, name)?)?))
}

/// The reverse.
pub(crate) fn unpause(arguments: &UnpauseArgs, context: &Context) -> Outcome {
    let store = context.store()?;
    each(&arguments.containers, |name| Ok(container::unpause(&container::find(&store, name)?)?))
}
