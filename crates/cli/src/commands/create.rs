use std::io::{self, Write};

use crate::{
    commands::run::ContainerArgs,
    context::Context,
    failure::{Failure, Outcome, output},
    namespace,
};

/// Make a container without starting it, to look at its files
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct CreateArgs {
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    #[command(flatten)]
    container: ContainerArgs,
}

/// Creates it and prints its id.
pub(crate) fn execute(arguments: CreateArgs, context: &Context) -> Outcome {
    create(&arguments, context).map_err(Failure::of_container)
}

fn create(arguments: &CreateArgs, context: &Context) -> Outcome {
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    let options = arguments.container.options(&context.environment, arguments.rm)?;
    arguments.container.fetch_image(context, &store, &options)?;
    let container = arguments.container.create(&store, &options)?;
    writeln!(io::stdout().lock(), "{}", container.folder.id()).map_err(output)
}
