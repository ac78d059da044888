//! The names of steps, as BuildKit shows them: `[builder 2/6] WORKDIR /src`.

use galley_dockerfile::{Command, Instruction, Stage, Stages};

use super::external::External;
use super::graph::{Base, From, Graph, Node, references};

/// Counts the steps of one stage.
#[derive(Debug)]
pub(super) struct Counter {
    stage: Option<String>,
    total: usize,
    at: usize,
}

impl Counter {
    pub(super) fn new(graph: &Graph<'_>, stage: &Stage, node: &Node) -> Self {
        let base =
            usize::from(matches!(node.base, Base::External(External::Image(_) | External::Directory(_))));
        let own =
            if node.replaced { 0 } else { stage.instructions.iter().filter(|own| makes_files(own)).count() };
        // BuildKit counts every trigger, also those that only change the config.
        let total = base + own + node.triggers.len();
        Self { stage: has_names(graph).then(|| stage_name(stage)), total, at: 0 }
    }

    /// The name of the next step.
    pub(super) fn next(&mut self, is_trigger: bool, text: &str) -> String {
        self.at += 1;
        let (at, total) = (self.at, self.total.max(self.at));
        let stage = self.stage.as_ref().map(|stage| format!("{stage} ")).unwrap_or_default();
        let trigger = if is_trigger { "ONBUILD " } else { "" };
        let width = total.to_string().len();
        format!("[{stage}{at:width$}/{total}] {trigger}{text}")
    }
}

/// The stage's name, or `stage-1`.
fn stage_name(stage: &Stage) -> String {
    stage.name.clone().unwrap_or_else(|| format!("stage-{}", stage.index))
}

/// Whether names of stages are shown: not when there is a single one that uses nothing else.
fn has_names(graph: &Graph<'_>) -> bool {
    let Stages { stages, .. } = graph.stages;
    let uses_other = |stage: &Stage| stage.instructions.iter().any(|own| uses_image(graph, stage.index, own));
    stages.len() != 1 || stages.iter().any(uses_other)
}

/// BuildKit gives every `--from` of an image, and every mount, a nameless stage of its own.
fn uses_image(graph: &Graph<'_>, index: usize, instruction: &Instruction) -> bool {
    let by_mount = matches!(&instruction.command, Command::Run(run) if !run.mounts.is_empty());
    let is_image = |word| matches!(graph.from(index, word, graph.text), Ok(From::Name(_)));
    by_mount || references(instruction).into_iter().any(is_image)
}

fn makes_files(instruction: &Instruction) -> bool {
    matches!(instruction.command, Command::Run(_) | Command::Copy(_) | Command::Add(_) | Command::Workdir(_))
}

/// The instruction's keyword in capitals.
pub(super) fn capitals(text: &str) -> String {
    match text.split_once(' ') {
        Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
        None => text.to_uppercase(),
    }
}

/// The first line of a here-document, for the name of a RUN step.
pub(super) fn summary(document: &str) -> String {
    let mut lines = document.trim().lines();
    let first = lines.next().unwrap_or_default();
    if lines.next().is_some() { format!("{first}...") } else { first.to_owned() }
}
