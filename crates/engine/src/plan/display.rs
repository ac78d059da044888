//! The names of steps, as BuildKit shows them: `[builder 2/6] WORKDIR /src`.

use galley_dockerfile::{Command, Instruction, Stage, Stages};
use galley_oci::Platform;

use super::{
    environment::Environment,
    external::External,
    graph::{Base, From, Graph, Node, references},
    state::State,
};

/// Counts the steps of one stage.
#[derive(Debug)]
pub(super) struct Counter {
    /// Said in front of each name: where more than this machine's platform is at work.
    platform: Option<Platform>,
    stage: Option<String>,
    total: usize,
    at: usize,
}

impl Counter {
    pub(super) fn new(graph: &Graph<'_>, stage: &Stage, node: &Node) -> Self {
        let base = usize::from(
            matches!(&node.base, Base::External(external) if !matches!(external, External::Empty)),
        );
        let own =
            if node.replaced { 0 } else { stage.instructions.iter().filter(|own| makes_files(own)).count() };
        // BuildKit counts every trigger, also those that only change the config.
        let total = base + own + node.triggers.len();
        let platform = graph.shows_platforms.then(|| node.platform.clone());
        Self { platform, stage: has_names(graph).then(|| stage_name(stage)), total, at: 0 }
    }

    /// The name of the next step.
    pub(super) fn next(&mut self, is_trigger: bool, state: &State, text: &str) -> String {
        self.at += 1;
        let (at, total) = (self.at, self.total.max(self.at));
        let platform = self.platform.as_ref().map(|from| with_target(state, from)).unwrap_or_default();
        let stage = self.stage.as_ref().map(|stage| format!("{stage} ")).unwrap_or_default();
        let trigger = if is_trigger { "ONBUILD " } else { "" };
        let width = total.to_string().len();
        format!("[{platform}{stage}{at:width$}/{total}] {trigger}{text}")
    }
}

/// `linux/amd64 `, or `linux/amd64->arm64 ` in a stage of which ARG or ENV tell that it makes something for another.
fn with_target(state: &State, from: &Platform) -> String {
    // A stage on a stage has the platform of that one. There is none before FROM has been done.
    let own = if state.platform.os.is_empty() { from } else { &state.platform };
    let target = match target_of(&state.environment, own) {
        Some(target) if target.os != own.os => format!("->{target}"),
        Some(target) if target.architecture != own.architecture => {
            let variant = target.variant.map(|variant| format!("/{variant}")).unwrap_or_default();
            format!("->{}{variant}", target.architecture)
        }
        _ => String::new(),
    };
    format!("{own}{target} ")
}

/// What `TARGETPLATFORM`, else `TARGETOS`, `TARGETARCH` and `TARGETVARIANT` say.
fn target_of(environment: &Environment, own: &Platform) -> Option<Platform> {
    let get = |name| environment.get(name).filter(|value| !value.is_empty());
    if let Some(target) = get("TARGETPLATFORM").and_then(|text| text.parse().ok()) {
        return Some(target);
    }
    let [os, architecture, variant] = ["TARGETOS", "TARGETARCH", "TARGETVARIANT"].map(get);
    // One of them at least.
    os.or(architecture).or(variant)?;
    let platform = Platform {
        os: os.unwrap_or(&own.os).to_owned(),
        architecture: architecture.unwrap_or(&own.architecture).to_owned(),
        variant: variant.map(ToOwned::to_owned),
        ..Platform::default()
    };
    Some(platform.normalised())
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
