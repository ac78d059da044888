use std::io::{self, Write};

use galley_engine::{
    ErrorKind, container,
    images::{self, Removed},
};

use crate::{
    context::Context,
    failure::{Outcome, keep_first, output},
    message,
};

/// Remove images
#[derive(Debug, clap::Args)]
pub(crate) struct RmiArgs {
    /// Remove an image with all of its tags, and under containers that are not running
    #[arg(short, long)]
    force: bool,
    /// Tags, ids or the start of ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

/// Removes one after the other; those that cannot be removed do not keep the others.
pub(crate) fn execute(arguments: &RmiArgs, context: &Context) -> Outcome {
    let store = context.store()?;
    let mut outcome = Ok(());
    for name in &arguments.images {
        match images::remove(&store, name, arguments.force, &|id| container::made_of(&store, id)) {
            Ok(removed) => print(&removed)?,
            Err(error) if error.kind == ErrorKind::NotFound && arguments.force => {
                message::warn(&error.message, None)
            }
            Err(error) => keep_first(&mut outcome, error.into()),
        }
    }
    outcome
}

fn print(removed: &[Removed]) -> Outcome {
    let mut out = io::stdout().lock();
    for item in removed {
        match item {
            Removed::Untagged(reference) => writeln!(out, "Untagged: {}", reference.familiar()),
            Removed::Deleted(id) => writeln!(out, "Deleted: {id}"),
        }
        .map_err(output)?;
    }
    Ok(())
}
