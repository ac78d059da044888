use std::io::{self, Write};

use galley_engine::container::{self, ChangeKind};

use crate::{
    context::Context,
    failure::{Outcome, output},
    namespace,
};

/// List what a container has changed of its image: A for added, C for changed, D for deleted
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// Name, id or the start of one
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Prints a line each.
pub(crate) fn execute(arguments: &DiffArgs, context: &Context) -> Outcome {
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    let changes = container::changes(&store, &container::find(&store, &arguments.container)?)?;
    let mut text = Vec::new();
    for (path, kind) in changes {
        let letter = match kind {
            ChangeKind::Changed => b"C ",
            ChangeKind::Added => b"A ",
            ChangeKind::Deleted => b"D ",
        };
        text.extend([&letter[..], &path, b"\n"].concat());
    }
    io::stdout().lock().write_all(&text).map_err(output)
}
