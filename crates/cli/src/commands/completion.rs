use std::io::{self, Write};

use clap_complete::Shell;

use crate::{
    args,
    context::Context,
    failure::{Outcome, output},
};

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script for the name the program was called by.
pub(crate) fn execute(arguments: &CompletionArgs, context: &Context) -> Outcome {
    let mut script = Vec::new();
    let mut parser = args::offered(&context.environment);
    clap_complete::generate(arguments.shell, &mut parser, context.environment.program(), &mut script);
    io::stdout().lock().write_all(&script).map_err(output)
}
