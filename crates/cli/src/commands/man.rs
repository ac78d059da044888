use std::path::{Path, PathBuf};

use clap::Command;
use fs_err as fs;

use crate::{
    args,
    context::Context,
    failure::{Outcome, file},
};

/// Write the man pages to a directory
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Made when it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// One page for galley and one for each command.
pub(crate) fn execute(arguments: &ManArgs, context: &Context) -> Outcome {
    fs::create_dir_all(&arguments.directory)
        .map_err(|error| file("cannot make the directory of the man pages", error))?;
    let mut parser = args::offered(&context.environment);
    parser.build();
    pages(&parser, "galley", &arguments.directory)
}

fn pages(command: &Command, name: &str, directory: &Path) -> Outcome {
    let mut page = Vec::new();
    let titled = command.clone().name(name.to_owned()).display_name(name.to_owned());
    let written = clap_mangen::Man::new(titled).render(&mut page);
    let path = directory.join(format!("{name}.1"));
    written.and_then(|()| fs::write(path, page)).map_err(|error| file("cannot write a man page", error))?;
    let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    shown.into_iter().try_for_each(|sub| pages(sub, &format!("{name}-{}", sub.get_name()), directory))
}
