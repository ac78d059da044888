//! `--check`: what can be said about a Dockerfile without building it.

use galley_dockerfile::{lint, parse_partly};

use super::{
    PlanOptions, PlanWarning,
    file::{self, File},
    planner::{Job, Learned, Scope},
    text::Text,
    warnings::Warnings,
};
use crate::{Error, ports::ImageSource};

/// No more names of a context are looked at: who has so many has something else to do than to read about them.
const MAX_ENTRIES: usize = 10_000;

/// What was found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Findings of Docker's rules and of own ones.
    pub warnings: Vec<PlanWarning>,
    /// Why it cannot be built. Whatever comes behind this place was not looked at.
    pub error: Option<Error>,
}

impl Checked {
    /// The options of a question: it is for this machine, whatever they say, as in BuildKit, and nothing runs.
    pub(super) fn options(options: &PlanOptions) -> PlanOptions {
        PlanOptions { platforms: Vec::new(), nothing_runs: true, ..options.clone() }
    }
}

/// What is found before the error of a Dockerfile that cannot be read to its end.
fn before(options: &PlanOptions, error: &Error) -> Vec<PlanWarning> {
    let partly = || {
        let source = file::source(&options.dockerfile_name, &options.dockerfile).ok()?;
        let dockerfile = parse_partly(&source)?;
        let check = file::check(options, &dockerfile.directives).ok()?;
        let text = Text::new(source.name(), source.text(), dockerfile.escape);
        Some((dockerfile, Warnings::new(check, &text)))
    };
    let Some((dockerfile, mut warnings)) = partly() else { return Vec::new() };
    dockerfile.warnings.iter().for_each(|warning| warnings.parser(warning));
    let end = error.place.as_ref().map_or(0, |place| place.span.end);
    for instruction in dockerfile.instructions.iter().filter(|instruction| instruction.span.start < end) {
        warnings.instruction(instruction);
    }
    warnings.finish().0
}

/// What own rules may know besides the Dockerfile; the planner adds what it learns of bases.
fn facts(options: &PlanOptions) -> lint::Facts {
    let entries = fs_err::read_dir(&options.context.path).ok().map(|entries| {
        let names = entries.filter_map(Result::ok).take(MAX_ENTRIES).map(|entry| entry.file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    });
    lint::Facts {
        entries,
        target: options.target.clone(),
        contexts: options.build_contexts.iter().map(|(name, _)| name.clone()).collect(),
        locked: options.locked.clone(),
        ..lint::Facts::default()
    }
}

/// Looks at every stage, or at the target and what it needs. Nothing is read but the options, what `sources` answers,
/// and the names at the top of the main context.
pub fn check(options: &PlanOptions, sources: &dyn ImageSource) -> Checked {
    let options = &Checked::options(options);
    let file = match File::read(options) {
        Ok(file) => file,
        Err(error) => return Checked { warnings: before(options, &error), error: Some(error) },
    };
    let mut warnings = match file.check(options) {
        Ok(check) => Warnings::new(check, &file.text),
        Err(error) => return Checked { error: Some(error), ..Checked::default() },
    };
    let scope = if options.target.is_none() { Scope::EveryStage } else { Scope::Target };
    let job = Job { options, sources, file: &file, scope };
    let mut learned = Learned { facts: facts(options), ..Learned::default() };
    let planned = job.plan(&mut warnings, &mut learned);
    let (escape, facts) = (file.text.escape, &learned.facts);
    let input = lint::Input { source: &file.source, escape, stages: &file.stages, facts };
    for finding in lint::own(&input) {
        warnings.own(finding, &file.stages);
    }
    let (warnings, fatal) = warnings.finish();
    Checked { warnings, error: planned.err().or(fatal) }
}
