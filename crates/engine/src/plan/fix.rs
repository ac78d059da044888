//! `galley fix`: a Dockerfile with the cures of its findings.
//!
//! ```text
//! text ─ findings with a fix ─ those that are chosen and do not touch each other ─▶ text ─ … until nothing is left to do
//! ```
//!
//! Only the text is looked at: no base image is asked for, and a rule that has to know one is silent. So the result is the
//! same on every machine. Whatever a fix does not name stays byte for byte.

use std::collections::BTreeMap;

use galley_dockerfile::lint;
use galley_oci::{ImageConfig, Platform, Reference};

use super::{
    Checked, Fix, PlanOptions, Rule,
    file::File,
    planner::{Job, Learned, Scope},
    warnings::Warnings,
};
use crate::{
    Error, ErrorKind,
    plan::ContextSource,
    ports::{BaseImage, ImageSource},
};

/// A fix may call for another one; more rounds than this mean that two rules disagree.
const ROUNDS_MAX: usize = 16;

/// Which fixes are made.
#[derive(Clone, Debug, Default)]
pub enum Choice {
    /// Those that leave the image as it is.
    #[default]
    Safe,
    /// Those of these rules, and no others.
    Rules(Vec<&'static Rule>),
    /// All there are.
    All,
}

/// A Dockerfile, better.
#[derive(Debug)]
pub struct Fixed {
    /// The whole text.
    pub text: String,
    /// What was done, in the order in which it was done.
    pub made: Vec<Made>,
    /// What could be done when asked for.
    pub offers: Vec<Offer>,
    /// Why the findings may not be all there are.
    pub error: Option<Error>,
}

/// A fix that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// Whose finding it cures.
    pub rule: &'static Rule,
    /// What it does.
    pub note: String,
}

/// A fix that was not made.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Whose finding it cures.
    pub rule: &'static Rule,
    /// The first line of the instruction.
    pub line: usize,
}

impl Choice {
    fn takes(&self, rule: &'static Rule, fix: &Fix) -> bool {
        match self {
            Self::Safe => fix.safe,
            Self::Rules(rules) => rules.contains(&rule),
            Self::All => true,
        }
    }
}

/// A finding that can be cured.
struct Curable {
    rule: &'static Rule,
    fix: Fix,
    line: usize,
}

/// Makes the fixes that were chosen. What the language does not allow is an error; what is wrong behind that is
/// [`Fixed::error`].
pub fn fix(name: &str, dockerfile: &[u8], choice: &Choice) -> Result<Fixed, Error> {
    let mut made = Vec::new();
    let mut text = dockerfile.to_vec();
    for _ in 0..ROUNDS_MAX {
        let (now, curable, error) = curable(name, &text)?;
        let (chosen, others): (Vec<_>, Vec<_>) =
            curable.into_iter().partition(|curable| choice.takes(curable.rule, &curable.fix));
        if chosen.is_empty() {
            let offers =
                others.into_iter().map(|other| Offer { rule: other.rule, line: other.line }).collect();
            return Ok(Fixed { text: now, made, offers, error });
        }
        let (edits, done) = apart(chosen);
        made.extend(done);
        let fixed = edits.apply(&now).ok_or_else(|| wrong("the edits do not fit the text"))?;
        text = fixed.into_bytes();
    }
    Err(wrong("two rules undo what the other one does"))
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("cannot fix the Dockerfile: {what}"))
}

/// The text, every finding that has a fix, and what is wrong with the Dockerfile.
fn curable(name: &str, text: &[u8]) -> Result<(String, Vec<Curable>, Option<Error>), Error> {
    let context = ContextSource { name: ".".to_owned(), path: "/".into(), ignore: None, kept: None };
    let options = Checked::options(&PlanOptions::new(name, text, context, Platform::of_this_machine()));
    let file = File::read(&options)?;
    let mut warnings = Warnings::new(file.check(&options)?, &file.text);
    let job = Job { options: &options, sources: &AnyImage, file: &file, scope: Scope::EveryStage };
    let mut learned = Learned::default();
    let planned = job.plan(&mut warnings, &mut learned);
    let mut facts = learned.facts;
    // What stood in for the bases says nothing about them.
    facts.bases.clear();
    let input =
        lint::Input { source: &file.source, escape: file.text.escape, stages: &file.stages, facts: &facts };
    for finding in lint::own(&input) {
        warnings.own(finding, &file.stages);
    }
    let curable = warnings.finish().0.into_iter().filter_map(|warning| {
        let line = warning.lines.map_or(1, |(first, _)| first);
        Some(Curable { rule: warning.rule?, fix: warning.fix?, line })
    });
    Ok((file.source.text().to_owned(), curable.collect(), planned.err()))
}

/// As many fixes as do not touch each other, as one, from the front. The others come in the next round.
fn apart(mut curable: Vec<Curable>) -> (Fix, Vec<Made>) {
    curable.sort_by_key(|curable| curable.fix.edits.iter().map(|edit| edit.span).min());
    let mut all = Fix { edits: Vec::new(), note: String::new(), safe: true };
    // Ends of the places that are taken, by their starts: they do not overlap.
    let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
    let mut made = Vec::new();
    for Curable { rule, fix, .. } in curable {
        let is_free = |edit: &lint::Edit| {
            let before = taken.range(..=edit.span.end).next_back();
            before.is_none_or(|(_, end)| *end < edit.span.start)
        };
        if fix.edits.iter().all(is_free) {
            taken.extend(fix.edits.iter().map(|edit| (edit.span.start, edit.span.end)));
            all.edits.extend(fix.edits);
            made.push(Made { rule, note: fix.note });
        }
    }
    (all, made)
}

/// Every image there may be, and nothing in it.
struct AnyImage;

impl ImageSource for AnyImage {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        let config = ImageConfig {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            ..ImageConfig::default()
        };
        let document = config.to_bytes();
        let id = galley_oci::Digest::sha256(&document);
        let name = reference.to_string();
        Ok(Some(BaseImage { name, id, config, document, layers: Vec::new(), manifest: None }))
    }
}

#[cfg(test)]
mod tests;
