use std::{
    io::{self, IsTerminal, Write},
    sync::Mutex,
    time::{Duration, Instant},
};

use galley_store::{Checked, Finding, Progress, Repaired, Severity, Store};
use serde_json::{Value, json};

use crate::{
    context::Context,
    exit,
    failure::{Failure, Outcome, output, store_error},
    human, namespace,
};

/// Recompute every digest of the store, and tell what is damaged
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Remove what is damaged, so that it is made again; nothing that is whole goes
    #[arg(long)]
    repair: bool,
    /// `json` for programs
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    format: String,
    /// The same as --format=json
    #[arg(long)]
    json: bool,
}

/// How often the progress is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(100);

/// Checks, repairs where that was asked for, and ends with 4 when anything is damaged still.
pub(crate) fn execute(arguments: &CheckArgs, context: &Context) -> Outcome {
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    // Nothing goes meanwhile, but for what is removed here.
    let turn = store.collector_turn().map_err(store_error)?;
    let checked = check(&store)?;
    let repaired = match arguments.repair && !checked.findings.is_empty() {
        true => Some(store.repair(&checked).map_err(store_error)?),
        false => None,
    };
    drop(turn);
    let json = arguments.json || arguments.format == "json";
    let text = if json { report(&checked, repaired.as_ref()) } else { told(&checked, repaired.as_ref()) };
    io::stdout().lock().write_all(text.as_bytes()).map_err(output)?;
    let sound = checked.is_sound() || repaired.is_some_and(|repaired| is_cured(&checked, &repaired));
    if sound { Ok(()) } else { Err(Failure::Code(exit::STORE)) }
}

fn is_cured(checked: &Checked, repaired: &Repaired) -> bool {
    let damaged = checked.findings.iter().filter(|finding| finding.severity == Severity::Damaged);
    !damaged.into_iter().any(|finding| repaired.left.iter().any(|(path, _)| *path == finding.path))
}

/// Shows how far it is on a terminal.
fn check(store: &Store) -> Result<Checked, Failure> {
    let terminal = io::stderr().is_terminal();
    let last = Mutex::new(Instant::now());
    let show = |progress: Progress| {
        let Some(mut last) = last.try_lock().ok().filter(|last| last.elapsed() >= SHOWN_EVERY) else {
            return;
        };
        let Progress { done, all, bytes } = progress;
        let _ = write!(io::stderr().lock(), "\rchecked {done} of {all}, {} ", human::size(bytes));
        *last = Instant::now();
    };
    let checked = store.check(&|progress| {
        if terminal {
            show(progress);
        }
    });
    if terminal {
        let _ = write!(io::stderr().lock(), "\r\u{1b}[K");
    }
    Ok(checked.map_err(store_error)?)
}

fn counts(checked: &Checked) -> String {
    let some = checked.counts.iter().filter(|(_, count)| *count > 0);
    let some: Vec<String> = some
        .map(|(thing, count)| {
            let plural = if *count == 1 { "" } else { "s" };
            format!("{count} {}{plural}", thing.name())
        })
        .collect();
    if some.is_empty() { "nothing".to_owned() } else { some.join(", ") }
}

fn told(checked: &Checked, repaired: Option<&Repaired>) -> String {
    let mut text = format!("checked {}: {} read\n", counts(checked), human::size(checked.bytes));
    for finding in &checked.findings {
        text += &line(finding, repaired);
    }
    let damaged = checked.findings.iter().filter(|finding| finding.severity == Severity::Damaged).count();
    let leftovers = checked.findings.len() - damaged;
    for (name, why) in repaired.iter().flat_map(|repaired| &repaired.images) {
        text += &format!("image {name} is gone, for {why}: build, pull or load it again\n");
    }
    text += &match (damaged, leftovers) {
        (0, 0) => "nothing is damaged\n".to_owned(),
        (0, leftovers) => {
            format!("nothing is damaged; {leftovers} left over from processes that died or power cuts\n")
        }
        (damaged, 0) => format!("{damaged} damaged\n"),
        (damaged, leftovers) => format!("{damaged} damaged, {leftovers} left over\n"),
    };
    if damaged > 0 && repaired.is_none() {
        text += "`galley system check --repair` removes what is damaged, so that it is made again\n";
    }
    text
}

fn line(finding: &Finding, repaired: Option<&Repaired>) -> String {
    let severity = match finding.severity {
        Severity::Damaged => "damaged",
        Severity::Leftover => "left over",
    };
    let state = repaired.map(|repaired| match left(finding, repaired) {
        Some(why) => format!(" (stays: {why})"),
        None => " (removed)".to_owned(),
    });
    let (name, path) = (finding.thing.name(), finding.path.display());
    format!("{severity}: {name} {path}: {}{}\n", finding.problem, state.unwrap_or_default())
}

fn left<'a>(finding: &Finding, repaired: &'a Repaired) -> Option<&'a str> {
    repaired.left.iter().find(|(path, _)| *path == finding.path).map(|(_, why)| *why)
}

fn report(checked: &Checked, repaired: Option<&Repaired>) -> String {
    let counts = checked.counts.iter().map(|(thing, count)| (thing.name().to_owned(), json!(count)));
    let findings = checked.findings.iter().map(|finding| {
        json!({
            "kind": finding.thing.name(),
            "path": finding.path.display().to_string(),
            "problem": finding.problem,
            "damaged": finding.severity == Severity::Damaged,
            "removed": repaired.map(|repaired| left(finding, repaired).is_none()),
        })
    });
    let images = repaired.iter().flat_map(|repaired| &repaired.images);
    let images: Vec<Value> = images.map(|(name, why)| json!({"image": name, "reason": why})).collect();
    let data = json!({
        "checked": counts.collect::<serde_json::Map<_, _>>(),
        "bytes": checked.bytes,
        "sound": checked.is_sound(),
        "findings": findings.collect::<Vec<_>>(),
        "images_lost": images,
    });
    format!("{data}\n")
}
