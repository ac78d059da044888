//! What is told but does not stop the build.

use galley_dockerfile::{
    Instruction, Span, Stages, Warning, WarningKind, Word,
    directive::Check,
    lint::{Finding, Rule, cure, docker, text::of_instruction},
};

use super::{PlanWarning, text::Text};
use crate::{Error, ErrorKind, Place};

/// Warnings so far, without those that `# check=` turns off.
#[derive(Debug)]
pub(super) struct Warnings {
    list: Vec<PlanWarning>,
    check: Check,
    is_mute: bool,
    /// What the comments above the current instruction add.
    scope: Check,
    text: Text,
}

impl Warnings {
    /// For the Dockerfile of this text.
    pub(super) fn new(check: Check, text: &Text) -> Self {
        Self { list: Vec::new(), check, is_mute: false, scope: Check::default(), text: text.clone() }
    }

    /// From here on the `# check=` comment above an instruction counts too. No comments end that.
    pub(super) fn enter(&mut self, comments: &[Word]) {
        self.scope = scope(comments);
    }

    /// From here on nothing is told.
    pub(super) fn mute(&mut self) {
        self.is_mute = true;
    }

    /// What an instruction says of itself.
    pub(super) fn instruction(&mut self, instruction: &Instruction) {
        self.enter(&instruction.comments);
        of_instruction(instruction).into_iter().for_each(|finding| self.find(finding));
        self.enter(&[]);
    }

    /// A finding in the Dockerfile.
    pub(super) fn find(&mut self, finding: Finding) {
        let place = self.text.place(finding.span);
        self.find_at(finding, place);
    }

    /// A finding whose span is of another text: that of a trigger.
    pub(super) fn find_at(&mut self, finding: Finding, place: Place) {
        if self.is_mute || !self.is_on(finding.rule) {
            return;
        }
        let lines = self.text.lines(finding.instruction);
        self.list.push(PlanWarning {
            rule: Some(finding.rule),
            message: finding.detail,
            place: Some(place),
            lines: Some(lines),
            help: Some(finding.help),
            fix: finding.fix,
        });
    }

    /// A finding of an own rule, which knows nothing of scopes.
    pub(super) fn own(&mut self, finding: Finding, stages: &Stages) {
        // Own rules look at the text once, whatever is built for how many platforms.
        self.is_mute = false;
        let instructions = stages.instructions();
        let around = instructions.filter(|instruction| instruction.full_span == finding.instruction).last();
        self.enter(around.map_or(&[], |instruction| &instruction.comments));
        self.find(finding);
        self.enter(&[]);
    }

    fn is_on(&self, rule: &Rule) -> bool {
        let named = |names: &[String]| names.iter().any(|name| name == rule.name);
        let of = |check: &Check| {
            if rule.experimental {
                check.experimental_all || named(&check.experimental)
            } else {
                check.skip_all || named(&check.skip)
            }
        };
        (of(&self.check) || of(&self.scope)) == rule.experimental
    }

    /// A finding of the parser.
    pub(super) fn parser(&mut self, warning: &Warning) {
        let WarningKind::EmptyContinuation { end } = warning.kind() else {
            let place = self.text.place(warning.span());
            return self.add(warning.message(), Some(place), warning.help());
        };
        self.find(Finding {
            rule: &docker::NO_EMPTY_CONTINUATION,
            detail: warning.message(),
            span: warning.span(),
            instruction: Span::new(*end, *end),
            help: warning.help().to_owned(),
            fix: cure::empty_lines(self.text.as_str(), warning.span(), *end),
        });
    }

    /// Something of no rule.
    pub(super) fn add(&mut self, message: String, place: Option<Place>, help: &str) {
        if self.is_mute {
            return;
        }
        let help = Some(help.to_owned());
        self.list.push(PlanWarning { rule: None, message, place, lines: None, help, fix: None });
    }

    /// All of them, and an error when `# check=error=true` makes findings fatal. Those of own rules never are: the directive
    /// is Docker's, and what builds there has to build here.
    pub(super) fn finish(self) -> (Vec<PlanWarning>, Option<Error>) {
        let docker = |warning: &PlanWarning| warning.rule.filter(|rule| rule.docker);
        let first = self.list.iter().find_map(|warning| Some((warning, docker(warning)?)));
        let fatal = first.filter(|_| self.check.error).map(|(warning, rule)| fatal(warning, rule));
        (self.list, fatal)
    }
}

/// The first `check` comment decides; one that cannot be read counts for nothing, as in Docker.
fn scope(comments: &[Word]) -> Check {
    let value = |comment: &Word| {
        let (key, value) = comment.text.split_once('=')?;
        key.trim().eq_ignore_ascii_case("check").then(|| value.trim().to_owned())
    };
    let Some(value) = comments.iter().find_map(value) else { return Check::default() };
    let options = value.split(' ').next().unwrap_or_default();
    Check::parse(options).unwrap_or_default()
}

fn fatal(warning: &PlanWarning, rule: &Rule) -> Error {
    let error = Error::new(ErrorKind::Input, format!("{} ({})", warning.message, rule.name))
        .help("the check option error=true makes this an error")
        .help(warning.help.clone().unwrap_or_default());
    match &warning.place {
        Some(place) => error.at(place),
        None => error,
    }
}
