//! `ChownDoublesFiles`

use super::scene::{RunView, Scene, View};
use crate::command::{Command, CopySource};
use crate::lint::{Finding, Rule};
use crate::shell::Simple;
use crate::span::Word;

pub(super) static RULE: Rule = Rule::own(
    "ChownDoublesFiles",
    "files get owner and mode while they are copied, not by a RUN that stores them a second time",
);

/// Extensions of files that are too small to speak of.
const SMALL: [&str; 21] = [
    "cfg",
    "conf",
    "crt",
    "env",
    "html",
    "ini",
    "js",
    "json",
    "lock",
    "md",
    "mod",
    "properties",
    "py",
    "service",
    "sh",
    "sql",
    "sum",
    "toml",
    "txt",
    "yaml",
    "yml",
];

/// Files that a COPY or ADD brought into the stage.
struct Copied {
    /// Where to; an absolute path.
    destination: String,
    chown: bool,
    chmod: bool,
}

pub(super) fn find(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let shipped = scene.shipped();
    for view in scene.stages.iter().filter(|view| shipped.contains(&view.index())) {
        for run in &view.runs {
            findings.extend(in_run(scene, view, run));
        }
    }
}

fn in_run(scene: &Scene<'_>, view: &View<'_>, run: &RunView<'_>) -> Option<Finding> {
    let command = run.script.commands.iter().find(|command| {
        matches!(command.program(), "chown" | "chmod")
            && (command.has_letter('R') || command.has("--recursive"))
    })?;
    // Where `cd` went is not followed.
    if run.script.of("cd").next().is_some() || run.script.of("pushd").next().is_some() {
        return None;
    }
    let paths = paths(view, run, command);
    let chown = command.program() == "chown";
    let doubled = copied(scene, view, run.index)
        .into_iter()
        .filter(|copied| !if chown { copied.chown } else { copied.chmod });
    // A folder below the destination may be another one, made by a RUN.
    let is_below = |copied: &Copied| paths.iter().any(|path| is_at_or_below(&copied.destination, path));
    let copied = doubled.into_iter().find(is_below)?;
    let program = command.program();
    let detail = format!(
        "{program} -R stores every file below {} a second time, with its new {}",
        copied.destination,
        if chown { "owner" } else { "mode" }
    );
    let help = format!("write COPY --{program}=… where the files are copied, and leave this out");
    let place = command.words.first().and_then(|word| run.place(scene, word));
    Some(run.finding(&RULE, place, detail, &help))
}

/// The paths that are changed: all operands but the owner or the mode.
fn paths(view: &View<'_>, run: &RunView<'_>, command: &Simple) -> Vec<String> {
    let words = command.operands().skip(1).map(|operand| Word::new(operand, Default::default()));
    let expanded = words.filter_map(|word| view.expand(run.index, &word, '\\'));
    let absolute = expanded.filter_map(|path| {
        let path = path.strip_suffix("/*").unwrap_or(&path).to_owned();
        view.values.absolute(run.index, &path)
    });
    absolute.filter(|path| path != "/").collect()
}

/// What was copied in this stage before an instruction.
fn copied(scene: &Scene<'_>, view: &View<'_>, before: usize) -> Vec<Copied> {
    let above = view.stage.instructions.iter().enumerate().take(before);
    let copied = above.filter_map(|(index, instruction)| {
        let (sources, destination, chown, chmod) = match &instruction.command {
            Command::Copy(copy) => (&copy.sources, &copy.destination, &copy.chown, &copy.chmod),
            Command::Add(add) => (&add.sources, &add.destination, &add.chown, &add.chmod),
            _ => return None,
        };
        if sources.iter().all(is_small) {
            return None;
        }
        let destination = view.expand(index, destination, scene.input.escape)?;
        let destination = view.values.absolute(index, &destination)?;
        Some(Copied { destination, chown: chown.is_some(), chmod: chmod.is_some() })
    });
    copied.collect()
}

/// A single file of a kind that is never large, or one that is written in the Dockerfile.
fn is_small(source: &CopySource) -> bool {
    let CopySource::Path(path) = source else { return true };
    path.text.rsplit_once('.').is_some_and(|(_, extension)| SMALL.contains(&extension))
}

fn is_at_or_below(path: &str, above: &str) -> bool {
    path == above || above == "/" || path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}
