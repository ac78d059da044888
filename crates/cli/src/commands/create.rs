use std::io::{self, Write};

use galley_engine::container;

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
    #[command(flatten)]
    container: ContainerArgs,
}

/// Creates it and prints its id.
pub(crate) fn execute(arguments: CreateArgs, context: &Context) -> Outcome {
    create(&arguments.container, context).map_err(Failure::of_container)
}

fn create(arguments: &ContainerArgs, context: &Context) -> Outcome {
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    let options = arguments.options(&context.environment, false)?;
    let container = container::create(&store, &options)?;
    arguments.write_id(&container)?;
    writeln!(io::stdout().lock(), "{}", container.folder.id()).map_err(output)
}
