//! `builder prune`, `buildx prune`, `buildx du`: the build cache.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use galley_engine::prune::{self, CacheItem};
use galley_oci::Digest;
use galley_store::{Collected, Keep, Object, Policy, Store};
use serde_json::{Value, json};

use super::{
    listing::{ListArgs, Listing},
    prune::{collect, confirmed, print_collected},
};
use crate::{
    args::{prune_filter, size},
    context::Context,
    display::text,
    failure::{Outcome, output, store_error},
    human, namespace, story,
};

/// Remove build cache
#[derive(Debug, clap::Args)]
pub(crate) struct BuilderPruneArgs {
    /// Everything that can be made or fetched again, also what is remembered of images that stay
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only some: until=24h, type=TYPE, id=ID
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Keep so much of the cache in any case, the most recently used
    #[arg(long, value_name = "BYTES", value_parser = size::parse)]
    reserved_space: Option<u64>,
    /// Its old name
    #[arg(long, value_name = "BYTES", hide = true, overrides_with = "reserved_space", value_parser = size::parse)]
    keep_storage: Option<u64>,
    /// Keep so much of the cache at most
    #[arg(long, value_name = "BYTES", value_parser = size::parse)]
    max_used_space: Option<u64>,
    /// Remove until so much of the disk is free
    #[arg(long, value_name = "BYTES", value_parser = size::parse)]
    min_free_space: Option<u64>,
    /// Say more of each
    #[arg(long)]
    verbose: bool,
}

/// How the result is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// As `docker builder prune`.
    Docker,
    /// As `docker buildx prune`.
    Buildx,
}

/// Removes build cache.
pub(crate) fn execute(arguments: &BuilderPruneArgs, style: Style, context: &Context) -> Outcome {
    let filter = prune_filter::cache(&arguments.filter)?;
    let which = if arguments.all { "all build cache" } else { "all dangling build cache" };
    let question = format!("WARNING! This will remove {which}. Are you sure you want to continue?");
    if !confirmed(arguments.force, &question, context)? {
        return Ok(());
    }
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    let keep = Keep::Cache(arguments.keep(&store)?);
    let policy = filter.apply(Policy { all: arguments.all, ..Policy::new(keep) });
    let collected = collect(&store, &policy)?;
    match (style, arguments.verbose) {
        (Style::Docker, false) => print_collected(&collected),
        (_, verbose) => print_table(&collected, verbose),
    }
}

impl BuilderPruneArgs {
    /// How much of the cache may stay, by BuildKit's rules: a minimum of free space takes, a reserve gives.
    fn keep(&self, store: &Store) -> Outcome<u64> {
        let nonzero = |size: Option<u64>| size.filter(|size| *size > 0);
        let (reserved, most) =
            (nonzero(self.reserved_space.or(self.keep_storage)), nonzero(self.max_used_space));
        let free = nonzero(self.min_free_space);
        if reserved.or(most).or(free).is_none() {
            return Ok(0);
        }
        let mut keep = most;
        if let Some(wanted) = free {
            let missing = wanted.saturating_sub(store.disk().map_err(store_error)?.available);
            let cache = prune::cache(store)?;
            let bytes: u64 =
                cache.iter().filter(|item| !item.object.kept).map(|item| item.object.bytes).sum();
            let left = if missing == 0 { u64::MAX } else { bytes.saturating_sub(missing) };
            keep = Some(keep.map_or(left, |keep| keep.min(left)));
        }
        Ok(keep.unwrap_or_default().max(reserved.unwrap_or_default()))
    }
}

/// Ids are as long as BuildKit's.
const ID_DIGITS: usize = 25;

fn id(digest: &Digest) -> String {
    digest.hex()[..ID_DIGITS].to_owned()
}

fn last_used(object: &Object) -> String {
    object.used.map(human::since).unwrap_or_default()
}

fn print_table(collected: &Collected, verbose: bool) -> Outcome {
    let mut text = String::new();
    if verbose {
        text = collected.objects.iter().map(details).collect();
    } else if !collected.objects.is_empty() {
        let row = |object: &Object| {
            [
                format!("{:<40}", id(&object.id)),
                "true ".to_owned(),
                format!("{:<10}", human::size(object.bytes)),
                last_used(object),
            ]
        };
        let heading = ["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"].map(str::to_owned);
        text = tabbed(&std::iter::once(heading).chain(collected.objects.iter().map(row)).collect::<Vec<_>>());
    }
    text += &tabbed(&[["Total:".to_owned(), human::size(collected.bytes())]]);
    io::stdout().lock().write_all(text.as_bytes()).map_err(output)
}

fn details(object: &Object) -> String {
    let rows = [
        ("ID", id(&object.id)),
        ("Created at", object.created.map(human::timestamp).unwrap_or_default()),
        ("Reclaimable", (!object.kept).to_string()),
        ("Size", human::size(object.bytes)),
        ("Description", object.text.clone()),
        ("Usage count", object.leads.to_string()),
        ("Last used", last_used(object)),
    ];
    let rows = rows.into_iter().filter(|(_, value)| !value.is_empty());
    let rows: Vec<[String; 2]> = rows.map(|(name, value)| [format!("{name}:"), value]).collect();
    tabbed(&rows) + "\n"
}

/// Columns with tabs between, eight characters each, as Go's tabwriter makes them.
fn tabbed<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let widest = rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or_default();
        (widest + 1).next_multiple_of(8)
    };
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < N {
                text.push_str(&"\t".repeat((width(column) - cell.len()).div_ceil(8)));
            }
        }
        text.push('\n');
    }
    text
}

/// Tell what the build cache takes
#[derive(Debug, clap::Args)]
pub(crate) struct DuArgs {
    /// Only some: until=24h, type=TYPE, id=ID
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Say more of each: --format=pretty
    #[arg(long, conflicts_with = "format")]
    verbose: bool,
    /// `table`, `pretty`, `json`, or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
}

const DU_HEADINGS: [(&str, &str); 11] = [
    ("ID", "ID"),
    ("Parents", "PARENTS"),
    ("CreatedAt", "CREATED AT"),
    ("Mutable", "MUTABLE"),
    ("Reclaimable", "RECLAIMABLE"),
    ("Shared", "SHARED"),
    ("Size", "SIZE"),
    ("Description", "DESCRIPTION"),
    ("UsageCount", "USAGE COUNT"),
    ("LastUsedAt", "LAST ACCESSED"),
    ("Type", "TYPE"),
];
const DU_TABLE: &str = "{{.ID}}\t{{.Reclaimable}}\t{{.Size}}\t{{.LastUsedAt}}";

/// Lists the build cache, least recently used first.
pub(crate) fn du(arguments: &DuArgs, context: &Context) -> Outcome {
    let filter = prune_filter::cache(&arguments.filter)?;
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    let policy = filter.apply(Policy { all: true, ..Policy::new(Keep::Cache(0)) });
    let mut items = prune::cache(&store)?;
    items.retain(|item| policy.wants(&item.object));
    describe(&store, &mut items)?;
    let format = arguments.format.as_deref().unwrap_or(if arguments.verbose { "pretty" } else { "table" });
    if format == "pretty" {
        let text: String = items.iter().map(|item| details(&item.object)).collect();
        io::stdout().lock().write_all(text.as_bytes()).map_err(output)?;
    } else {
        let rows = items.iter().map(du_row).collect();
        let arguments = ListArgs { format: Some(format.to_owned()), ..ListArgs::default() };
        Listing { headings: &DU_HEADINGS, table: DU_TABLE, rows }.print(&arguments)?;
    }
    if matches!(format, "table" | "pretty") && arguments.filter.is_empty() {
        return summary(&items);
    }
    Ok(())
}

/// Says of layers which step made them, as far as the last builds are remembered.
fn describe(store: &Store, items: &mut [CacheItem]) -> Outcome {
    let mut names = BTreeMap::new();
    for build in store.builds().map_err(store_error)? {
        let head = store.build_head(&build).map_err(store_error)?.and_then(|line| story::read_head(&line));
        let steps = head.into_iter().flat_map(|head| head.steps);
        names.extend(steps.filter_map(|step| Some((step.key?, step.name))));
    }
    let inventory = store.inventory().map_err(store_error)?;
    let made = inventory
        .records
        .iter()
        .filter_map(|(key, record)| Some((record.what.layer, names.get(&key.to_string())?)));
    let made: BTreeMap<Digest, &String> = made.collect();
    for item in items.iter_mut().filter(|item| item.object.text.is_empty()) {
        if let Some(name) = made.get(&item.object.id) {
            item.object.text = text::clean(name);
        } else if item.kind == prune::CacheKind::LocalSource {
            "local source for context".clone_into(&mut item.object.text);
        }
    }
    Ok(())
}

fn du_row(item: &CacheItem) -> Value {
    let object = &item.object;
    json!({
        "ID": id(&object.id),
        "Parents": Value::Array(Vec::new()),
        "CreatedAt": object.created.map(human::timestamp).unwrap_or_default(),
        "Mutable": item.kind == prune::CacheKind::CacheMount,
        "Reclaimable": !object.kept,
        "Shared": false,
        "Size": human::size(object.bytes),
        "Description": object.text,
        "UsageCount": object.leads,
        "LastUsedAt": last_used(object),
        "Type": item.kind.name(),
    })
}

fn summary(items: &[CacheItem]) -> Outcome {
    let sum = |wanted: &dyn Fn(&Object) -> bool| -> u64 {
        items.iter().map(|item| &item.object).filter(|object| wanted(object)).map(|object| object.bytes).sum()
    };
    let row = |name: &str, bytes: u64| [name.to_owned(), human::size(bytes)];
    let text = tabbed(&[row("Reclaimable:", sum(&|object| !object.kept)), row("Total:", sum(&|_| true))]);
    io::stdout().lock().write_all(text.as_bytes()).map_err(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tabs_stand_as_gos() {
        let rows = [["ID", "SIZE"], ["0123456789", "1B"]].map(|row| row.map(str::to_owned));
        assert_eq!(tabbed(&rows), "ID\t\tSIZE\n0123456789\t1B\n");
        assert_eq!(tabbed(&[["Total:".to_owned(), "0B".to_owned()]]), "Total:\t0B\n");
    }
}
