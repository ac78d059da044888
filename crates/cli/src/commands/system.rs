//! `system`: what the store takes, whether it is whole, and what can go.

use std::io::{self, Write};

use galley_engine::{container::Status, prune, prune::Usage};
use galley_store::Object;
use serde_json::{Value, json};

use super::{
    check, info,
    listing::{ListArgs, Listing},
    prune::{self as pruning},
    volume,
};
use crate::{
    context::Context,
    failure::{Failure, Outcome, output},
    human, namespace,
};

/// `galley system …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum System {
    Check(check::CheckArgs),
    Df(DfArgs),
    Info(info::InfoArgs),
    Prune(pruning::SystemPruneArgs),
}

/// Tell what images, containers, volumes and the build cache take
#[derive(Debug, clap::Args)]
pub(crate) struct DfArgs {
    /// Each of them
    #[arg(short, long)]
    verbose: bool,
    /// `table`, `json`, or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// Does what was asked for.
pub(crate) fn execute(command: &System, context: &Context) -> Outcome {
    match command {
        System::Check(arguments) => check::execute(arguments, context),
        System::Df(arguments) => df(arguments, context),
        System::Info(arguments) => info::execute(arguments, context),
        System::Prune(arguments) => pruning::system(arguments, context),
    }
}

const HEADINGS: [(&str, &str); 5] = [
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];
const TABLE: &str = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";

fn df(arguments: &DfArgs, context: &Context) -> Outcome {
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    let usage = prune::usage(&store)?;
    if arguments.verbose {
        return verbose(&usage, arguments.format.as_deref());
    }
    let list = ListArgs { format: arguments.format.clone(), ..ListArgs::default() };
    Listing { headings: &HEADINGS, table: TABLE, rows: rows(&usage) }.print(&list)
}

/// How much could be freed, and which part of all that is.
fn part(free: u64, all: u64) -> String {
    match (free * 100).checked_div(all) {
        Some(percent) => format!("{} ({percent}%)", human::size(free)),
        None => human::size(free),
    }
}

fn rows(usage: &Usage) -> Vec<Value> {
    let row = |kind: &str, total: usize, active: usize, size: u64, free: String| {
        json!({
            "Type": kind,
            "TotalCount": total.to_string(),
            "Active": active.to_string(),
            "Size": human::size(size),
            "Reclaimable": free,
        })
    };
    let containers: u64 = usage.containers.iter().map(|one| one.size).sum();
    let running = usage.containers.iter().filter(|one| one.container.is_running());
    let stopped: u64 =
        usage.containers.iter().filter(|one| !one.container.is_running()).map(|one| one.size).sum();
    let volumes: u64 = usage.volumes.iter().map(|one| one.size).sum();
    let unused: u64 = usage.volumes.iter().filter(|one| one.volume.links == 0).map(|one| one.size).sum();
    let cache = usage.cache.iter().map(|item| &item.object);
    let free: u64 = cache.clone().filter(|object| !object.kept).map(|object| object.bytes).sum();
    let images = usage.images.iter().filter(|image| image.containers > 0).count();
    let linked = usage.volumes.iter().filter(|one| one.volume.links > 0).count();
    let (size, reclaimable) = (usage.images_size, usage.images_reclaimable);
    vec![
        row("Images", usage.images.len(), images, size, part(reclaimable, size)),
        row("Containers", usage.containers.len(), running.count(), containers, part(stopped, containers)),
        row("Local Volumes", usage.volumes.len(), linked, volumes, part(unused, volumes)),
        row(
            "Build Cache",
            usage.cache.len(),
            cache.clone().filter(|object| object.in_use).count(),
            cache.map(|object| object.bytes).sum(),
            human::size(free),
        ),
    ]
}

const IMAGES: [(&str, &str); 8] = [
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("Size", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
];
const CONTAINERS: [(&str, &str); 8] = [
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Size", "SIZE"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Names", "NAMES"),
];
const VOLUMES: [(&str, &str); 3] = [("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")];
const CACHE: [(&str, &str); 7] = [
    ("ID", "CACHE ID"),
    ("CacheType", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("LastUsedSince", "LAST USED"),
    ("UsageCount", "USAGE"),
    ("Shared", "SHARED"),
];

fn verbose(usage: &Usage, format: Option<&str>) -> Outcome {
    let images = images(usage);
    let containers = containers(usage);
    let volumes: Vec<Value> =
        usage.volumes.iter().map(|one| volume::row(&one.volume, Some(one.size))).collect();
    let cache: Vec<Value> =
        usage.cache.iter().map(|item| cache_row(&item.object, item.kind.name())).collect();
    if let Some(format) = format.filter(|format| *format != "table") {
        let all =
            json!({"Images": images, "Containers": containers, "Volumes": volumes, "BuildCache": cache});
        return super::listing::print_one(&all, Some(format), Value::to_string);
    }
    let bytes: u64 = usage.cache.iter().map(|item| item.object.bytes).sum();
    let all = [
        ("Images space usage:".to_owned(), &IMAGES[..], images),
        ("\nContainers space usage:".to_owned(), &CONTAINERS[..], containers),
        ("\nLocal Volumes space usage:".to_owned(), &VOLUMES[..], volumes),
        (format!("\nBuild cache usage: {}", human::size(bytes)), &CACHE[..], cache),
    ];
    all.into_iter().try_for_each(|(heading, headings, rows)| section(&heading, headings, rows))
}

fn section(heading: &str, headings: &[(&str, &str)], rows: Vec<Value>) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{heading}\n").map_err(output)?;
    let fields: Vec<String> = headings.iter().map(|(field, _)| format!("{{{{.{field}}}}}")).collect();
    Listing { headings, table: &fields.join("\t"), rows }.print(&ListArgs::default())
}

fn images(usage: &Usage) -> Vec<Value> {
    let none = || "<none>".to_owned();
    let row = |image: &prune::ImageUsage| {
        let name = image.reference.as_ref();
        json!({
            "Repository": name.map_or_else(none, galley_oci::Reference::familiar_name),
            "Tag": name.and_then(|name| name.tag.clone()).unwrap_or_else(none),
            "ID": image.id.short(),
            "CreatedSince": human::since(image.created),
            "Size": human::size(image.size),
            "SharedSize": human::size(image.shared),
            "UniqueSize": human::size(image.size - image.shared),
            "Containers": image.containers.to_string(),
        })
    };
    usage.images.iter().map(row).collect()
}

fn containers(usage: &Usage) -> Vec<Value> {
    let row = |one: &prune::ContainerUsage| {
        let (container, config) = (&one.container, &one.container.config);
        let created = galley_oci::Time::parse_rfc3339(&config.created).unwrap_or_default();
        json!({
            "ID": container.short_id(),
            "Image": config.image,
            "Command": super::ps::command(&config.arguments.join(" "), false),
            "LocalVolumes": super::ps::mounts(container).1.to_string(),
            "Size": human::size(one.size),
            "RunningFor": human::since(created),
            "Status": status(&container.status),
            "Names": container.name,
        })
    };
    usage.containers.iter().map(row).collect()
}

fn status(status: &Status) -> String {
    super::ps::status(status, None)
}

fn cache_row(object: &Object, kind: &str) -> Value {
    let since = |time: Option<galley_oci::Time>| time.map(human::since).unwrap_or_default();
    let id = object.id.hex()[..12].to_owned();
    json!({
        "ID": if object.in_use { format!("{id}*") } else { id },
        "CacheType": kind,
        "Size": human::size(object.bytes),
        "CreatedSince": since(object.created),
        "LastUsedSince": since(object.used),
        "UsageCount": object.leads.to_string(),
        "Shared": "false",
        "Description": object.text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_dockers() {
        assert_eq!(part(0, 0), "0B");
        assert_eq!(part(500, 2000), "500B (25%)");
        assert_eq!(rows(&Usage::default()).len(), 4);
    }
}
