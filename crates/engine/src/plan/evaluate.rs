//! One stage, instruction by instruction.

use std::{collections::BTreeSet, sync::Arc};

use galley_dockerfile::{
    Command, Expander, Instruction, Span, Stage, Word,
    lint::{Finding, Fix, Rule, docker},
    suggest,
};
use galley_oci::Platform;

use super::{
    CopyOp, Operation, Source, StepId,
    display::{Counter, capitals},
    external::External,
    graph::{Base, Node},
    outline::Uses,
    planner::Planner,
    state::State,
    steps::NewStep,
    text::Text,
};
use crate::{Error, Place, ports::BaseImage};

/// ARGs that are for the builder alone.
pub(super) const NOT_IN_ENVIRONMENT: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Instructions of which only the last one of a stage counts.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) cmd: Option<Mention>,
    pub(super) entrypoint: Option<Mention>,
    pub(super) healthcheck: Option<Mention>,
}

/// An instruction that may turn out to be of no use.
#[derive(Debug)]
pub(super) struct Mention {
    place: Place,
    /// In the Dockerfile.
    instruction: Span,
}

/// A stage while it is evaluated.
pub(super) struct Evaluation<'p, 'a> {
    pub(super) planner: &'p mut Planner<'a>,
    pub(super) state: State,
    /// Where the current instruction was written.
    pub(super) text: Text,
    /// The current instruction in the Dockerfile; of a trigger it is FROM.
    pub(super) instruction: Span,
    pub(super) seen: Seen,
    pub(super) no_cache: bool,
    /// The stage's number.
    pub(super) index: usize,
    stage: String,
    counter: Counter,
    is_trigger: bool,
}

impl<'p, 'a> Evaluation<'p, 'a> {
    /// FROM.
    pub(super) fn begin(planner: &'p mut Planner<'a>, stage: &Stage, node: &Node) -> Result<Self, Error> {
        let mut evaluation = Self {
            state: State::default(),
            text: planner.graph.text.clone(),
            instruction: stage.instruction.full_span,
            seen: Seen::default(),
            no_cache: planner.graph.options.no_cache.covers(stage.name.as_deref()),
            index: stage.index,
            stage: stage.name.clone().unwrap_or_else(|| stage.index.to_string()),
            counter: Counter::new(&planner.graph, stage, node),
            is_trigger: false,
            planner,
        };
        evaluation.state = evaluation.base(stage, node);
        evaluation.state.begin();
        evaluation.unfold(evaluation.state.bytes())?;
        Ok(evaluation)
    }

    fn base(&mut self, stage: &Stage, node: &Node) -> State {
        // What is empty is for the target, whatever FROM says, as in BuildKit.
        let target = self.planner.graph.platform;
        match &node.base {
            Base::Stage(index) => match self.planner.done(*index) {
                Some(base) => State::stage(base, *index),
                None => State::scratch(target),
            },
            Base::External(External::Empty) => State::scratch(target),
            Base::External(External::Image(image)) => {
                self.warn_platform(stage, node, image);
                let name = format!("FROM {}", image.name);
                let step = self.add(&name, stage.instruction.span, Operation::Base((**image).clone()), false);
                State::image(Arc::clone(image), step, platform_of(image, node))
            }
            Base::External(External::Directory(context)) => {
                self.files_alone(stage, node, Source::Context(*context))
            }
            Base::External(External::Fetched(address)) => {
                let place = self.text.place(stage.from.image.span);
                let step = self.planner.fetch((**address).clone(), place);
                self.files_alone(stage, node, Source::Step(step))
            }
        }
    }

    /// Files without a config: all of a context.
    fn files_alone(&mut self, stage: &Stage, node: &Node, from: Source) -> State {
        let mut state = State::scratch(&node.platform);
        let copy = CopyOp {
            from,
            sources: vec![b"/".to_vec()],
            fetched: Vec::new(),
            excludes: Vec::new(),
            inline: Vec::new(),
            destination: b"/".to_vec(),
            chown: None,
            chmod: None,
            unpack: false,
            link: false,
        };
        let name = capitals(&stage.instruction.text);
        let step = self.add(&name, stage.instruction.span, Operation::Copy(copy), false);
        state.step = Some(step);
        state.record(Some(step), name);
        state
    }

    /// An image for another machine can be copied from, but hardly run.
    fn warn_platform(&mut self, stage: &Stage, node: &Node, image: &BaseImage) {
        let (found, wanted) = (image.config.platform().normalised(), &node.platform);
        let is_same = (&found.os, &found.architecture) == (&wanted.os, &wanted.architecture);
        if is_known(&found) && !is_same && wanted.rank(&found).is_none() {
            let message =
                format!("the base image `{}` is for {found}, not for {wanted}", stage.from.image.text);
            let help = format!("its programs are not those of {wanted}; use an image for this platform");
            self.warn(&docker::INVALID_BASE_IMAGE_PLATFORM, message, stage.from.image.span, &help);
        }
    }

    /// Everything after FROM, the base's triggers first.
    pub(super) fn run(mut self, stage: &Stage, node: &Node) -> Result<State, Error> {
        self.is_trigger = true;
        for trigger in &node.triggers {
            self.text = trigger.text.clone();
            self.instruction = stage.instruction.full_span;
            self.evaluate(&trigger.instruction)?;
        }
        self.is_trigger = false;
        self.text = self.planner.graph.text.clone();
        for instruction in stage.instructions.iter().filter(|_| !node.replaced) {
            self.instruction = instruction.full_span;
            self.planner.warnings.enter(&instruction.comments);
            self.evaluate(instruction)?;
        }
        self.planner.warnings.enter(&[]);
        Ok(self.state)
    }

    fn evaluate(&mut self, instruction: &Instruction) -> Result<(), Error> {
        match &instruction.command {
            Command::Arg(arg) => self.arg(arg, instruction),
            Command::Env(env) => self.env(env),
            Command::Run(run) => self.run_step(run, instruction),
            Command::Copy(copy) => self.copy(copy, instruction),
            Command::Add(add) => self.add_files(add, instruction),
            Command::Workdir(workdir) => self.workdir(workdir, instruction),
            Command::User(user) => self.user(user),
            Command::Label(label) => self.label(label),
            Command::Expose(expose) => self.expose(expose),
            Command::Volume(volume) => self.volume(volume),
            Command::Shell(shell) => self.shell(shell),
            Command::StopSignal(signal) => self.stop_signal(signal),
            Command::Healthcheck(healthcheck) => self.healthcheck(healthcheck, instruction),
            Command::Entrypoint(line) => self.entrypoint(line, instruction),
            Command::Cmd(line) => self.cmd(line, instruction),
            Command::Onbuild(onbuild) => self.onbuild(onbuild),
            Command::Maintainer(maintainer) => self.maintainer(maintainer),
            Command::From(_) => Ok(()),
        }
    }

    /// What the stage takes from outside so far.
    pub(super) fn uses(&mut self) -> &mut Uses {
        self.planner.uses.entry(self.index).or_default()
    }

    /// A step on top of what is there, which the stage then stands on.
    pub(super) fn step(&mut self, name: &str, span: Span, operation: Operation, no_cache: bool) -> StepId {
        let step = self.add(name, span, operation, no_cache);
        self.state.step = Some(step);
        step
    }

    fn add(&mut self, name: &str, span: Span, operation: Operation, no_cache: bool) -> StepId {
        let name = self.counter.next(self.is_trigger, &self.state, name);
        self.planner.steps.add(NewStep {
            parent: self.state.step,
            operation,
            name,
            place: Some(self.text.place(span)),
            stage: self.stage.clone(),
            no_cache,
        })
    }

    /// A line of the image's history.
    pub(super) fn record(&mut self, step: Option<StepId>, created_by: String) -> Result<(), Error> {
        let bytes = created_by.len();
        self.state.record(step, created_by);
        self.unfold(bytes)
    }

    /// Counts so many bytes that the current instruction makes.
    pub(super) fn unfold(&self, bytes: usize) -> Result<(), Error> {
        self.planner.unfolded.add(bytes);
        self.planner.unfolded.check(&self.text, self.instruction)
    }

    /// A word with its variables filled in.
    pub(super) fn expand(&mut self, word: &Word) -> Result<String, Error> {
        let expanded = self.with_expander(|expander| expander.word(word))?;
        self.warn_undefined(&expanded.undefined, word.span);
        Ok(expanded.text)
    }

    /// Several words.
    pub(super) fn expand_all<'w>(
        &mut self,
        words: impl IntoIterator<Item = &'w Word>,
    ) -> Result<Vec<String>, Error> {
        words.into_iter().map(|word| self.expand(word)).collect()
    }

    /// Whatever needs the variables of this place.
    pub(super) fn with_expander<T>(
        &self,
        ask: impl FnOnce(&Expander<'_>) -> Result<T, galley_dockerfile::Error>,
    ) -> Result<T, Error> {
        let environment = &self.state.environment;
        let lookup = |name: &str| {
            let value = environment.get(name)?;
            self.planner.unfolded.add(value.len());
            Some(value.to_owned())
        };
        let answer =
            ask(&Expander::new(self.text.escape, &lookup)).map_err(|error| self.text.error(&error))?;
        self.unfold(0)?;
        Ok(answer)
    }

    /// How BuildKit shows an instruction whose words are expanded by the builder.
    pub(super) fn shown(&self, instruction: &Instruction) -> String {
        let word = Word::new(instruction.text.as_str(), instruction.span);
        let expanded = self.with_expander(|expander| expander.word(&word));
        capitals(&expanded.map_or_else(|_| instruction.text.clone(), |expanded| expanded.text))
    }

    pub(super) fn warn_undefined(&mut self, undefined: &BTreeSet<String>, span: Span) {
        for name in undefined {
            if !self.state.args.has(name) && !NOT_IN_ENVIRONMENT.contains(&name.as_str()) {
                let message = format!("the variable `{name}` is not defined, so it is empty");
                let known: Vec<&str> = self.state.environment.names().collect();
                let help = match suggest::closest(name, &known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("define it with ENV or ARG; `ARG {name}` is enough if it may be empty"),
                };
                self.warn(&docker::UNDEFINED_VAR, message, span, &help);
            }
        }
    }

    /// A finding of a rule at a place of the current instruction.
    pub(super) fn warn(&mut self, rule: &'static Rule, message: String, span: Span, help: &str) {
        self.warn_with(rule, message, span, help.to_owned(), None);
    }

    /// A finding of a rule at an earlier instruction.
    pub(super) fn warn_of(&mut self, earlier: Mention, rule: &'static Rule, detail: String, help: &str) {
        let Mention { place, instruction } = earlier;
        let span = Span::new(place.span.start, place.span.end);
        let finding = Finding { rule, detail, span, instruction, help: help.to_owned(), fix: None };
        self.planner.warnings.find_at(finding, place);
    }

    /// The instruction that is evaluated.
    pub(super) fn mention(&self, instruction: &Instruction) -> Mention {
        Mention { place: self.text.place(instruction.span), instruction: self.instruction }
    }

    /// A finding of a rule with a cure, unless it is in a trigger, whose text is not here.
    pub(super) fn warn_with(
        &mut self,
        rule: &'static Rule,
        detail: String,
        span: Span,
        help: String,
        fix: Option<Fix>,
    ) {
        let fix = fix.filter(|_| !self.is_trigger);
        let finding = Finding { rule, detail, span, instruction: self.instruction, help, fix };
        self.planner.warnings.find_at(finding, self.text.place(span));
    }
}

/// A named context that stands in for a stage says itself whom it is for; other images are taken for what FROM asks.
fn platform_of(image: &BaseImage, node: &Node) -> Platform {
    let own = image.config.platform();
    if node.replaced && is_known(&own) { own.normalised() } else { node.platform.clone() }
}

/// Images can be made that do not say whom they are for.
fn is_known(platform: &Platform) -> bool {
    !platform.os.is_empty() && !platform.architecture.is_empty()
}
