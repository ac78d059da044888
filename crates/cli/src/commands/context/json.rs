//! A survey for programs. docs/context.md describes it.

use galley_engine::{
    Error, ErrorKind,
    survey::{Item, ItemKind, Survey},
};
use serde::Serialize;

#[derive(Serialize)]
struct Shown<'a> {
    context: &'a str,
    ignore: Option<&'a str>,
    kept: Sum,
    dropped: Sum,
    unused: Option<Sum>,
    rules: Vec<Rule>,
    instructions: Option<Vec<Instruction<'a>>>,
    files: Vec<File<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Sum {
    files: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Rule {
    line: usize,
    pattern: String,
    files: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Instruction<'a> {
    place: &'a str,
    text: &'a str,
    files: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct File<'a> {
    path: String,
    kind: &'static str,
    files: u64,
    bytes: u64,
    kept: bool,
    /// The line in the ignore file.
    rule: Option<usize>,
    used: Vec<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    own: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'static str>,
}

pub(super) fn shown(survey: &Survey, context: &str) -> Result<String, Error> {
    let sum = |of: &dyn Fn(&Item) -> bool| {
        let (files, bytes) = survey.sum(of);
        Sum { files, bytes }
    };
    let rules = survey.rules.iter().map(|rule| {
        let pattern = String::from_utf8_lossy(&rule.text).into_owned();
        Rule { line: rule.line, pattern, files: rule.files, bytes: rule.bytes }
    });
    let instructions = survey.instructions.as_ref().map(|all| {
        let shown = all.iter().map(|one| Instruction {
            place: &one.place,
            text: &one.text,
            files: one.files,
            bytes: one.bytes,
        });
        shown.collect()
    });
    let shown = Shown {
        context,
        ignore: survey.ignore.as_deref(),
        kept: sum(&|item| item.kept),
        dropped: sum(&|item| !item.kept),
        unused: survey.instructions.as_ref().map(|_| sum(&|item| survey.is_unused(item))),
        rules: rules.collect(),
        instructions,
        files: survey.items.iter().map(|item| file(survey, item)).collect(),
        notes: &survey.notes,
    };
    let text = serde_json::to_string_pretty(&shown)
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot write it as JSON").because(error))?;
    Ok(text + "\n")
}

fn file<'a>(survey: &'a Survey, item: &Item) -> File<'a> {
    let instructions = survey.instructions.as_deref().unwrap_or_default();
    let used = item.used.iter().filter_map(|used| instructions.get(*used));
    File {
        path: String::from_utf8_lossy(&item.path).into_owned(),
        kind: match item.kind {
            ItemKind::File => "file",
            ItemKind::Link(_) => "link",
            ItemKind::Special => "special",
            ItemKind::Folder => "folder",
        },
        files: item.files,
        bytes: item.bytes,
        kept: item.kept,
        rule: item.rule.and_then(|rule| survey.rules.get(rule)).map(|rule| rule.line),
        used: used.map(|instruction| instruction.place.as_str()).collect(),
        own: item.own,
        secret: item.secret,
    }
}
