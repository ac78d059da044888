use galley_engine::container::{self, Change, Restart};

use crate::{
    args::service::ResourceArgs,
    commands::start::each,
    context::Context,
    failure::{Failure, Outcome},
};

/// Change the limits and the restart policy of containers
#[derive(Debug, clap::Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    resources: ResourceArgs,
    /// When to start it again: no, on-failure[:TIMES], always, unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = Restart::parse)]
    restart: Option<Restart>,
    /// Names, ids or the start of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Changes each and prints its name.
pub(crate) fn execute(arguments: &UpdateArgs, context: &Context) -> Outcome {
    let change = Change { limits: arguments.resources.limits(), restart: arguments.restart };
    if change.limits.is_empty() && change.restart.is_none() {
        return Err(Failure::usage("nothing is to change: give a limit, or --restart"));
    }
    let store = context.store()?;
    each(&arguments.containers, |name| Ok(container::update(&container::find(&store, name)?, &change)?))
}
