//! `volume`: directories that outlive containers.

use std::io::{self, Write};

use galley_engine::{
    Error, ErrorKind, container,
    prune::{Volume as Found, volumes_in_store},
};
use galley_store::{Store, StoreError};
use serde_json::{Value, json};

use super::{
    inspect::print_described,
    listing::{ListArgs, Listing},
    prune,
};
use crate::{
    args::prune_filter,
    context::Context,
    failure::{Outcome, keep_first, output, store_error},
    human, namespace,
};

/// `galley volume …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Volume {
    Create(CreateArgs),
    Inspect(InspectArgs),
    #[command(alias = "list")]
    Ls(LsArgs),
    Prune(prune::VolumePruneArgs),
    #[command(alias = "remove")]
    Rm(RmArgs),
}

/// Make a volume
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Its name; one that nobody has without it
    #[arg(value_name = "VOLUME")]
    name: Option<String>,
}

/// Describe volumes
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// A Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Their names
    #[arg(value_name = "VOLUME", required = true)]
    names: Vec<String>,
}

/// List volumes
#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// `table`, `table TEMPLATE`, `json`, or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Names alone
    #[arg(short, long)]
    quiet: bool,
    /// Only some: dangling=true are those that no container uses, name= is found in the name
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
}

/// Remove volumes
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Those that are not there are no error
    #[arg(short, long)]
    force: bool,
    /// Their names
    #[arg(value_name = "VOLUME", required = true)]
    names: Vec<String>,
}

/// Does what was asked for.
pub(crate) fn execute(command: &Volume, context: &Context) -> Outcome {
    match command {
        Volume::Create(arguments) => create(arguments, context),
        Volume::Inspect(arguments) => inspect(arguments, context),
        Volume::Ls(arguments) => ls(arguments, context),
        Volume::Prune(arguments) => prune::volumes(arguments, context),
        Volume::Rm(arguments) => rm(arguments, context),
    }
}

fn create(arguments: &CreateArgs, context: &Context) -> Outcome {
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    // An empty name, from a variable of a script that is not set, is none, as in docker.
    let name = arguments.name.clone().filter(|name| !name.is_empty()).map_or_else(random_name, Ok)?;
    store.lock_volumes().and_then(|volumes| volumes.make(&name)).map_err(refused)?;
    writeln!(io::stdout().lock(), "{name}").map_err(output)
}

/// A name that cannot be one is a wrong argument, not a fault of the store.
fn refused(error: StoreError) -> Error {
    match error {
        StoreError::BadName { .. } => Error::new(ErrorKind::Usage, "cannot make the volume").because(error),
        error => store_error(error),
    }
}

fn random_name() -> Result<String, Error> {
    let mut bytes = [0_u8; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::new(ErrorKind::Machine, "there are no random numbers").because(error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn find(store: &Store, name: &str) -> Result<Found, Error> {
    let missing = || {
        let error = Error::new(ErrorKind::NotFound, format!("no such volume: {name}"));
        error.help("`galley volume ls` lists all of them")
    };
    volumes_in_store(store)?.into_iter().find(|volume| volume.name == name).ok_or_else(missing)
}

/// Prints what was found, then says what was not.
fn inspect(arguments: &InspectArgs, context: &Context) -> Outcome {
    let store = context.store()?;
    let (mut all, mut outcome) = (Vec::new(), Ok(()));
    for name in &arguments.names {
        match find(&store, name) {
            Ok(volume) => all.push(json!({
                "CreatedAt": volume.created.map(galley_oci::Time::rfc3339).unwrap_or_default(),
                "Driver": "local",
                "Labels": Value::Null,
                "Mountpoint": volume.path.display().to_string(),
                "Name": volume.name,
                "Options": Value::Null,
                "Scope": "local",
            })),
            Err(error) => keep_first(&mut outcome, error.into()),
        }
    }
    print_described(&all, arguments.format.as_deref())?;
    outcome
}

const HEADINGS: [(&str, &str); 11] = [
    ("ID", "ID"),
    ("Name", "VOLUME NAME"),
    ("Group", "GROUP"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Availability", "AVAILABILITY"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Status", "STATUS"),
];

fn ls(arguments: &LsArgs, context: &Context) -> Outcome {
    let listed = prune_filter::listed_volumes(&arguments.filter)?;
    let store = context.store()?;
    let mut volumes = volumes_in_store(&store)?;
    volumes.retain(|volume| {
        let named = listed.names.is_empty() || listed.names.iter().any(|name| name.is_in(&volume.name));
        named && listed.dangling.is_none_or(|dangling| dangling == (volume.links == 0))
    });
    let rows = volumes.iter().map(|volume| row(volume, None)).collect();
    let list = ListArgs { format: arguments.format.clone(), quiet: arguments.quiet, no_trunc: true };
    Listing { headings: &HEADINGS, table: "{{.Driver}}\t{{.Name}}", rows }.print(&list)
}

/// A volume as a row; sizes are counted by `system df` alone.
pub(super) fn row(volume: &Found, size: Option<u64>) -> Value {
    let counted = |text: String| size.map_or_else(|| "N/A".to_owned(), |_| text);
    json!({
        "ID": volume.name,
        "Name": volume.name,
        "Group": "N/A",
        "Driver": "local",
        "Scope": "local",
        "Availability": "N/A",
        "Mountpoint": volume.path.display().to_string(),
        "Labels": "",
        "Links": counted(volume.links.to_string()),
        "Size": counted(human::size(size.unwrap_or_default())),
        "Status": "N/A",
    })
}

/// Removes each and prints its name; one that a container uses stays.
fn rm(arguments: &RmArgs, context: &Context) -> Outcome {
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    let mut outcome = Ok(());
    for name in &arguments.names {
        match container::remove_volume(&store, name) {
            Ok(()) => writeln!(io::stdout().lock(), "{name}").map_err(output)?,
            Err(error) if error.kind == ErrorKind::NotFound && arguments.force => {}
            Err(error) => keep_first(&mut outcome, error.into()),
        }
    }
    outcome
}
