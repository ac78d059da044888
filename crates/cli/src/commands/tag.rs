use galley_engine::images;

use crate::{context::Context, failure::Outcome};

/// Give an image another name
#[derive(Debug, clap::Args)]
pub(crate) struct TagArgs {
    /// A tag, or an id or the start of one
    #[arg(value_name = "SOURCE")]
    source: String,
    /// The new name, `name:tag`
    #[arg(value_name = "TARGET")]
    target: String,
}

/// Gives the name.
pub(crate) fn execute(arguments: &TagArgs, context: &Context) -> Outcome {
    let store = context.store()?;
    images::tag(&store, &arguments.source, &arguments.target)?;
    Ok(())
}
