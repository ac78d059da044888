mod filter;

use galley_engine::{
    Error, ErrorKind,
    images::{self, ImageSummary},
};
use galley_oci::Reference;
use galley_store::Store;
use serde_json::{Value, json};

use crate::{
    commands::listing::{ListArgs, Listing},
    context::Context,
    failure::{Failure, Outcome},
    human, message,
};

/// List images
#[derive(Debug, clap::Args)]
pub(crate) struct ImagesArgs {
    /// Also bases that came with --build-context
    #[arg(short, long)]
    all: bool,
    /// Show manifest digests
    #[arg(long)]
    digests: bool,
    /// Only these: reference=, dangling=, label=, before=, since=, until=
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
    #[command(flatten)]
    list: ListArgs,
    /// Only this repository, or this tag of it
    #[arg(value_name = "REPOSITORY[:TAG]")]
    filter: Option<String>,
}

/// Fields and headings as docker has them.
const HEADINGS: [(&str, &str); 11] = [
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "VIRTUAL SIZE"),
];
const TABLE: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const TABLE_DIGESTS: &str = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";

/// Lists what is in the store.
pub(crate) fn execute(arguments: &ImagesArgs, context: &Context) -> Outcome {
    let wanted = arguments.filter.as_deref().map(parse).transpose()?;
    let store = context.store()?;
    let filter = filter::Filter::parse(&arguments.filters, &store)?;
    let images = images::list(&store)?;
    let shown = images.iter().filter(|image| wanted.as_ref().is_none_or(|wanted| matches(image, wanted)));
    let shown = shown.filter(|image| arguments.all || image.reference.is_some() || !is_base(&store, image));
    let shown = shown.filter(|image| filter.takes(&store, image));
    let mut damage = Vec::new();
    let rows = shown.map(|image| {
        damage.extend(&image.size.damage);
        row(&store, image, arguments.list.no_trunc)
    });
    let rows = rows.collect();
    let table = if arguments.digests { TABLE_DIGESTS } else { TABLE };
    damage.into_iter().for_each(message::warn_of);
    Listing { headings: &HEADINGS, table, rows }.print(&arguments.list)
}

/// Brought in by a build that names it as a context: it has no name of its own, and came with its manifest.
fn is_base(store: &Store, image: &ImageSummary) -> bool {
    store.image(&image.id).is_ok_and(|image| image.is_some_and(|image| image.manifest.is_some()))
}

fn parse(filter: &str) -> Result<Reference, Failure> {
    let error = |error| {
        Error::new(ErrorKind::Usage, format!("{filter:?} cannot be the name of an image")).because(error)
    };
    Ok(filter.parse::<Reference>().map_err(error)?)
}

/// The same repository, and the same tag where one is wanted.
fn matches(image: &ImageSummary, wanted: &Reference) -> bool {
    image.reference.as_ref().is_some_and(|reference| {
        reference.name() == wanted.name() && (wanted.tag.is_none() || reference.tag == wanted.tag)
    })
}

fn row(store: &Store, image: &ImageSummary, whole: bool) -> Value {
    let none = || "<none>".to_owned();
    let digest = image.reference.as_ref().and_then(|name| images::repo_digest(store, name, &image.id));
    let repository = image.reference.as_ref().map_or_else(none, Reference::familiar_name);
    let tag = image.reference.as_ref().and_then(|reference| reference.tag.clone()).unwrap_or_else(none);
    let size = human::size(image.size.bytes);
    json!({
        "Repository": repository,
        "Tag": tag,
        "Digest": digest.map_or_else(none, |digest| digest.to_string()),
        "ID": if whole { image.id.to_string() } else { image.id.short() },
        "CreatedSince": human::since(image.created),
        "CreatedAt": human::timestamp(image.created),
        "Size": size,
        "Containers": "N/A",
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "VirtualSize": size,
    })
}
