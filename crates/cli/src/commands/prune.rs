//! `prune` in all its forms: docker's words and docker's questions.

use std::io::{self, BufRead, Read, Write};

use galley_engine::{
    Error, ErrorKind,
    images::Removed,
    prune::{self, Filter},
};
use galley_store::{Collected, Keep, Policy, Store};

use crate::{
    args::prune_filter,
    context::Context,
    failure::{Outcome, output, store_error},
    human, namespace,
};

/// What all forms take.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Only some: until=24h, label=NAME[=VALUE], label!=NAME[=VALUE]
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
}

impl PruneArgs {
    fn things(&self) -> Result<Filter, Error> {
        prune_filter::things(&self.filter)
    }
}

/// Remove all stopped containers
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerPruneArgs {
    #[command(flatten)]
    common: PruneArgs,
}

/// Remove images without a name
#[derive(Debug, clap::Args)]
pub(crate) struct ImagePruneArgs {
    /// Also those with a name that no container is made of
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    common: PruneArgs,
}

/// Remove volumes that no container uses
#[derive(Debug, clap::Args)]
pub(crate) struct VolumePruneArgs {
    /// Also those that have a name
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    common: PruneArgs,
}

/// Remove what is not used: containers, images, build cache
#[derive(Debug, clap::Args)]
pub(crate) struct SystemPruneArgs {
    /// All unused images, not only those without a name, and all of the build cache
    #[arg(short, long)]
    all: bool,
    /// Volumes without a name too
    #[arg(long)]
    volumes: bool,
    #[command(flatten)]
    common: PruneArgs,
}

/// The longest answer to a question; more of it would not be yes either.
const ANSWER_BYTES_MAX: u64 = 100;

/// The question, and whether the answer was yes. Any other answer ends the command quietly, as docker's.
pub(super) fn confirmed(force: bool, question: &str, context: &Context) -> Outcome<bool> {
    // Inside of the namespace the answer was given already.
    if force || context.environment.inside_namespace() {
        return Ok(true);
    }
    let mut out = io::stdout().lock();
    write!(out, "{question} [y/N] ").and_then(|()| out.flush()).map_err(output)?;
    let mut answer = String::new();
    // No answer is none, and leaves its line open.
    drop(io::stdin().lock().take(ANSWER_BYTES_MAX).read_line(&mut answer));
    if !answer.ends_with('\n') {
        writeln!(out).map_err(output)?;
    }
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

/// Goes where files can be removed; asks before.
fn begin(force: bool, question: &str, context: &Context) -> Outcome<Option<Store>> {
    if !confirmed(force, question, context)? {
        return Ok(None);
    }
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    store.make_room().map_err(store_error)?;
    Ok(Some(store))
}

fn say(text: &str) -> Outcome {
    io::stdout().lock().write_all(text.as_bytes()).map_err(output)
}

/// A heading, what went, and an empty line; nothing when nothing did.
fn list(heading: &str, lines: impl IntoIterator<Item = String>) -> Outcome {
    let lines: Vec<String> = lines.into_iter().collect();
    if lines.is_empty() { Ok(()) } else { say(&format!("{heading}:\n{}\n\n", lines.join("\n"))) }
}

fn total(bytes: u64) -> Outcome {
    say(&format!("Total reclaimed space: {}\n", human::size(bytes)))
}

const CONTAINERS: &str = "all stopped containers";
const SURE: &str = "Are you sure you want to continue?";

/// `container prune`.
pub(crate) fn containers(arguments: &ContainerPruneArgs, context: &Context) -> Outcome {
    let filter = arguments.common.things()?;
    let question = format!("WARNING! This will remove {CONTAINERS}.\n{SURE}");
    let Some(store) = begin(arguments.common.force, &question, context)? else { return Ok(()) };
    total(prune_containers(&store, &filter)?)
}

fn prune_containers(store: &Store, filter: &Filter) -> Outcome<u64> {
    let (removed, bytes) = prune::containers(store, filter)?;
    list("Deleted Containers", removed)?;
    Ok(bytes)
}

const fn which_images(all: bool) -> &'static str {
    if all { "all images without at least one container associated to them" } else { "all dangling images" }
}

/// `image prune`.
pub(crate) fn images(arguments: &ImagePruneArgs, context: &Context) -> Outcome {
    let filter = arguments.common.things()?;
    let question = format!("WARNING! This will remove {}.\n{SURE}", which_images(arguments.all));
    let Some(store) = begin(arguments.common.force, &question, context)? else { return Ok(()) };
    total(prune_images(&store, arguments.all, &filter)?)
}

fn prune_images(store: &Store, all: bool, filter: &Filter) -> Outcome<u64> {
    let pruned = prune::images(store, all, filter)?;
    let lines = pruned.removed.iter().map(|item| match item {
        Removed::Untagged(reference) => format!("untagged: {}", reference.familiar()),
        Removed::Deleted(id) => format!("deleted: {id}"),
    });
    list("Deleted Images", lines)?;
    Ok(pruned.bytes)
}

const fn which_volumes(all: bool) -> &'static str {
    if all {
        "all local volumes not used by at least one container"
    } else {
        "anonymous local volumes not used by at least one container"
    }
}

/// `volume prune`.
pub(crate) fn volumes(arguments: &VolumePruneArgs, context: &Context) -> Outcome {
    let (named, filter) = prune_filter::volumes(&arguments.common.filter)?;
    let all = arguments.all || named;
    let question = format!("WARNING! This will remove {}.\n{SURE}", which_volumes(all));
    let Some(store) = begin(arguments.common.force, &question, context)? else { return Ok(()) };
    total(prune_volumes(&store, all, &filter)?)
}

fn prune_volumes(store: &Store, all: bool, filter: &Filter) -> Outcome<u64> {
    let (removed, bytes) = prune::volumes(store, all, filter)?;
    list("Deleted Volumes", removed)?;
    Ok(bytes)
}

/// `system prune`.
pub(crate) fn system(arguments: &SystemPruneArgs, context: &Context) -> Outcome {
    let filter = arguments.common.things()?;
    if arguments.volumes && filter.until.is_some() {
        return Err(Error::new(ErrorKind::Usage, "the filter \"until\" does not go with --volumes")
            .help("volumes are not asked for their age; run `volume prune` apart")
            .into());
    }
    let Some(store) = begin(arguments.common.force, &system_question(arguments), context)? else {
        return Ok(());
    };
    let mut bytes = prune_containers(&store, &filter)?;
    if arguments.volumes {
        bytes += prune_volumes(&store, false, &filter)?;
    }
    bytes += prune_images(&store, arguments.all, &filter)?;
    // What steps have made has no labels.
    if filter.labels.is_empty() {
        let policy = Policy { all: arguments.all, unused_since: filter.until, ..Policy::new(Keep::Cache(0)) };
        let collected = collect(&store, &policy)?;
        list("Deleted build cache objects", ids(&collected))?;
        bytes += collected.bytes();
    }
    total(bytes)
}

fn system_question(arguments: &SystemPruneArgs) -> String {
    let cache = if arguments.all { "all build cache" } else { "unused build cache" };
    let volumes = arguments.volumes.then_some("all anonymous volumes not used by at least one container");
    let all = [Some(CONTAINERS), volumes, Some(which_images(arguments.all)), Some(cache)];
    let lines: Vec<String> = all.into_iter().flatten().map(|line| format!("  - {line}")).collect();
    let mut filters: Vec<&String> = arguments.common.filter.iter().filter(|one| !one.is_empty()).collect();
    filters.sort();
    let filters: Vec<String> = filters.into_iter().map(|filter| format!("  - {filter}\n")).collect();
    let filters = match filters.is_empty() {
        true => String::new(),
        false => format!("\n  Items to be pruned will be filtered with:\n{}", filters.concat()),
    };
    format!("WARNING! This will remove:\n{}\n{filters}\n{SURE}", lines.join("\n"))
}

/// Collects; that others were too busy is an error, for somebody waits for the space.
pub(super) fn collect(store: &Store, policy: &Policy) -> Outcome<Collected> {
    let collected = store.collect(policy).map_err(store_error)?;
    if collected.gave_up {
        return Err(Error::new(ErrorKind::Store, "the store is too busy to be cleaned up")
            .help("other processes looked something up all the time: try again")
            .into());
    }
    Ok(collected)
}

fn ids(collected: &Collected) -> impl Iterator<Item = String> {
    collected.objects.iter().map(|object| object.id.hex())
}

/// What `builder prune` lists.
pub(super) fn print_collected(collected: &Collected) -> Outcome {
    list("Deleted build cache objects", ids(collected))?;
    total(collected.bytes())
}
