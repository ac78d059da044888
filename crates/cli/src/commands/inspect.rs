mod description;
mod service;

use std::io::{self, Write};

use galley_engine::{Error, ErrorKind, container, images};
use galley_oci::Platform;
use galley_store::Store;
use serde::Serialize;
use serde_json::{Value, ser::PrettyFormatter};

use crate::{
    commands::listing::{drawn, unescape},
    context::Context,
    failure::{Failure, Outcome, keep_first, output},
    message, namespace,
    template::Template,
};

/// Print everything known of images and containers, as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// `json`, or a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Look only among these
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// Of an image for several platforms, the one for this
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// How much each container has written, and how much that is with its image
    #[arg(short, long)]
    size: bool,
    /// Names, tags, ids or the start of ids
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Print everything known of containers, as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct OfContainersArgs {
    #[command(flatten)]
    of_one_kind: OneKindArgs,
    /// How much each has written, and how much that is with its image
    #[arg(short, long)]
    size: bool,
}

impl OfContainersArgs {
    /// The same as `inspect --type container`.
    pub(crate) fn whole(self) -> InspectArgs {
        InspectArgs { size: self.size, ..self.of_one_kind.of(Kind::Container) }
    }
}

/// Print everything known, as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct OneKindArgs {
    /// `json`, or a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Of an image for several platforms, the one for this
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Names, tags, ids or the start of ids
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

impl OneKindArgs {
    /// The same as `inspect --type KIND`.
    pub(crate) fn of(self, kind: Kind) -> InspectArgs {
        let Self { format, platform, names } = self;
        InspectArgs { format, kind: Some(kind), platform, size: false, names }
    }
}

/// What can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Images
    Image,
    /// Containers
    Container,
}

/// Prints what was found, then says what was not.
pub(crate) fn execute(arguments: &InspectArgs, context: &Context) -> Outcome {
    // Files of containers may be closed to their user.
    if arguments.size {
        namespace::enter_unless_root(context)?;
    }
    let store = context.store()?;
    let mut outcome = Ok(());
    let mut found = Vec::new();
    for name in &arguments.names {
        match inspect(&store, name, arguments) {
            Ok(value) => found.push(value),
            Err(failure) => keep_first(&mut outcome, failure),
        }
    }
    print_described(&found, arguments.format.as_deref())?;
    outcome
}

/// Prints each as a line of the format, or all as one array.
pub(super) fn print_described(found: &[Value], format: Option<&str>) -> Outcome {
    let text = match format {
        None => pretty(found),
        Some("json") => found.iter().map(|value| format!("{value}\n")).collect(),
        Some(format) => rendered(&unescape(format), found)?,
    };
    io::stdout().lock().write_all(text.as_bytes()).map_err(output)
}

/// Containers come first, as in docker.
fn inspect(store: &Store, name: &str, arguments: &InspectArgs) -> Outcome<Value> {
    let kind = arguments.kind;
    if kind != Some(Kind::Image) {
        match container::find(store, name) {
            Ok(found) => {
                let mut described = description::describe(store, &found)?;
                if arguments.size {
                    let (own, all) = container::sizes(store, &found)?;
                    all.damage.iter().for_each(message::warn_of);
                    (described["SizeRw"], described["SizeRootFs"]) = (own.into(), all.bytes.into());
                }
                return Ok(described);
            }
            Err(error) if error.kind == ErrorKind::NotFound => {}
            // What cannot be a container's name may still be an image's.
            Err(error) if error.kind == ErrorKind::Usage && kind.is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    if kind != Some(Kind::Container)
        && let Some(image) = images::lookup_for(store, name, arguments.platform.as_ref())?
    {
        let (value, damage) = images::inspect(store, &image)?;
        damage.iter().for_each(message::warn_of);
        return Ok(value);
    }
    let what = match kind {
        Some(Kind::Image) => "image",
        Some(Kind::Container) => "container",
        None => "image or container",
    };
    Err(Error::new(ErrorKind::NotFound, format!("no such {what}: {name}")).into())
}

/// An array with docker's four spaces.
fn pretty(found: &[Value]) -> String {
    if found.is_empty() {
        return "[]\n".to_owned();
    }
    let mut text = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    // Values of our own making always serialise.
    drop(found.serialize(&mut serializer));
    String::from_utf8_lossy(&text).into_owned() + "\n"
}

fn rendered(format: &str, found: &[Value]) -> Result<String, Failure> {
    let template = Template::parse(format).map_err(|error| drawn(format, error))?;
    let line = |value| Ok(template.render(value).map_err(|error| drawn(format, error))? + "\n");
    found.iter().map(line).collect()
}
