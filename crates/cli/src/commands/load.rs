use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use galley_engine::{
    Cancel, Error, ErrorKind,
    import::archive::{self, Archive, Loaded},
};
use galley_oci::{Platform, Reference};
use galley_store::Store;

use crate::{
    commands::transfer::ShowArgs,
    context::Context,
    failure::{Outcome, output},
    namespace, signals,
};

/// Load images from an archive that `save` wrote
///
/// Takes docker archives and OCI layouts, as they are or compressed, and folders with the same in them.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// A file or folder instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print the names alone
    #[arg(short, long)]
    quiet: bool,
    /// Of an image for several platforms, the one for this alone
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
}

/// Loads and names them.
pub(crate) fn execute(arguments: &LoadArgs, context: &Context) -> Outcome {
    let input = arguments.input.as_deref().filter(|path| *path != Path::new("-"));
    if input.is_none() && io::stdin().is_terminal() {
        let error = Error::new(ErrorKind::Usage, "an archive is not read from a terminal");
        return Err(error.help("redirect it, or give a file with --input").into());
    }
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    let stop = signals::listen()?;
    let archive = open(&store, input, &stop)?;
    // As docker, which keeps still unless somebody watches.
    let show = ShowArgs::new(arguments.quiet || !io::stderr().is_terminal());
    let loaded = show.show(context, (&store, true), &stop, |fetcher| {
        archive::load(fetcher, archive, arguments.platform.as_ref())
    })?;
    let printed = print(&loaded).map_err(output);
    crate::collect::afterwards(context, &store);
    printed
}

fn open(store: &Store, input: Option<&Path>, stop: &Cancel) -> Result<Archive, Error> {
    match input {
        Some(path) => Archive::open(store, path, stop),
        None => {
            let file = io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .map_err(|error| Error::new(ErrorKind::Usage, "cannot read standard input").because(error))?;
            Archive::read(store, "standard input", File::from(file), stop)
        }
    }
}

/// In docker's words, which scripts read.
fn print(loaded: &[Loaded]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for image in loaded {
        for (name, old) in &image.taken {
            let name = name.familiar();
            writeln!(
                out,
                "The image {name} already exists, renaming the old one with ID {old} to empty string"
            )?;
        }
        for name in image.names.iter().map(Reference::familiar) {
            writeln!(out, "Loaded image: {name}")?;
        }
        if image.names.is_empty() {
            writeln!(out, "Loaded image ID: {}", image.id)?;
        }
    }
    out.flush()
}
