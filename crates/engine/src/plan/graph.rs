//! Which stages the target needs, what each begins with, and whom it copies from.

use std::collections::{BTreeMap, BTreeSet};

use galley_dockerfile::{
    Command, Expander, Instruction, Source, Stage, Stages, Word, parse_onbuild, suggest,
};
use galley_oci::Platform;

use super::{
    PlanOptions,
    environment::Environment,
    external::{External, Externals},
    planner::INSTRUCTIONS_MAX,
    text::Text,
};
use crate::{Error, ErrorKind};

/// A stage that is needed.
#[derive(Debug)]
pub(super) struct Node {
    /// What FROM means.
    pub(super) base: Base,
    /// `--platform`, else the platform that is built for.
    pub(super) platform: Platform,
    /// A named context stands in for this stage: its instructions do not count.
    pub(super) replaced: bool,
    /// Triggers of the base, to run first.
    pub(super) triggers: Vec<Trigger>,
}

/// What a stage begins with.
#[derive(Clone, Debug)]
pub(super) enum Base {
    /// A stage above.
    Stage(usize),
    /// Anything else.
    External(External),
}

/// An ONBUILD instruction that runs now.
#[derive(Clone, Debug)]
pub(super) struct Trigger {
    /// What to do.
    pub(super) instruction: Instruction,
    /// Where it was written.
    pub(super) text: Text,
}

/// What `--from` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// A stage above.
    Stage(usize),
    /// An image or a named context.
    Name(String),
}

/// Everything that is known about the Dockerfile before its instructions are evaluated for one platform.
#[derive(Clone, Copy)]
pub(super) struct Graph<'a> {
    pub(super) options: &'a PlanOptions,
    /// What is built for.
    pub(super) platform: &'a Platform,
    pub(super) text: &'a Text,
    pub(super) stages: &'a Stages,
    pub(super) globals: &'a Environment,
    /// Names of steps tell for whom they are.
    pub(super) shows_platforms: bool,
}

impl Graph<'_> {
    /// The stage to build: by name, by number, or the last.
    pub(super) fn target(&self) -> Result<usize, Error> {
        let Some(name) = &self.options.target else { return Ok(self.stages.stages.len().saturating_sub(1)) };
        if let Some(stage) = self.stages.by_name(name).or_else(|| self.stages.by_reference(name)) {
            return Ok(stage.index);
        }
        let message = format!("target stage `{name}` is not in {}", self.options.dockerfile_name);
        let names = self.stages.names();
        let help = match self.stages.suggest(name) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => {
                format!(
                    "no stage has a name; numbers go from 0 to {}",
                    self.stages.stages.len().saturating_sub(1)
                )
            }
            None => format!("the stages are {}", names.join(", ")),
        };
        Err(Error::new(ErrorKind::NotFound, message).help(help))
    }

    /// The stages that a stage stands on, and those that it copies from.
    pub(super) fn below(&self, index: usize, node: &Node) -> Vec<usize> {
        let Some(stage) = self.stages.stages.get(index) else { return Vec::new() };
        let triggers = node.triggers.iter().flat_map(|trigger| references(&trigger.instruction));
        let words = triggers.chain(stage.instructions.iter().flat_map(references));
        let copied = words.filter_map(|word| match self.from(index, word, self.text) {
            Ok(From::Stage(other)) => Some(other),
            _ => None,
        });
        let base = match node.base {
            Base::Stage(base) => Some(base),
            Base::External(_) => None,
        };
        base.into_iter().chain(copied).collect()
    }

    /// All stages that `starts` need, themselves included, by number: each comes after what it needs.
    pub(super) fn needed(
        &self,
        starts: Vec<usize>,
        externals: &mut Externals<'_>,
    ) -> Result<BTreeMap<usize, Node>, Error> {
        externals.ask(&self.bases(&starts, externals));
        let (mut nodes, mut triggers) = (BTreeMap::new(), 0);
        let mut waiting = starts;
        while let Some(index) = waiting.pop() {
            let Some(stage) = self.stages.stages.get(index).filter(|_| !nodes.contains_key(&index)) else {
                continue;
            };
            let node = self.node(stage, externals)?;
            triggers += node.triggers.len();
            if triggers > INSTRUCTIONS_MAX {
                let message = format!("the bases bring more than {INSTRUCTIONS_MAX} triggers");
                return Err(self.text.wrong(stage.instruction.span, message));
            }
            self.needs(stage, &node, &mut waiting)?;
            nodes.insert(index, node);
        }
        Ok(nodes)
    }

    /// The images that the stages below `starts` name, as far as that is known before any is found. What is wrong is told
    /// when it is its turn.
    fn bases(&self, starts: &[usize], externals: &Externals<'_>) -> Vec<(String, Platform)> {
        let (mut bases, mut seen, mut waiting) = (Vec::new(), BTreeSet::new(), starts.to_vec());
        while let Some(index) = waiting.pop() {
            let Some(stage) = self.stages.stages.get(index).filter(|_| seen.insert(index)) else { continue };
            let Ok(platform) = self.platform(stage) else { continue };
            if stage.name.as_ref().is_some_and(|name| externals.replaces(name, &platform)) {
                continue;
            }
            let words = stage.instructions.iter().flat_map(references);
            waiting.extend(words.filter_map(|word| match self.from(index, word, self.text) {
                Ok(From::Stage(other)) => Some(other),
                _ => None,
            }));
            let Ok(name) = self.expand(&stage.from.image) else { continue };
            let base = (name, platform);
            match self.stages.base_of(&base.0, index) {
                Some(stage) => waiting.push(stage.index),
                None if !bases.contains(&base) => bases.push(base),
                None => {}
            }
        }
        bases
    }

    /// The stages that a node needs directly.
    fn needs(&self, stage: &Stage, node: &Node, waiting: &mut Vec<usize>) -> Result<(), Error> {
        if let Base::Stage(base) = node.base {
            waiting.push(base);
        }
        let triggers = node.triggers.iter().map(|trigger| (&trigger.instruction, &trigger.text));
        let own = stage.instructions.iter().filter(|_| !node.replaced).map(|own| (own, self.text));
        for (instruction, text) in triggers.chain(own) {
            for word in references(instruction) {
                if let From::Stage(other) = self.from(stage.index, word, text)? {
                    waiting.push(other);
                }
            }
        }
        Ok(())
    }

    /// What `--from=word` in the stage number `index` means.
    pub(super) fn from(&self, index: usize, word: &Word, text: &Text) -> Result<From, Error> {
        let name = word.text.as_str();
        if let Ok(number) = name.parse::<usize>() {
            let Some(stage) = self.stages.stages.get(number) else {
                let last = self.stages.stages.len().saturating_sub(1);
                return Err(text
                    .wrong(word.span, format!("there is no stage number {number}"))
                    .help(format!("stages count from 0; the last is {last}")));
            };
            return self.above(index, stage, word, text);
        }
        // Of several stages with one name the last one above counts.
        match self.stages.base_of(name, index).or_else(|| self.stages.by_name(name)) {
            Some(stage) => self.above(index, stage, word, text),
            None => Ok(From::Name(name.to_owned())),
        }
    }

    fn above(&self, index: usize, stage: &Stage, word: &Word, text: &Text) -> Result<From, Error> {
        if stage.index < index {
            return Ok(From::Stage(stage.index));
        }
        let name = &word.text;
        if stage.index == index {
            return Err(text
                .wrong(word.span, format!("stage `{name}` needs itself"))
                .label("circular reference")
                .help("copy from a stage above this one"));
        }
        let line = self.text.place(stage.instruction.span).line();
        Err(text
            .wrong(word.span, format!("stage `{name}` is needed before it is defined"))
            .label(format!("defined at line {line}"))
            .help("move that stage above this one: a stage can only use stages above it"))
    }

    fn node(&self, stage: &Stage, externals: &mut Externals<'_>) -> Result<Node, Error> {
        let span = stage.from.image.span;
        let place = self.text.place(span);
        let platform = self.platform(stage)?;
        if let Some(name) = &stage.name
            && let Some(external) = externals.replacing(name, &platform).map_err(|error| error.at(&place))?
        {
            return Ok(Node {
                base: Base::External(external),
                platform,
                replaced: true,
                triggers: Vec::new(),
            });
        }
        let name = self.expand(&stage.from.image)?;
        if name.is_empty() {
            let message = format!("the base image `{}` is empty after expansion", stage.from.image.text);
            return Err(self
                .text
                .wrong(span, message)
                .help("only ARGs before the first FROM are visible here; give the ARG a default, or pass --build-arg"));
        }
        if let Some(base) = self.stages.base_of(&name, stage.index) {
            let triggers = self.triggers_of_stage(base);
            return Ok(Node { base: Base::Stage(base.index), platform, replaced: false, triggers });
        }
        let external =
            externals.find(&name, &platform).map_err(|error| self.unknown_base(error, &name).at(&place))?;
        let triggers = self.triggers_of_image(&external)?;
        Ok(Node { base: Base::External(external), platform, replaced: false, triggers })
    }

    /// Adds what the stages know about a base that was not found.
    fn unknown_base(&self, error: Error, name: &str) -> Error {
        if let Some(later) = self.stages.by_name(name) {
            let line = self.text.place(later.instruction.span).line();
            return error.help(format!(
                "the stage `{name}` of line {line} does not count here: it is not above this FROM"
            ));
        }
        match self.stages.suggest(name) {
            Some(near) => error.help(format!("did you mean the stage `{near}`?")),
            None => error,
        }
    }

    fn platform(&self, stage: &Stage) -> Result<Platform, Error> {
        let Some(word) = &stage.from.platform else { return Ok(self.platform.clone()) };
        let text = self.expand(word)?;
        if text.is_empty() {
            let message = format!("the platform `{}` is empty after expansion", word.text);
            let known: Vec<&str> = self.globals.names().collect();
            let written = word.text.trim_matches(['$', '{', '}']);
            let wrong = self.text.wrong(word.span, message);
            return Err(match suggest::closest(written, &known) {
                Some(near) => wrong.help(format!("did you mean `${near}`?")),
                None => wrong.help(
                    "only ARGs before the first FROM are visible here; $BUILDPLATFORM and $TARGETPLATFORM are always there",
                ),
            });
        }
        text.parse().map_err(|error| {
            self.text
                .wrong(word.span, format!("`{text}` is not a platform"))
                .because(error)
                .help("write linux/amd64")
        })
    }

    /// Expands a word of FROM, which sees only global ARGs.
    fn expand(&self, word: &Word) -> Result<String, Error> {
        let lookup = |name: &str| self.globals.get(name).map(ToOwned::to_owned);
        let expanded =
            Expander::new(self.text.escape, &lookup).word(word).map_err(|error| self.text.error(&error))?;
        Ok(expanded.text)
    }

    fn triggers_of_stage(&self, base: &Stage) -> Vec<Trigger> {
        let triggers = base.instructions.iter().filter_map(|instruction| match &instruction.command {
            Command::Onbuild(onbuild) => Some((*onbuild.trigger).clone()),
            _ => None,
        });
        triggers.map(|instruction| Trigger { instruction, text: self.text.clone() }).collect()
    }

    fn triggers_of_image(&self, external: &External) -> Result<Vec<Trigger>, Error> {
        let External::Image(image) = external else { return Ok(Vec::new()) };
        let triggers = image.config.config.on_build.iter();
        triggers.map(|trigger| self.trigger(&image.name, trigger)).collect()
    }

    fn trigger(&self, image: &str, trigger: &str) -> Result<Trigger, Error> {
        let file = format!("ONBUILD of {image}");
        let text = Text::new(&file, trigger, self.text.escape);
        let source = Source::new(file, trigger).map_err(|error| text.error(&error))?;
        let instruction = parse_onbuild(&source).map_err(|error| text.error(&error))?;
        Ok(Trigger { instruction, text })
    }
}

/// The `--from`s of an instruction.
pub(super) fn references(instruction: &Instruction) -> Vec<&Word> {
    match &instruction.command {
        Command::Copy(copy) => copy.from.iter().collect(),
        Command::Run(run) => run.mounts.iter().filter_map(|mount| mount.from.as_ref()).collect(),
        _ => Vec::new(),
    }
}
