use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    path::Path,
};

use fs_err as fs;
use galley_engine::{
    Error, ErrorKind, Events, Fetcher, images,
    import::{self, PlainOptions},
    ports::NoRecords,
};
use galley_oci::Platform;

use crate::{
    args::platform::{self, PlatformArg},
    context::Context,
    failure::{Failure, Outcome, file, output},
    namespace, signals,
};

/// Make an image of a tar archive of files
///
/// The files become one layer. For archives that hold images there is `load`.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// An instruction of a Dockerfile that changes the config: CMD, ENTRYPOINT, ENV, EXPOSE, …
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// The comment in the image's history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// For whom the files are, when not for this machine
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<PlatformArg>,
    /// The archive, compressed or not; `-` is standard input
    #[arg(value_name = "FILE|-")]
    file: String,
    /// The name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

/// Makes the image and prints its id.
pub(crate) fn execute(arguments: &ImportArgs, context: &Context) -> Outcome {
    let name = arguments.name.as_deref().map(images::parse_tag).transpose()?;
    refuse(&arguments.file)?;
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    let stop = signals::listen()?;
    let (source, input) = open(&arguments.file)?;
    let options = PlainOptions {
        changes: arguments.change.clone(),
        // In docker's words, whose daemon sees every file as a stream.
        message: arguments.message.clone().unwrap_or_else(|| "Imported from -".to_owned()),
        platform: platform::chosen(arguments.platform.as_ref(), &context.environment)?
            .unwrap_or_else(Platform::of_this_machine),
        name,
    };
    let events = Events::silent();
    let fetcher =
        Fetcher { store: &store, may_write: true, events: &events, stop: &stop, records: &NoRecords };
    let id = import::plain(&fetcher, &source, input, &options)?;
    writeln!(io::stdout().lock(), "{id}").map_err(output)
}

fn refuse(file: &str) -> Result<(), Error> {
    if file == "-" && io::stdin().is_terminal() {
        let error = Error::new(ErrorKind::Usage, "an archive is not read from a terminal");
        return Err(error.help("redirect it, or name a file"));
    }
    if file.contains("://") && !Path::new(file).exists() {
        let message = format!("import of {file} is not supported yet: galley fetches images, not files");
        return Err(Error::new(ErrorKind::Usage, message).help(format!("curl -L {file} | galley import -")));
    }
    Ok(())
}

fn open(path: &str) -> Outcome<(String, File)> {
    if path == "-" {
        let input = io::stdin().as_fd().try_clone_to_owned();
        return Ok(("standard input".to_owned(), File::from(input.map_err(unreadable)?)));
    }
    let (archive, _) = fs::File::open(path).map_err(unreadable)?.into_parts();
    Ok((path.to_owned(), archive))
}

fn unreadable(error: io::Error) -> Failure {
    file("cannot read the archive", error)
}
