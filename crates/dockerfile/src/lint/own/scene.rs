//! A Dockerfile as the own rules see it: what stages stand on, what variables hold where, which commands a RUN runs.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::Input;
use super::image::Image;
use super::script::Script;
use super::values::Values;
use crate::command::{Command, Copy, CopySource, Run};
use crate::lint::{Finding, Rule};
use crate::parser::Instruction;
use crate::span::{Span, Word};
use crate::stage::Stage;

/// More stages than this in a row below one stage are not followed.
const MAX_CHAIN: usize = 64;

/// Parts of the names of stages that are not meant to be shipped.
const FOR_DEVELOPERS: [&str; 8] = ["ci", "debug", "dev", "development", "lint", "profile", "test", "tests"];

/// Made once, used by every rule.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) input: Input<'a>,
    pub(super) stages: Vec<View<'a>>,
}

/// One stage.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) stage: &'a Stage,
    /// What FROM means.
    pub(super) base: Base,
    /// Its RUNs, without triggers.
    pub(super) runs: Vec<RunView<'a>>,
    /// ENV, ARG, WORKDIR, USER and SHELL.
    pub(super) values: Rc<Values>,
}

/// What a stage begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image, as it is called.
    Image(Image),
    /// Something that the text alone does not tell.
    Unknown,
}

/// A RUN with what it runs.
#[derive(Debug)]
pub(super) struct RunView<'a> {
    /// Its index in the stage.
    pub(super) index: usize,
    pub(super) instruction: &'a Instruction,
    pub(super) run: &'a Run,
    pub(super) script: Script,
}

impl<'a> Scene<'a> {
    pub(super) fn new(input: Input<'a>) -> Self {
        let mut scene = Self { input, stages: Vec::new() };
        let globals = Values::globals(&input);
        for stage in &input.stages.stages {
            let view = scene.view(stage, &globals);
            scene.stages.push(view);
        }
        scene
    }

    fn view(&self, stage: &'a Stage, globals: &Values) -> View<'a> {
        let base = self.base(stage, globals);
        let parent = match &base {
            Base::Stage(parent) => self.stages.get(*parent).map(|view| &view.values),
            _ => None,
        };
        let facts = self.input.facts.bases.get(&stage.index);
        let values = Values::of_stage(stage, parent, facts, globals, self.input.escape);
        let runs = stage.instructions.iter().enumerate().filter_map(|(index, instruction)| {
            let Command::Run(run) = &instruction.command else { return None };
            let script = Script::read(run, &values.shell(index));
            Some(RunView { index, instruction, run, script })
        });
        View { stage, base, runs: runs.collect(), values: Rc::new(values) }
    }

    fn base(&self, stage: &Stage, globals: &Values) -> Base {
        let Some(name) = globals.expand(usize::MAX, &stage.from.image, self.input.escape) else {
            return Base::Unknown;
        };
        if name == "scratch" {
            return Base::Scratch;
        }
        match self.input.stages.base_of(&name, stage.index) {
            Some(parent) => Base::Stage(parent.index),
            None if self.input.facts.is_context(&name) => Base::Unknown,
            None => Base::Image(Image::new(&name)),
        }
    }

    /// The stage that is built: the one asked for, else the last one.
    pub(super) fn target(&self) -> Option<usize> {
        let asked = self.input.facts.target.as_deref();
        match asked.and_then(|name| self.input.stages.by_reference(name)) {
            Some(stage) => Some(stage.index),
            None => self.stages.len().checked_sub(1),
        }
    }

    /// A stage and those it stands on, itself first.
    pub(super) fn chain(&self, index: usize) -> impl Iterator<Item = &View<'a>> {
        let next = |view: &&View<'a>| match view.base {
            Base::Stage(parent) => self.stages.get(parent),
            _ => None,
        };
        std::iter::successors(self.stages.get(index), next).take(MAX_CHAIN)
    }

    /// What is at the very bottom of a stage.
    pub(super) fn root(&self, index: usize) -> &Base {
        self.chain(index).last().map_or(&Base::Unknown, |view| &view.base)
    }

    /// The stages whose files are in the image: the target and what it stands on.
    pub(super) fn shipped(&self) -> BTreeSet<usize> {
        let target = self.target();
        target.map(|target| self.chain(target).map(View::index).collect()).unwrap_or_default()
    }

    /// The RUNs whose files are in the image.
    pub(super) fn shipped_runs(&self) -> impl Iterator<Item = (&View<'a>, &RunView<'a>)> {
        let shipped = self.shipped();
        self.runs().filter(move |(view, _)| shipped.contains(&view.index()))
    }

    /// All RUNs with their stages, in the order of the text.
    pub(super) fn runs(&self) -> impl Iterator<Item = (&View<'a>, &RunView<'a>)> {
        self.stages.iter().flat_map(|view| view.runs.iter().map(move |run| (view, run)))
    }

    /// The stage that `COPY --from` means.
    pub(super) fn origin(&self, from: &Word) -> Option<usize> {
        self.input.stages.by_reference(&from.text).map(|stage| stage.index)
    }
}

impl<'a> View<'a> {
    pub(super) fn index(&self) -> usize {
        self.stage.index
    }

    /// Whether its name says that somebody works in it, or looks into programs with it.
    pub(super) fn is_for_developers(&self) -> bool {
        let name = self.stage.name.as_deref().unwrap_or_default();
        name.split(['-', '_', '.']).any(|part| FOR_DEVELOPERS.contains(&part))
    }

    /// COPY instructions with their index.
    pub(super) fn copies(&self) -> impl Iterator<Item = (usize, &'a Copy)> + use<'a> {
        self.stage.instructions.iter().enumerate().filter_map(|(index, instruction)| {
            match &instruction.command {
                Command::Copy(copy) => Some((index, copy)),
                _ => None,
            }
        })
    }

    /// The last instruction for which the question is answered with yes.
    pub(super) fn last(&self, is: impl Fn(&Command) -> bool) -> Option<&'a Instruction> {
        self.stage.instructions.iter().rev().find(|instruction| is(&instruction.command))
    }

    /// The value of a word in the instruction of this index, when the text tells it.
    pub(super) fn expand(&self, index: usize, word: &Word, escape: char) -> Option<String> {
        self.values.expand(index, word, escape)
    }
}

/// Whether an instruction takes all of the build context: `COPY . …`.
pub(super) fn takes_context(instruction: &Instruction) -> bool {
    let sources = match &instruction.command {
        Command::Copy(copy) if copy.from.is_none() && copy.excludes.is_empty() => &copy.sources,
        Command::Add(add) if add.excludes.is_empty() => &add.sources,
        _ => return false,
    };
    let is_all = |source: &CopySource| match source {
        CopySource::Path(word) => matches!(word.text.as_str(), "." | "./" | "/" | "*" | "./*"),
        CopySource::Heredoc(_) => false,
    };
    sources.iter().any(is_all)
}

impl RunView<'_> {
    /// A finding at a place in it, or at all of it.
    pub(super) fn finding(
        &self,
        rule: &'static Rule,
        place: Option<Span>,
        detail: impl Into<String>,
        help: &str,
    ) -> Finding {
        Finding::new(rule, self.instruction, place.unwrap_or(self.instruction.span), detail, help)
    }

    /// Where a word of one of its commands is written.
    pub(super) fn place(&self, scene: &Scene<'_>, word: &Word) -> Option<Span> {
        self.script.place(scene.input.source, scene.input.escape, word)
    }

    /// The targets of its cache mounts, as written.
    pub(super) fn cache_targets(&self) -> Vec<String> {
        let targets = self.run.mounts.iter().filter_map(|mount| {
            let fields = crate::mount::fields(&mount.text).ok()?;
            let value = |keys: &[&str]| {
                let pairs = fields.iter().filter_map(|field| field.text.split_once('='));
                pairs
                    .filter(|(key, _)| keys.contains(&key.to_lowercase().as_str()))
                    .map(|(_, value)| value)
                    .next_back()
            };
            let temporary = matches!(value(&["type"]), Some("cache" | "tmpfs"));
            temporary.then(|| value(&["target", "dst", "destination"]).unwrap_or_default().to_owned())
        });
        targets.collect()
    }
}
