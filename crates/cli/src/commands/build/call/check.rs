//! `--check`: findings on standard output, the reason why nothing can be built on standard error.

use std::fmt::Write as _;

use annotate_snippets::Renderer;
use galley_engine::{
    Error, ErrorKind, Place,
    plan::{self, Checked, PlanOptions, PlanWarning, Rule},
    ports::ImageSource,
};
use serde::Serialize;

use super::{
    json::{Location, source},
    print_json,
};
use crate::{
    args::call::Call,
    display::text::clean,
    exit,
    failure::{Failure, Outcome, output},
    message,
};

/// Checks. Findings end with the exit code of a failed build.
pub(super) fn execute(
    call: Call,
    options: &PlanOptions,
    images: &dyn ImageSource,
    own_rules: bool,
) -> Outcome {
    let mut checked = plan::check(options, images);
    // Whoever calls docker expects its findings, and its exit code.
    checked.warnings.retain(|warning| own_rules || warning.rule.is_none_or(|rule| rule.docker));
    if let Some(error) = checked.error.take_if(|error| error.kind == ErrorKind::Usage) {
        return Err(error.into());
    }
    let findings = findings(&checked);
    for warning in checked.warnings.iter().filter(|warning| warning.rule.is_none()) {
        message::warn_at(&warning.message, warning.place.as_ref(), warning.help.as_deref());
    }
    if call.json {
        print_json(&Answer::new(options, &findings, checked.error.as_ref()))?;
    } else {
        anstream::print!("{}", text(&findings, checked.error.is_none()));
        std::io::Write::flush(&mut std::io::stdout()).map_err(output)?;
    }
    let is_found = !findings.is_empty();
    match checked.error {
        Some(error) => Err(error.into()),
        None if is_found && !call.ignore_status => Err(Failure::Code(exit::FAILED)),
        None => Ok(()),
    }
}

/// What has a rule.
struct Finding<'a> {
    rule: &'static Rule,
    warning: &'a PlanWarning,
}

fn findings(checked: &Checked) -> Vec<Finding<'_>> {
    let finding = |warning: &'_ PlanWarning| warning.rule;
    checked.warnings.iter().filter_map(|warning| Some(Finding { rule: finding(warning)?, warning })).collect()
}

/// In the order of the text.
fn text(findings: &[Finding<'_>], is_complete: bool) -> String {
    let mut sorted: Vec<&Finding<'_>> = findings.iter().collect();
    sorted.sort_by_key(|finding| finding.warning.lines);
    let mut text = match sorted.len() {
        0 if is_complete => "Check complete, no warnings found.\n".to_owned(),
        0 => String::new(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    for finding in sorted {
        let (rule, warning) = (finding.rule, finding.warning);
        let page = rule.url().unwrap_or_else(|| rule.page());
        // ok: writing to a String cannot fail
        let _ = write!(text, "\nWARNING: {} - {page}\n{}\n", rule.name, clean(&warning.message));
        if let Some(place) = &warning.place {
            let _ = writeln!(text, "{}", drawn(place, warning.help.as_deref()));
        }
    }
    text
}

fn drawn(place: &Place, help: Option<&str>) -> String {
    message::draw_place(place, help, &Renderer::styled())
}

/// As BuildKit's `result.json`.
#[derive(Serialize)]
struct Answer<'a> {
    warnings: Vec<Warning<'a>>,
    sources: Vec<Source<'a>>,
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    build_error: Option<BuildError<'a>>,
}

#[derive(Serialize)]
struct Warning<'a> {
    #[serde(rename = "ruleName")]
    rule_name: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    detail: &'a str,
    location: Location,
}

#[derive(Serialize)]
struct Source<'a> {
    filename: &'a str,
    data: String,
    language: &'a str,
}

#[derive(Serialize)]
struct BuildError<'a> {
    message: &'a str,
    location: Location,
}

impl<'a> Answer<'a> {
    fn new(options: &'a PlanOptions, findings: &[Finding<'a>], error: Option<&'a Error>) -> Self {
        let source =
            Source { filename: &options.dockerfile_name, data: source(options), language: "Dockerfile" };
        Self {
            warnings: findings.iter().map(Warning::new).collect(),
            sources: vec![source],
            build_error: error.map(|error| BuildError {
                message: &error.message,
                location: location(error, &options.dockerfile_name),
            }),
        }
    }
}

impl<'a> Warning<'a> {
    fn new(finding: &Finding<'a>) -> Self {
        let warning = finding.warning;
        Self {
            rule_name: finding.rule.name,
            description: finding.rule.description,
            url: finding.rule.url(),
            detail: &warning.message,
            location: warning.lines.map(Location::lines).unwrap_or_default(),
        }
    }
}

/// An error can also be of an ignore file, or of nothing that has lines.
fn location(error: &Error, dockerfile: &str) -> Location {
    let place = error.place.as_ref().filter(|place| &*place.file == dockerfile);
    place.map(|place| Location::lines(place.lines())).unwrap_or_default()
}
