use std::io::{self, Write};

use galley_engine::{
    Events, Fetcher,
    container::{self, CommitOptions, Pausing},
    images,
    ports::NoRecords,
};

use crate::{
    context::Context,
    failure::{Outcome, output},
    message, namespace, signals,
};

/// Make an image of a container
///
/// What the container has changed becomes one layer over its image; what is mounted in it is not part of that. The image runs as
/// the container does.
#[derive(Debug, clap::Args)]
pub(crate) struct CommitArgs {
    /// Who is responsible for the image
    #[arg(short, long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    author: String,
    /// An instruction of a Dockerfile that changes the config: CMD, ENTRYPOINT, ENV, EXPOSE, …
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// The comment in the image's history
    #[arg(short, long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
    /// Let the container stand still meanwhile; this is so unless it cannot be or `--pause=false` is given
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pause: Option<bool>,
    /// The same as --pause=false
    #[arg(long, conflicts_with = "pause")]
    no_pause: bool,
    /// Name, id or the start of one
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// The name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

/// Makes the image and prints its id.
pub(crate) fn execute(arguments: &CommitArgs, context: &Context) -> Outcome {
    let name = arguments.name.as_deref().map(images::parse_tag).transpose()?;
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    let stop = signals::listen()?;
    let found = container::find(&store, &arguments.container)?;
    let options = CommitOptions {
        author: arguments.author.clone(),
        changes: arguments.change.clone(),
        message: arguments.message.clone(),
        name,
        pausing: match arguments.pause {
            _ if arguments.no_pause => Pausing::Not,
            Some(true) => Pausing::Needed,
            Some(false) => Pausing::Not,
            None => Pausing::Usual,
        },
    };
    let events = Events::silent();
    let fetcher =
        Fetcher { store: &store, may_write: true, events: &events, stop: &stop, records: &NoRecords };
    let id = container::commit(&fetcher, &found, &options, &|warning| message::warn(warning, None))?;
    writeln!(io::stdout().lock(), "{id}").map_err(output)
}
