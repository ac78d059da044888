//! `--call=outline`: what the target takes from outside.

use galley_engine::{
    plan::{self, Needed, Outline, OutlineArg, PlanOptions},
    ports::ImageSource,
};
use serde::Serialize;

use super::{
    json::{Location, source},
    print, print_json,
};
use crate::{args::call::Call, display::text::clean, failure::Outcome, table};

pub(super) fn execute(call: Call, options: &PlanOptions, images: &dyn ImageSource) -> Outcome {
    let outline = plan::outline(options, images)?;
    if call.json { print_json(&Answer::new(options, &outline)) } else { print(&text(&outline)) }
}

/// Tables as docker has them, but without blanks at the ends of lines.
fn text(outline: &Outline) -> String {
    let mut parts = Vec::new();
    if outline.name.is_some() || outline.description.is_some() {
        let name = outline.name.as_deref().unwrap_or("(default)");
        let description = outline.description.iter().map(|text| format!("DESCRIPTION: {}\n", clean(text)));
        parts.push(format!("TARGET:      {name}\n{}", description.collect::<String>()));
    }
    if !outline.args.is_empty() {
        let row = |arg: &OutlineArg| {
            let description = arg.description.as_deref().unwrap_or_default();
            format!("{}\t{}\t{}", clean(&arg.name), clean(&arg.value), clean(description))
        };
        parts.push(table("BUILD ARG\tVALUE\tDESCRIPTION", outline.args.iter().map(row)));
    }
    let needed =
        |needed: &Needed| format!("{}\t{}", clean(&needed.name), if needed.required { "true" } else { "" });
    if !outline.secrets.is_empty() {
        parts.push(table("SECRET\tREQUIRED", outline.secrets.iter().map(needed)));
    }
    if !outline.ssh.is_empty() {
        parts.push(table("SSH\tREQUIRED", outline.ssh.iter().map(needed)));
    }
    parts.join("\n")
}

fn table(head: &str, rows: impl Iterator<Item = String>) -> String {
    let rows: Vec<String> = std::iter::once(head.to_owned()).chain(rows).collect();
    let aligned = table::align(&rows);
    aligned.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// As BuildKit's `result.json`.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Arg<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Thing<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<Thing<'a>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct Arg<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    value: &'a str,
    location: Location,
}

#[derive(Serialize)]
struct Thing<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

impl<'a> Answer<'a> {
    fn new(options: &PlanOptions, outline: &'a Outline) -> Self {
        let things = |list: &'a [Needed]| list.iter().map(Thing::new).collect();
        Self {
            name: outline.name.as_deref(),
            description: outline.description.as_deref(),
            args: outline.args.iter().map(Arg::new).collect(),
            secrets: things(&outline.secrets),
            ssh: things(&outline.ssh),
            sources: [source(options)],
        }
    }
}

impl<'a> Arg<'a> {
    fn new(arg: &'a OutlineArg) -> Self {
        let OutlineArg { name, description, value, lines } = arg;
        Self { name, description: description.as_deref(), value, location: Location::lines(*lines) }
    }
}

impl<'a> Thing<'a> {
    fn new(needed: &'a Needed) -> Self {
        let Needed { name, required, lines } = needed;
        Self { name, required: *required, location: Location::lines(*lines) }
    }
}
