use galley_engine::container;

use crate::{context::Context, failure::Outcome};

/// Give a container another name
#[derive(Debug, clap::Args)]
pub(crate) struct RenameArgs {
    /// Name, id or the start of one
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// What it is called from now on
    #[arg(value_name = "NEW_NAME")]
    name: String,
}

/// Says nothing, as docker does.
pub(crate) fn execute(arguments: &RenameArgs, context: &Context) -> Outcome {
    let store = context.store()?;
    let found = container::find(&store, &arguments.container)?;
    Ok(container::rename(&store, &found, &arguments.name)?)
}
