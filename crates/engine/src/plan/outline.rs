//! What a target takes from outside (`--call=outline`), and which targets there are (`--call=targets`).

use std::collections::{BTreeMap, BTreeSet};

use galley_dockerfile::{Command, Expander, Instruction, Stage, Word};

use super::{
    Checked, PlanOptions,
    environment::Environment,
    file::File,
    globals,
    planner::{Job, Learned, Scope},
    text::Text,
    warnings::Warnings,
};
use crate::{Error, ports::ImageSource};

/// What a target takes from outside, each thing once, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The target's name, in lower case.
    pub name: Option<String>,
    /// The comment above it.
    pub description: Option<String>,
    /// Build arguments.
    pub args: Vec<OutlineArg>,
    /// Secrets.
    pub secrets: Vec<Needed>,
    /// SSH agents.
    pub ssh: Vec<Needed>,
}

/// A build argument that somebody declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// The comment above it.
    pub description: Option<String>,
    /// What it is in this build.
    pub value: String,
    /// The first and the last line of its ARG.
    pub lines: (usize, usize),
}

/// Something that steps ask for by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// Its id.
    pub name: String,
    /// Without it the step fails.
    pub required: bool,
    /// The first and the last line of the first RUN that asks.
    pub lines: (usize, usize),
}

/// A stage as a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetInfo {
    /// Its name, in lower case.
    pub name: Option<String>,
    /// The comment above it.
    pub description: Option<String>,
    /// It is what a build without `--target` makes.
    pub is_default: bool,
    /// The image of FROM, as written.
    pub base: String,
    /// The platform of FROM, as written.
    pub platform: Option<String>,
    /// The first and the last line of FROM.
    pub lines: (usize, usize),
}

/// The stages of a Dockerfile. No base is asked for.
pub fn targets(options: &PlanOptions) -> Result<Vec<TargetInfo>, Error> {
    let file = File::read(options)?;
    let last = file.stages.stages.len().saturating_sub(1);
    let target = |stage: &Stage| TargetInfo {
        name: stage.name.clone(),
        description: stage.instruction.description(stage.name.as_deref()),
        is_default: stage.index == last,
        base: stage.from.image.text.clone(),
        platform: stage.from.platform.as_ref().map(|word| word.text.clone()),
        lines: file.text.lines(stage.instruction.full_span),
    };
    Ok(file.stages.stages.iter().map(target).collect())
}

/// What the target and the stages that it needs take from outside.
pub fn outline(options: &PlanOptions, sources: &dyn ImageSource) -> Result<Outline, Error> {
    let options = &Checked::options(options);
    let file = File::read(options)?;
    let mut warnings = Warnings::new(file.check(options)?, &file.text);
    let job = Job { options, sources, file: &file, scope: Scope::Target };
    let mut learned = Learned::default();
    job.plan(&mut warnings, &mut learned)?;
    if let (_, Some(fatal)) = warnings.finish() {
        return Err(fatal);
    }
    let platform = &options.build_platform;
    let environment = globals::globals(options, platform, &file.stages, &file.text)?;
    let globals = Globals { options, file: &file, environment };
    let mut collector = Collector { file: &file, uses: learned.uses, infos: globals.infos(), globals };
    let mut outline = Outline::default();
    if let Some(stage) = file.stages.stages.get(learned.target) {
        outline.name.clone_from(&stage.name);
        outline.description = stage.instruction.description(stage.name.as_deref());
    }
    collector.stage(learned.target, &mut outline);
    outline.args.sort_by_key(|arg| arg.lines);
    outline.secrets.sort_by_key(|needed| needed.lines);
    outline.ssh.sort_by_key(|needed| needed.lines);
    Ok(outline)
}

/// What the evaluation of one stage comes across.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// By name: the last ARG of the stage, unless it only repeats a global one.
    args: BTreeMap<String, OutlineArg>,
    /// The names of all its ARGs.
    declared: BTreeSet<String>,
    pub(super) secrets: Vec<Needed>,
    pub(super) ssh: Vec<Needed>,
    /// The stage below, and those that are copied from.
    pub(super) below: Vec<usize>,
}

impl Uses {
    /// An ARG of the stage. Without `own` it has nothing but the value of the global scope.
    pub(super) fn declare(&mut self, arg: OutlineArg, own: bool) {
        self.declared.insert(arg.name.clone());
        if own {
            self.args.insert(arg.name.clone(), arg);
        }
    }
}

/// The ARGs above the first FROM.
struct Globals<'a> {
    options: &'a PlanOptions,
    file: &'a File,
    environment: Environment,
}

/// A global ARG, and the names that its default uses.
struct Info {
    arg: OutlineArg,
    uses: BTreeSet<String>,
}

impl Globals<'_> {
    fn infos(&self) -> BTreeMap<String, Info> {
        let mut infos: BTreeMap<String, Info> = BTreeMap::new();
        for instruction in &self.file.stages.global_args {
            let Command::Arg(arg) = &instruction.command else { continue };
            for definition in &arg.definitions {
                let name = definition.name.text.as_str();
                let default = definition.default.as_ref().filter(|_| self.options.build_arg(name).is_none());
                let mut uses = default.map(|word| self.used(word)).unwrap_or_default();
                if uses.remove(name) {
                    uses.extend(infos.remove(name).map(|known| known.uses).unwrap_or_default());
                }
                let value = self.environment.get(name).unwrap_or_default();
                let arg = described(instruction, name, value, &self.file.text);
                infos.insert(name.to_owned(), Info { arg, uses });
            }
        }
        infos
    }

    /// The variables with a value that a word uses.
    fn used(&self, word: &Word) -> BTreeSet<String> {
        let lookup = |name: &str| self.environment.get(name).map(ToOwned::to_owned);
        let expanded = Expander::new(self.file.text.escape, &lookup).word(word);
        expanded.map(|expanded| expanded.used).unwrap_or_default()
    }
}

/// An ARG as the outline has it.
pub(super) fn described(instruction: &Instruction, name: &str, value: &str, text: &Text) -> OutlineArg {
    OutlineArg {
        name: name.to_owned(),
        description: instruction.description(Some(name)),
        value: value.to_owned(),
        lines: text.lines(instruction.full_span),
    }
}

/// Goes down from the target.
struct Collector<'a> {
    file: &'a File,
    globals: Globals<'a>,
    infos: BTreeMap<String, Info>,
    /// What was looked at is gone.
    uses: BTreeMap<usize, Uses>,
}

impl Collector<'_> {
    fn stage(&mut self, start: usize, outline: &mut Outline) {
        let mut waiting = vec![start];
        while let Some(index) = waiting.pop() {
            let (Some(stage), Some(uses)) = (self.file.stages.stages.get(index), self.uses.remove(&index))
            else {
                continue;
            };
            self.args(stage, &uses, outline);
            add(&mut outline.secrets, uses.secrets);
            add(&mut outline.ssh, uses.ssh);
            // The next one is the stage below.
            waiting.extend(uses.below.into_iter().rev());
        }
    }

    fn args(&self, stage: &Stage, uses: &Uses, outline: &mut Outline) {
        let mut waiting: Vec<String> = uses.declared.iter().cloned().collect();
        waiting.extend(self.globals.used(&stage.from.image));
        waiting.extend(stage.from.platform.iter().flat_map(|word| self.globals.used(word)));
        let mut seen = BTreeSet::new();
        while let Some(name) = waiting.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            let global = self.infos.get(&name);
            let arg = uses.args.get(&name).or_else(|| {
                waiting.extend(global.iter().flat_map(|info| info.uses.iter().cloned()));
                global.map(|info| &info.arg)
            });
            if let Some(arg) = arg.filter(|arg| outline.args.iter().all(|known| known.name != arg.name)) {
                outline.args.push(arg.clone());
            }
        }
    }
}

fn add(known: &mut Vec<Needed>, more: Vec<Needed>) {
    for needed in more {
        if known.iter().all(|known| known.name != needed.name) {
            known.push(needed);
        }
    }
}
