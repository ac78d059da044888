//! Rules that galley has and Docker has not.
//!
//! To add one: a module below this one with a `static` [`Rule`] and a function `fn find(&Input, &mut Vec<Finding>)`, a row
//! in [`CHECKS`], the page `docs/rules/NAME.md` with a line in its index, and tests that find it, that do not, and that
//! apply the fix. What it has to know besides the Dockerfile is a field of [`Facts`], filled in by the planner
//! (`crates/engine/src/plan/check.rs`).

use super::{Facts, Finding, Rule};
use crate::source::Source;
use crate::stage::Stages;

/// What own rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The text that all spans are of.
    pub source: &'a Source,
    /// Its escape character.
    pub escape: char,
    /// What it says.
    pub stages: &'a Stages,
    /// What is around it.
    pub facts: &'a Facts,
}

/// A rule and the function that finds it.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// The rule.
    pub rule: &'static Rule,
    /// Adds what it finds, in the order of the text.
    pub find: fn(&Input<'_>, &mut Vec<Finding>),
}

/// All own rules.
pub static CHECKS: &[Check] = &[];

/// What all own rules find, in the order of the text.
pub fn own(input: &Input<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in CHECKS {
        (check.find)(input, &mut findings);
    }
    findings.sort_by_key(|finding| finding.instruction);
    findings
}
