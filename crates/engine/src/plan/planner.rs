//! From a Dockerfile and options to a plan.

use std::collections::BTreeMap;

use galley_dockerfile::{
    Ignore, Node as SyntaxNode, Stages,
    lint::{BaseFacts, Facts, text},
    parse,
};
use galley_oci::{ImageConfig, Platform};

use super::{
    HistoryItem, Plan, PlanOptions, StepId, Target,
    environment::Environment,
    evaluate::Evaluation,
    external::{External, Externals, empty_image},
    file::{self, File},
    from_rules, globals,
    graph::{Base, From, Graph, Node},
    outline::Uses,
    state::State,
    steps::{NewStep, Steps},
    text::Text,
    unfolded::Unfolded,
    warnings::Warnings,
};
use crate::{Error, ErrorKind, Place, plan::Operation, ports::ImageSource, remote::Address};

/// More stages than anybody writes; a limit so that a hostile file cannot take all memory.
const STAGES_MAX: usize = 10_000;

/// More instructions than anybody writes, for the same reason, and more triggers of bases.
pub(super) const INSTRUCTIONS_MAX: usize = 100_000;

/// Plans what the asked target needs. Nothing is read but the options and what `sources` answers.
pub fn plan(options: &PlanOptions, sources: &dyn ImageSource) -> Result<Plan, Error> {
    let file = File::read(options)?;
    let mut warnings = Warnings::new(file.check(options)?, &file.text);
    let job = Job { options, sources, file: &file, scope: Scope::Target };
    let plan = job.plan(&mut warnings, &mut Learned::default())?;
    match warnings.finish() {
        (_, Some(fatal)) => Err(fatal),
        (warnings, None) => Ok(Plan { warnings, ..plan }),
    }
}

/// Which stages are planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The target and what it needs.
    Target,
    /// All there are.
    EveryStage,
}

/// What planning tells besides the plan.
#[derive(Debug, Default)]
pub(super) struct Learned {
    pub(super) facts: Facts,
    /// The number of the target stage.
    pub(super) target: usize,
    /// By the number of the stage.
    pub(super) uses: BTreeMap<usize, Uses>,
}

/// A Dockerfile to plan.
pub(super) struct Job<'a> {
    pub(super) options: &'a PlanOptions,
    pub(super) sources: &'a dyn ImageSource,
    pub(super) file: &'a File,
    pub(super) scope: Scope,
}

impl Job<'_> {
    /// The plan without warnings: these, and what was learned on the way, are there even when something is wrong.
    pub(super) fn plan(&self, warnings: &mut Warnings, learned: &mut Learned) -> Result<Plan, Error> {
        let Self { options, file, .. } = *self;
        let (text, stages) = (&file.text, &file.stages);
        warn_of_text(file, warnings);
        check_stages(stages, text)?;
        let scopes = scopes(options, stages, text)?;
        let is_index = globals::is_index(options, &options.targets())?;
        // As BuildKit with several platforms; a cross build is as hard to follow without.
        let shows_platforms =
            is_index || scopes.iter().any(|(platform, _)| *platform != options.build_platform);
        let (platform, globals) = &scopes[0];
        let first = Graph { options, platform, text, stages, globals, shows_platforms };
        let defaults = globals::defaults(options, platform, stages, text).ok();
        from_rules::check(&first, defaults.as_ref(), warnings);
        let target = first.target()?;
        let epoch = globals::epoch(options, globals, stages)?;
        learned.target = target;
        learned.facts.ignore = options.context.ignore.as_ref().map(|(_, text)| text.clone());
        let mut planner = Planner {
            ignore: ignore(options)?,
            proxies: globals::proxies(options),
            steps: Steps::default(),
            done: BTreeMap::new(),
            externals: Externals::new(options, self.sources),
            warnings,
            uses: BTreeMap::new(),
            unfolded: Unfolded::default(),
            graph: first,
        };
        let mut targets = Vec::new();
        for (platform, globals) in &scopes {
            planner.begin(Graph { platform, globals, ..first });
            targets.push(planner.target(target, self.scope, &mut learned.facts)?);
            // The same again for each platform would be of no use.
            planner.warnings.mute();
        }
        learned.uses = std::mem::take(&mut planner.uses);
        Ok(planner.finish(targets, is_index, epoch))
    }
}

/// Each platform to build for, with its global variables: one at least.
fn scopes(
    options: &PlanOptions,
    stages: &Stages,
    text: &Text,
) -> Result<Vec<(Platform, Environment)>, Error> {
    let scope = |platform: Platform| {
        let globals = globals::globals(options, &platform, stages, text)?;
        Ok((platform, globals))
    };
    options.targets().into_iter().map(scope).collect()
}

/// What rules may know of base images.
fn bases(nodes: &BTreeMap<usize, Node>) -> BTreeMap<usize, BaseFacts> {
    let base = |(index, node): (&usize, &Node)| match &node.base {
        Base::External(External::Image(image)) => {
            let run = &image.config.config;
            Some((*index, BaseFacts { user: run.user.clone(), environment: run.env.clone() }))
        }
        _ => None,
    };
    nodes.iter().filter_map(base).collect()
}

/// How many stages the Dockerfile has; each may be a target, by its number.
pub fn stages(options: &PlanOptions) -> Result<usize, Error> {
    Ok(File::read(options)?.stages.stages.len())
}

/// The syntax tree of a Dockerfile. Only the language is checked: neither stages nor variables.
pub fn tree(name: &str, dockerfile: &[u8]) -> Result<Vec<SyntaxNode>, Error> {
    let source = file::source(name, dockerfile)?;
    let text = Text::new(source.name(), source.text(), '\\');
    let dockerfile = parse(&source).map_err(|error| text.error(&error))?;
    Ok(dockerfile.tree(&source))
}

/// The main context's ignore file; what is wrong with it is drawn on it.
fn ignore(options: &PlanOptions) -> Result<Option<(String, Ignore)>, Error> {
    let Some((name, bytes)) = &options.context.ignore else { return Ok(None) };
    match Ignore::parse(bytes) {
        Ok(ignore) => Ok(Some((name.clone(), ignore))),
        Err(error) => Err(Text::new(name, &String::from_utf8_lossy(bytes), '\\').error(&error)),
    }
}

/// What can be seen without variables and images.
fn warn_of_text(file: &File, warnings: &mut Warnings) {
    for warning in &file.warnings {
        warnings.parser(warning);
    }
    warn_syntax(file, warnings);
    for instruction in file.stages.instructions() {
        warnings.instruction(instruction);
    }
    text::of_stages(&file.stages).into_iter().for_each(|finding| warnings.find(finding));
}

/// A front end that is asked for and that galley does not stand in for.
fn warn_syntax(file: &File, warnings: &mut Warnings) {
    let Some(word) = &file.directives.syntax else { return };
    let name = word.text.strip_prefix("docker.io/").unwrap_or(&word.text);
    if !name.starts_with("docker/dockerfile") && name != "dockerfile.v0" {
        let message =
            format!("the front end `{}` is not loaded: galley reads Docker's own language", word.text);
        let help = "write # syntax=docker/dockerfile:1, or remove it";
        warnings.add(message, Some(file.text.place(word.span)), help);
    }
}

fn check_stages(stages: &Stages, text: &Text) -> Result<(), Error> {
    if let Some(stage) = stages.stages.get(STAGES_MAX) {
        return Err(text.wrong(stage.instruction.span, format!("more than {STAGES_MAX} stages")));
    }
    if let Some(instruction) = stages.instructions().nth(INSTRUCTIONS_MAX) {
        return Err(text.wrong(instruction.span, format!("more than {INSTRUCTIONS_MAX} instructions")));
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
    pub(super) warnings: &'a mut Warnings,
    pub(super) proxies: Vec<(String, String)>,
    /// The main context's ignore file, with its name.
    pub(super) ignore: Option<(String, Ignore)>,
    /// By the number of the stage.
    pub(super) uses: BTreeMap<usize, Uses>,
    pub(super) unfolded: Unfolded,
    done: BTreeMap<usize, State>,
}

impl<'a> Planner<'a> {
    /// Goes on with another platform. Steps that are equal for several platforms are one.
    fn begin(&mut self, graph: Graph<'a>) {
        self.graph = graph;
        self.unfolded = Unfolded::default();
        self.done.clear();
    }

    /// Plans the stage number `target` and what it needs, or every stage.
    fn target(&mut self, target: usize, scope: Scope, facts: &mut Facts) -> Result<Target, Error> {
        let graph = self.graph;
        let starts = match scope {
            Scope::Target => vec![target],
            Scope::EveryStage => (0..graph.stages.stages.len()).collect(),
        };
        let nodes = graph.needed(starts, &mut self.externals)?;
        for (index, base) in bases(&nodes) {
            facts.bases.entry(index).or_insert(base);
        }
        warn_unused(graph.options, graph.stages, &nodes, self.warnings);
        for (index, node) in &nodes {
            self.uses.entry(*index).or_default().below = graph.below(*index, node);
            self.evaluate(*index, node)?;
        }
        self.image(target)
    }

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
                let platform = self.graph.platform;
                self.externals.find(&name, platform).map_err(|error| error.at(place))?
            }
        };
        Ok(match external {
            External::Directory(context) => super::Source::Context(context),
            External::Fetched(address) => super::Source::Step(self.fetch(*address, place.clone())),
            External::Image(image) => super::Source::Step(self.base((*image).clone(), place)),
            External::Empty => super::Source::Step(self.base(empty_image(), place)),
        })
    }

    /// The step that fetches what is at `address`, which waits for nothing.
    pub(super) fn fetch(&mut self, address: Address, place: Place) -> StepId {
        self.steps.add(NewStep {
            parent: None,
            name: format!("fetch {address}"),
            operation: Operation::Fetch(address),
            place: Some(place),
            stage: String::new(),
            no_cache: false,
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

    /// The image that the evaluated stage number `target` makes.
    fn image(&mut self, target: usize) -> Result<Target, Error> {
        let history = self.history(target);
        let Some(mut state) = self.done.remove(&target) else {
            return Err(Error::new(ErrorKind::Internal, "the target stage was not planned"));
        };
        let options = self.graph.options;
        state.config.config.labels.extend(options.labels.iter().cloned());
        if !options.platforms.is_empty() {
            force_platform(&mut state.config, self.graph.platform);
        }
        normalise_platform(&mut state.config);
        // Images made without a platform are taken for what was asked for.
        let known = options.platforms.is_empty() && !state.config.architecture.is_empty();
        let platform = if known { state.config.platform() } else { self.graph.platform.clone() };
        let base = state.base.map(|base| (*base).clone());
        Ok(Target { step: state.step, platform, config: state.config, base, history })
    }

    fn finish(self, targets: Vec<Target>, is_index: bool, epoch: Option<i64>) -> Plan {
        Plan {
            steps: self.steps.finish(),
            contexts: self.externals.into_contexts(),
            targets,
            is_index,
            warnings: Vec::new(),
            epoch,
        }
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

/// `--platform` decides what the config says; a base for the same machine may be more exact about it.
fn force_platform(config: &mut ImageConfig, platform: &Platform) {
    let same = config.os == platform.os && config.architecture == platform.architecture;
    config.os.clone_from(&platform.os);
    config.architecture.clone_from(&platform.architecture);
    if platform.variant.is_some() || !same {
        config.variant.clone_from(&platform.variant);
    }
    if platform.os_version.is_some() || !same {
        config.os_version.clone_from(&platform.os_version);
    }
    if let Some(features) = &platform.os_features {
        config.os_features.clone_from(features);
    }
}

/// Configs say `arm64` and not `arm64/v8`, whatever the base's said.
fn normalise_platform(config: &mut ImageConfig) {
    let normal = config.platform().normalised();
    config.os = if normal.os.is_empty() { "linux".to_owned() } else { normal.os };
    (config.architecture, config.variant) = (normal.architecture, normal.variant);
}
