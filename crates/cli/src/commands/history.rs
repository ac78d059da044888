use galley_engine::images::{self, HistoryLine};
use galley_oci::Platform;
use serde_json::{Value, json};

use crate::{
    commands::listing::{ListArgs, Listing},
    context::Context,
    failure::Outcome,
    human, message,
};

/// Show how an image came about, newest first
#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    /// Sizes and ages for people, or bytes and dates with `--human=false`
    #[arg(short = 'H', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    human: bool,
    /// Of an image for several platforms, the one for this
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    #[command(flatten)]
    list: ListArgs,
    /// A tag, an id or the start of one
    #[arg(value_name = "IMAGE")]
    image: String,
}

const HEADINGS: [(&str, &str); 6] = [
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];
const TABLE: &str = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const TABLE_DATES: &str = "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
/// Instructions are cut here, as docker cuts them.
const CREATED_BY_CHARACTERS: usize = 45;

/// Lists the instructions of an image.
pub(crate) fn execute(arguments: &HistoryArgs, context: &Context) -> Outcome {
    let (lines, damage) = images::history(&context.store()?, &arguments.image, arguments.platform.as_ref())?;
    damage.iter().for_each(message::warn_of);
    let rows = lines.iter().map(|line| row(line, arguments.list.no_trunc, arguments.human)).collect();
    let table = if arguments.human { TABLE } else { TABLE_DATES };
    Listing { headings: &HEADINGS, table, rows }.print(&arguments.list)
}

fn row(line: &HistoryLine, whole: bool, people: bool) -> Value {
    let id = line
        .id
        .as_ref()
        .map_or_else(|| "<missing>".to_owned(), |id| if whole { id.to_string() } else { id.short() });
    let created_by = line.created_by.replace('\t', " ");
    json!({
        "ID": id,
        "CreatedSince": line.created.map_or_else(|| "N/A".to_owned(), human::since),
        "CreatedAt": line.created.map_or_else(String::new, |time| time.rfc3339()),
        "CreatedBy": if whole { created_by } else { shortened(&created_by) },
        "Size": line.size.map_or_else(|| "N/A".to_owned(), |size| if people { human::size(size) } else { size.to_string() }),
        "Comment": line.comment,
    })
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= CREATED_BY_CHARACTERS {
        return text.to_owned();
    }
    text.chars().take(CREATED_BY_CHARACTERS - 1).chain(['…']).collect()
}
