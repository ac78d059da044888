//! From a Dockerfile and options to a plan.

use std::collections::BTreeMap;

use galley_dockerfile::{
    Dockerfile, Ignore, Node as SyntaxNode, Source as SourceText, Stages, directive::Check, parse,
};

use super::{
    HistoryItem, Plan, PlanOptions, StepId, Target,
    environment::Environment,
    evaluate::Evaluation,
    external::{External, Externals, empty_image},
    globals,
    graph::{From, Graph, Node},
    state::State,
    steps::{NewStep, Steps},
    text::Text,
    warnings::Warnings,
};
use crate::{Error, ErrorKind, Place, plan::Operation, ports::ImageSource};

/// More stages than anybody writes; a limit so that a hostile file cannot take all memory.
const STAGES_MAX: usize = 10_000;

/// Plans what the asked target needs. Nothing is read but the options and what `sources` answers.
pub fn plan(options: &PlanOptions, sources: &dyn ImageSource) -> Result<Plan, Error> {
    let source = read_source(&options.dockerfile_name, &options.dockerfile)?;
    let plain = Text::new(source.name(), source.text(), '\\');
    let dockerfile = parse(&source).map_err(|error| plain.error(&error))?;
    let text = plain.with_escape(dockerfile.escape);
    let mut warnings = Warnings::new(check(options, &dockerfile)?);
    for warning in &dockerfile.warnings {
        warnings.parser(warning, &text);
    }
    warn_syntax(&dockerfile, &text, &mut warnings);
    let stages = dockerfile.into_stages().map_err(|error| text.error(&error))?;
    check_stages(&stages, &text, &mut warnings)?;
    let globals = globals::globals(options, &stages, &text)?;
    let graph = Graph { options, text: &text, stages: &stages, globals: &globals };
    let target = graph.target()?;
    let mut externals = Externals::new(options, sources);
    let nodes = graph.needed(target, &mut externals, &mut warnings)?;
    let epoch = globals::epoch(options, &globals)?;
    warn_unused(options, &stages, &nodes, &mut warnings);
    let mut planner = Planner {
        ignore: ignore(options)?,
        proxies: globals::proxies(options),
        steps: Steps::default(),
        done: BTreeMap::new(),
        externals,
        warnings,
        graph,
    };
    for (index, node) in &nodes {
        planner.evaluate(*index, node)?;
    }
    planner.finish(target, epoch)
}

/// How many stages the Dockerfile has; each may be a target, by its number.
pub fn stages(options: &PlanOptions) -> Result<usize, Error> {
    let source = read_source(&options.dockerfile_name, &options.dockerfile)?;
    let text = Text::new(source.name(), source.text(), '\\');
    let dockerfile = parse(&source).map_err(|error| text.error(&error))?;
    Ok(dockerfile.into_stages().map_err(|error| text.error(&error))?.stages.len())
}

/// The syntax tree of a Dockerfile. Only the language is checked: neither stages nor variables.
pub fn tree(name: &str, dockerfile: &[u8]) -> Result<Vec<SyntaxNode>, Error> {
    let source = read_source(name, dockerfile)?;
    let text = Text::new(source.name(), source.text(), '\\');
    let dockerfile = parse(&source).map_err(|error| text.error(&error))?;
    Ok(dockerfile.tree(&source))
}

fn read_source(name: &str, dockerfile: &[u8]) -> Result<SourceText, Error> {
    SourceText::new(name, dockerfile).map_err(|error| {
        let lossy = SourceText::lossy(name, dockerfile);
        Text::new(name, lossy.text(), '\\').error(&error)
    })
}

/// The main context's ignore file; what is wrong with it is drawn on it.
fn ignore(options: &PlanOptions) -> Result<Option<(String, Ignore)>, Error> {
    let Some((name, bytes)) = &options.context.ignore else { return Ok(None) };
    match Ignore::parse(bytes) {
        Ok(ignore) => Ok(Some((name.clone(), ignore))),
        Err(error) => Err(Text::new(name, &String::from_utf8_lossy(bytes), '\\').error(&error)),
    }
}

/// A front end that is asked for and that galley does not stand in for.
fn warn_syntax(dockerfile: &Dockerfile, text: &Text, warnings: &mut Warnings) {
    let Some(word) = &dockerfile.directives.syntax else { return };
    let name = word.text.strip_prefix("docker.io/").unwrap_or(&word.text);
    if !name.starts_with("docker/dockerfile") && name != "dockerfile.v0" {
        let message =
            format!("the front end `{}` is not loaded: galley reads Docker's own language", word.text);
        warnings.add(
            None,
            message,
            Some(text.place(word.span)),
            "write # syntax=docker/dockerfile:1, or remove it",
        );
    }
}

/// `# check=`, unless a build argument says otherwise.
fn check(options: &PlanOptions, dockerfile: &Dockerfile) -> Result<Check, Error> {
    let name = "BUILDKIT_DOCKERFILE_CHECK";
    match options.build_arg(name) {
        Some(value) => Check::parse(value).map_err(|option| {
            Error::new(ErrorKind::Usage, format!("build argument {name} has an unknown option `{option}`"))
        }),
        None => Ok(dockerfile.directives.check.clone().unwrap_or_default()),
    }
}

fn check_stages(stages: &Stages, text: &Text, warnings: &mut Warnings) -> Result<(), Error> {
    if let Some(stage) = stages.stages.get(STAGES_MAX) {
        return Err(text.wrong(stage.instruction.span, format!("more than {STAGES_MAX} stages")));
    }
    let mut names = std::collections::BTreeSet::new();
    for word in stages.stages.iter().filter_map(|stage| stage.from.name.as_ref()) {
        let name = word.text.as_str();
        if !names.insert(name) {
            let message = format!("more than one stage is called `{name}`: the last one above counts");
            warnings.rule(
                "DuplicateStageName",
                message,
                text.place(word.span),
                "give each stage a name of its own",
            );
        }
        if matches!(name, "scratch" | "context") {
            let message = format!("`{name}` is a reserved name");
            warnings.rule(
                "ReservedStageName",
                message,
                text.place(word.span),
                "choose another name for the stage",
            );
        }
    }
    Ok(())
}

fn warn_unused(
    options: &PlanOptions,
    stages: &Stages,
    nodes: &BTreeMap<usize, Node>,
    warnings: &mut Warnings,
) {
    let triggers = nodes.values().flat_map(|node| &node.triggers);
    let names = triggers.flat_map(|trigger| globals::names_of(&trigger.instruction)).map(ToOwned::to_owned);
    globals::warn_unused(options, stages, &names.collect::<Vec<_>>(), warnings);
}

/// What grows while stages are evaluated.
pub(super) struct Planner<'a> {
    pub(super) graph: Graph<'a>,
    pub(super) externals: Externals<'a>,
    pub(super) steps: Steps,
    pub(super) warnings: Warnings,
    pub(super) proxies: Vec<(String, String)>,
    /// The main context's ignore file, with its name.
    pub(super) ignore: Option<(String, Ignore)>,
    done: BTreeMap<usize, State>,
}

impl Planner<'_> {
    /// The variables of the global scope.
    pub(super) fn globals(&self) -> &Environment {
        self.graph.globals
    }

    /// A stage that was evaluated.
    pub(super) fn done(&self, index: usize) -> Option<&State> {
        self.done.get(&index)
    }

    fn evaluate(&mut self, index: usize, node: &Node) -> Result<(), Error> {
        let Some(stage) = self.graph.stages.stages.get(index) else { return Ok(()) };
        let state = Evaluation::begin(self, stage, node)?.run(stage, node)?;
        self.done.insert(index, state);
        Ok(())
    }

    /// The source that `--from` means; places and errors point at its word.
    pub(super) fn source(&mut self, from: From, place: &Place) -> Result<super::Source, Error> {
        let external = match from {
            From::Stage(index) => match self.done(index).and_then(|state| state.step) {
                Some(step) => return Ok(super::Source::Step(step)),
                None => External::Empty,
            },
            From::Name(name) => {
                let platform = &self.graph.options.platform;
                self.externals.find(&name, platform).map_err(|error| error.at(place))?
            }
        };
        Ok(match external {
            External::Directory(context) => super::Source::Context(context),
            External::Image(image) => super::Source::Step(self.base((*image).clone(), place)),
            External::Empty => super::Source::Step(self.base(empty_image(), place)),
        })
    }

    fn base(&mut self, image: crate::ports::BaseImage, place: &Place) -> StepId {
        self.steps.add(NewStep {
            parent: None,
            name: format!("FROM {}", image.name),
            operation: Operation::Base(image),
            place: Some(place.clone()),
            stage: String::new(),
            no_cache: false,
        })
    }

    fn finish(mut self, target: usize, epoch: Option<i64>) -> Result<Plan, Error> {
        let history = self.history(target);
        let Some(mut state) = self.done.remove(&target) else {
            return Err(Error::new(ErrorKind::Internal, "the target stage was not planned"));
        };
        let options = self.graph.options;
        state.config.config.labels.extend(options.labels.iter().cloned());
        if options.platform_given {
            state.config.os.clone_from(&options.platform.os);
            state.config.architecture.clone_from(&options.platform.architecture);
            state.config.variant.clone_from(&options.platform.variant);
        }
        // Images made without a platform are taken for what was asked for.
        let known = !state.config.os.is_empty() && !state.config.architecture.is_empty();
        let platform = if known { state.config.platform().normalised() } else { options.platform.clone() };
        let base = state.base.map(|base| (*base).clone());
        let target = Target { step: state.step, platform, config: state.config, base, history };
        Ok(Plan {
            steps: self.steps.finish(),
            contexts: self.externals.into_contexts(),
            targets: vec![target],
            warnings: self.warnings.finish()?,
            epoch,
        })
    }

    /// What the stage and all stages below it add to the base image's history, oldest first.
    fn history(&self, target: usize) -> Vec<HistoryItem> {
        let mut parts = Vec::new();
        let mut next = Some(target);
        while let Some(state) = next.and_then(|index| self.done.get(&index)) {
            parts.push(&state.history);
            next = state.inherited;
        }
        parts.into_iter().rev().flatten().cloned().collect()
    }
}
