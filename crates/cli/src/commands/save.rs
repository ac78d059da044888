use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    sync::Mutex,
};

use galley_engine::{
    Error, ErrorKind, Events, Fetcher,
    export::{Destination, Output, OutputKind, save},
    ports::NoRecords,
};
use galley_oci::Platform;

use crate::{
    context::Context,
    failure::{Outcome, Stream, of_stream},
    namespace, signals,
};

/// Write images as an archive that `load` reads
///
/// The archive is an OCI layout that `docker load` and `podman load` take as well. Layers that images share are in it once.
#[derive(Debug, clap::Args)]
pub(crate) struct SaveArgs {
    /// A file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::DockerArchive)]
    format: Format,
    /// Of an image for several platforms, the one for this
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Tags, ids or the start of ids; a repository without a tag means all of its tags
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

/// Names as podman has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For docker, podman and others: an OCI layout with docker's list of images
    DockerArchive,
    /// An OCI layout alone
    OciArchive,
    /// The same as a folder
    OciDir,
}

/// Writes the archive.
pub(crate) fn execute(arguments: &SaveArgs, context: &Context) -> Outcome {
    let output = output(arguments)?;
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    let stop = signals::listen()?;
    let images = save::choose(&store, &arguments.images, arguments.platform.as_ref())?;
    let events = Events::silent();
    let fetcher =
        Fetcher { store: &store, may_write: true, events: &events, stop: &stop, records: &NoRecords };
    let saved = save::save(&fetcher, &images, &output);
    match output.destination {
        Destination::Stream(_) => saved.map_err(of_stream),
        _ => saved.map_err(Into::into),
    }
}

fn output(arguments: &SaveArgs) -> Result<Output, Error> {
    let kind = match arguments.format {
        Format::DockerArchive => OutputKind::Docker,
        Format::OciArchive | Format::OciDir => OutputKind::Oci,
    };
    let destination = match (&arguments.output, arguments.format) {
        (Some(path), Format::OciDir) => Destination::Folder(path.clone()),
        (Some(path), _) => Destination::File(path.clone()),
        (None, Format::OciDir) => {
            let error = Error::new(ErrorKind::Usage, "a folder is not written to standard output");
            return Err(error.help("give its name with --output"));
        }
        (None, _) if io::stdout().is_terminal() => {
            let error = Error::new(ErrorKind::Usage, "an archive is not written to a terminal");
            return Err(error.help("redirect it, or give a file with --output"));
        }
        (None, _) => Destination::Stream(Mutex::new(Box::new(Stream::new()))),
    };
    Ok(Output { kind, destination, split: None })
}
