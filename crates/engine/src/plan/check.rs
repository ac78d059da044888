//! `--check`: what can be said about a Dockerfile without building it.

use galley_dockerfile::lint;

use super::{
    PlanOptions, PlanWarning,
    file::File,
    planner::{Job, Scope},
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
/// and the names at the top of the main context. It is for this machine, whatever the options say, as in BuildKit.
pub fn check(options: &PlanOptions, sources: &dyn ImageSource) -> Checked {
    let options = &PlanOptions { platforms: Vec::new(), ..options.clone() };
    let file = match File::read(options) {
        Ok(file) => file,
        Err(error) => return Checked { error: Some(error), ..Checked::default() },
    };
    let mut warnings = match file.check(options) {
        Ok(check) => Warnings::new(check, &file.text),
        Err(error) => return Checked { error: Some(error), ..Checked::default() },
    };
    let scope = if options.target.is_none() { Scope::EveryStage } else { Scope::Target };
    let job = Job { options, sources, file: &file, scope };
    let mut facts = facts(options);
    let planned = job.plan(&mut warnings, &mut facts);
    let input =
        lint::Input { source: &file.source, escape: file.text.escape, stages: &file.stages, facts: &facts };
    for finding in lint::own(&input) {
        warnings.own(finding, &file.stages);
    }
    let (warnings, fatal) = warnings.finish();
    Checked { warnings, error: planned.err().or(fatal) }
}
