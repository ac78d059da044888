use std::io::{self, Write};

use galley_engine::{ErrorKind, container};

use crate::{
    context::Context,
    failure::{Outcome, keep_first, output},
    message, namespace,
};

/// Remove containers
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// End running containers first
    #[arg(short, long)]
    force: bool,
    /// Remove their anonymous volumes too
    #[arg(short, long)]
    volumes: bool,
    /// Names, ids or the start of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Removes each and prints its name.
pub(crate) fn execute(arguments: &RmArgs, context: &Context) -> Outcome {
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    let mut outcome = Ok(());
    for name in &arguments.containers {
        match container::remove_named(&store, name, arguments.force, arguments.volumes) {
            Ok(gone) => {
                writeln!(io::stdout().lock(), "{name}").map_err(output)?;
                if let Some(error) = gone.volumes_stay {
                    message::warn(&format!("its volumes stay: {}", error.message), None);
                }
            }
            Err(error) if error.kind == ErrorKind::NotFound && arguments.force => {
                message::warn(&error.message, None)
            }
            Err(error) => keep_first(&mut outcome, error.into()),
        }
    }
    outcome
}
