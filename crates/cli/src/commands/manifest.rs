mod inspect;
mod list;
mod send;

use std::io::{self, Write};

use galley_engine::{Cancel, Error, ErrorKind};
use galley_oci::{Descriptor, Platform, Reference};
use galley_store::Store;

use self::list::List;
use crate::{
    commands::transfer::ShowArgs,
    context::Context,
    failure::{Outcome, keep_first, output, store_error},
    registry::{Registries, RemoteImages},
    signals,
};

/// Look at manifests of registries, and make lists of them for several machines
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Manifest {
    Inspect(InspectArgs),
    Create(CreateArgs),
    Annotate(AnnotateArgs),
    Push(PushArgs),
    Rm(RmArgs),
}

/// Print a manifest, or a list of them
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// Also print digests, platforms and layers
    #[arg(short, long)]
    verbose: bool,
    /// Accept any certificate, and plain HTTP
    #[arg(long)]
    insecure: bool,
    /// A manifest of a registry, or a list made here; of two, the list and one of its manifests
    #[arg(value_names = ["LIST", "MANIFEST"], num_args = 1..=2, required = true)]
    names: Vec<String>,
}

/// Make a list of manifests that are in registries
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Add to a list that is there
    #[arg(short, long)]
    amend: bool,
    /// Accept any certificate, and plain HTTP
    #[arg(long)]
    insecure: bool,
    /// The list's name, by which it will be pushed
    #[arg(value_name = "LIST")]
    list: String,
    /// What is in it
    #[arg(value_name = "MANIFEST", required = true)]
    manifests: Vec<String>,
}

/// Say for which machine a manifest of a list is
#[derive(Debug, clap::Args)]
pub(crate) struct AnnotateArgs {
    /// The processor
    #[arg(long, value_name = "ARCHITECTURE")]
    arch: Option<String>,
    /// The operating system
    #[arg(long, value_name = "OS")]
    os: Option<String>,
    /// The operating system's version
    #[arg(long, value_name = "VERSION")]
    os_version: Option<String>,
    /// What the operating system must be able to do
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    os_features: Vec<String>,
    /// The processor's variant
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
    /// A list made here
    #[arg(value_name = "LIST")]
    list: String,
    /// The manifest, by the name it was given to the list
    #[arg(value_name = "MANIFEST")]
    manifest: String,
}

/// Send a list to its registry, with what it lists where that is missing
#[derive(Debug, clap::Args)]
pub(crate) struct PushArgs {
    /// Forget the list afterwards
    #[arg(short, long)]
    purge: bool,
    /// Accept any certificate, and plain HTTP
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    show: ShowArgs,
    /// A list made here
    #[arg(value_name = "LIST")]
    list: String,
}

/// Forget lists made here
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Lists
    #[arg(value_name = "LIST", required = true)]
    lists: Vec<String>,
}

/// Does what was asked for.
pub(crate) fn execute(command: &Manifest, context: &Context) -> Outcome {
    match command {
        Manifest::Inspect(arguments) => inspect::execute(arguments, context),
        Manifest::Create(arguments) => create(arguments, context),
        Manifest::Annotate(arguments) => annotate(arguments, context),
        Manifest::Push(arguments) => send::execute(arguments, context),
        Manifest::Rm(arguments) => remove(arguments, context),
    }
}

/// What these commands work with.
struct Work {
    store: Store,
    registries: Registries,
    stop: Cancel,
}

impl Work {
    /// `insecure` registries are those that `names` name.
    fn new(context: &Context, insecure: bool, names: &[&Reference]) -> Outcome<Self> {
        let stop = signals::listen()?;
        let named = names.iter().map(|name| name.registry.clone()).collect();
        let registries = Registries::new(context, &stop);
        let registries = if insecure { registries.insecure(named) } else { registries };
        Ok(Self { store: context.store()?, registries, stop })
    }

    fn remote(&self, context: &Context) -> RemoteImages<'_> {
        RemoteImages { store: &self.store, registries: self.registries.clone(), since: context.started }
    }
}

fn create(arguments: &CreateArgs, context: &Context) -> Outcome {
    let name = parse(&arguments.list)?;
    let manifests: Vec<Reference> =
        arguments.manifests.iter().map(|name| parse(name)).collect::<Result<_, _>>()?;
    let work = Work::new(context, arguments.insecure, &manifests.iter().collect::<Vec<_>>())?;
    let known = List::load(&work.store, &name)?;
    if known.is_some() && !arguments.amend {
        let message = format!("there is a list {} already", name.familiar());
        return Err(Error::new(ErrorKind::Usage, message)
            .help("--amend adds to it, `manifest rm` forgets it")
            .into());
    }
    let mut list = known.unwrap_or_default();
    let remote = work.remote(context);
    for manifest in &manifests {
        list.add(manifest, described(&remote, manifest)?);
    }
    list.store(&work.store, &name)?;
    say(&format!("Created manifest list {}", name.canonical()))
}

/// What a list says of one manifest: kind, digest, size, and the platform that its config names.
fn described(remote: &RemoteImages<'_>, name: &Reference) -> Result<Descriptor, Error> {
    let Some((mut descriptor, bytes)) = remote.first(name)? else { return Err(nowhere(name)) };
    let Ok(manifest) = galley_oci::Manifest::parse(&bytes) else {
        let message = format!("{} is a list itself", name.familiar());
        return Err(Error::new(ErrorKind::Usage, message)
            .help("`manifest inspect` tells what is in it: name the manifests as NAME@DIGEST"));
    };
    if let Some(kind) = manifest.media_type.clone().filter(|_| descriptor.media_type.is_empty()) {
        descriptor.media_type = kind;
    }
    let config = remote.config(name, &manifest.config)?;
    if let Ok(config) = galley_oci::ImageConfig::parse(&config) {
        let platform = Platform::new(&config.os, &config.architecture);
        descriptor.platform = Some(Platform { variant: config.variant, ..platform });
    }
    Ok(descriptor)
}

fn annotate(arguments: &AnnotateArgs, context: &Context) -> Outcome {
    let (name, manifest) = (parse(&arguments.list)?, parse(&arguments.manifest)?);
    let store = context.store()?;
    let mut list = List::load(&store, &name)?.ok_or_else(|| no_list(&name))?;
    let platform = list.platform(&manifest).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("the list {} has no {}", name.familiar(), manifest.familiar()),
        )
    })?;
    let set = |field: &mut String, value: &Option<String>| {
        if let Some(value) = value {
            field.clone_from(value);
        }
    };
    set(&mut platform.architecture, &arguments.arch);
    set(&mut platform.os, &arguments.os);
    platform.variant = arguments.variant.clone().or(platform.variant.take());
    platform.os_version = arguments.os_version.clone().or(platform.os_version.take());
    if !arguments.os_features.is_empty() {
        platform.os_features = Some(arguments.os_features.clone());
    }
    list.store(&store, &name)?;
    Ok(())
}

fn remove(arguments: &RmArgs, context: &Context) -> Outcome {
    let store = context.store()?;
    let mut outcome = Ok(());
    for name in &arguments.lists {
        let name = parse(name)?;
        if !store.remove_list(&name).map_err(store_error)? {
            keep_first(&mut outcome, no_list(&name).into());
        }
    }
    outcome
}

fn parse(name: &str) -> Result<Reference, Error> {
    let parsed: Reference = name.parse().map_err(|error| {
        Error::new(ErrorKind::Usage, format!("{name:?} cannot be the name of an image")).because(error)
    })?;
    Ok(parsed.with_default_tag())
}

fn no_list(name: &Reference) -> Error {
    Error::new(ErrorKind::NotFound, format!("no list {} was made here", name.familiar()))
        .help("`manifest create` makes one")
}

fn nowhere(name: &Reference) -> Error {
    let message = format!("the registry {} has no image {}", name.registry, name.familiar());
    Error::new(ErrorKind::NotFound, message)
}

fn say(line: &str) -> Outcome {
    writeln!(io::stdout().lock(), "{line}").map_err(output)
}
