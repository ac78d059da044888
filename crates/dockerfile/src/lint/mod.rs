//! Rules about Dockerfiles that build, but could be better.
//!
//! ```text
//! Docker's rules  found while the text is read, while stages are planned     told by every build and by --check
//! own rules       own::own(Input { text, stages, Facts })                    told by --check and `galley fix` only
//! ```
//!
//! * [`rule`]: what a [`Rule`] is.
//! * [`docker`], [`own`]: the tables of all rules. A rule has one row, one page `docs/rules/NAME.md`, and tests.
//! * [`text`]: Docker's rules that need nothing but the text.
//! * [`finding`]: what a rule found, and perhaps a [`Fix`] of the text.
//! * [`facts`]: what the rules have to know besides the Dockerfile; whoever plans the build fills it in.
//!
//! A rule that needs no more than the text and [`Facts`] is a function here. One that needs the values of variables is
//! found where these are known, in the planner, with the same table.

pub mod cure;
pub mod docker;
pub mod facts;
pub mod finding;
pub mod own;
pub mod rule;
pub mod text;

pub use self::facts::{BaseFacts, Facts};
pub use self::finding::{Edit, Finding, Fix};
pub use self::own::{Input, own};
pub use self::rule::Rule;

/// Every rule: Docker's, then the own ones.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    docker::RULES.iter().copied().chain(own::CHECKS.iter().flat_map(|check| check.rules.iter().copied()))
}

#[cfg(test)]
mod tests;
