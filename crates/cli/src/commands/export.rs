use std::{
    io::{self, BufWriter, IsTerminal, Write},
    path::PathBuf,
};

use fs_err as fs;
use galley_engine::{Error, ErrorKind, container};

use crate::{
    context::Context,
    failure::{Outcome, Stream, file, of_stream, output},
    namespace,
};

/// Write the files of a container as a tar archive
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// A file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name, id or the start of one
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Writes the archive.
pub(crate) fn execute(arguments: &ExportArgs, context: &Context) -> Outcome {
    if arguments.output.is_none() && io::stdout().is_terminal() {
        let error = Error::new(ErrorKind::Usage, "an archive is not written to a terminal");
        return Err(error.help("redirect it, or give a file with --output").into());
    }
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    let container = container::find(&store, &arguments.container)?;
    match &arguments.output {
        Some(path) => {
            let unwritable = |error| file("cannot write the archive", error);
            let mut out = BufWriter::with_capacity(1 << 20, fs::File::create(path).map_err(unwritable)?);
            container::export(&store, &container, &mut out)?;
            out.flush().map_err(unwritable)
        }
        None => {
            let mut out = BufWriter::with_capacity(1 << 20, Stream::new());
            container::export(&store, &container, &mut out).map_err(of_stream)?;
            out.flush().map_err(output)
        }
    }
}
