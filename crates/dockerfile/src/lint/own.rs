//! Rules that galley has and Docker has not.
//!
//! To add one: a module below this one with a `static` [`Rule`] and a function `fn find(&Scene, &mut Vec<Finding>)`, a row
//! in [`CHECKS`], the page `docs/rules/NAME.md` with a line in its index, and folders in `tests/lint` that find it, that do
//! not, and that show the fix. What it has to know besides the Dockerfile is a field of [`Facts`], filled in by the planner
//! (`crates/engine/src/plan/check.rs`).
//!
//! A rule speaks when the text leaves no doubt. Where a variable, a base image or a script hides the answer it is silent:
//! [`scene`] gives `None` or `Unknown` then, and `mentions` asks generously.

mod cgo;
mod chown;
mod errexit;
mod go;
mod ignored;
mod image;
mod modules;
mod mounts;
mod packages;
mod pins;
mod scene;
mod script;
mod shell_form;
mod toolchain;
mod unstripped;
mod user;
mod values;

use self::scene::Scene;
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

/// Rules, and the function that finds them.
pub(super) struct Check {
    pub(super) rules: &'static [&'static Rule],
    /// Adds what it finds.
    find: fn(&Scene<'_>, &mut Vec<Finding>),
}

/// All own rules.
pub(super) static CHECKS: [Check; 12] = [
    Check { rules: &[&pins::TAG, &pins::DIGEST], find: pins::find },
    Check { rules: &[&modules::RULE], find: modules::find },
    Check { rules: &[&mounts::RULE], find: mounts::find },
    Check { rules: &[&cgo::RULE], find: cgo::find },
    Check { rules: &[&unstripped::RULE], find: unstripped::find },
    Check { rules: &[&toolchain::RULE], find: toolchain::find },
    Check { rules: &[&user::RULE], find: user::find },
    Check { rules: &[&ignored::RULE], find: ignored::find },
    Check { rules: &[&packages::LEFT, &packages::UPDATE], find: packages::find },
    Check { rules: &[&chown::RULE], find: chown::find },
    Check { rules: &[&errexit::RULE], find: errexit::find },
    Check { rules: &[&shell_form::RULE], find: shell_form::find },
];

/// What all own rules find, in the order of the text.
pub fn own(input: &Input<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let scene = Scene::new(*input);
    for check in &CHECKS {
        (check.find)(&scene, &mut findings);
    }
    findings.sort_by_key(|finding| finding.instruction);
    findings
}
