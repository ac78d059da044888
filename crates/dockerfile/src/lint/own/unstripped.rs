//! `UnstrippedBinary`

use super::go::{self, Build};
use super::scene::Scene;
use crate::lint::{Finding, Fix, Rule};
use crate::span::Span;

pub(super) static RULE: Rule = Rule::own(
    "UnstrippedBinary",
    "a Go program is shipped without symbol table and debug information: -ldflags=\"-s -w\"",
);

pub(super) fn find(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let shipped = scene.shipped();
    for build in go::builds(scene) {
        let ships = shipped.contains(&build.view.index())
            || build.receivers(scene).any(|view| shipped.contains(&view.index()));
        if ships && !is_stripped(scene, &build) && !build.view.is_for_developers() {
            findings.push(finding(scene, &build));
        }
    }
}

/// Whether it is stripped, or the text does not tell, or the information is wanted.
fn is_stripped(scene: &Scene<'_>, build: &Build<'_, '_>) -> bool {
    let ldflags = build.flag("ldflags").map_or("", |word| word.text.as_str());
    let words = || ldflags.split(|character: char| !character.is_ascii_alphanumeric() && character != '-');
    let wanted = ["gcflags", "race", "cover"].into_iter().any(|flag| build.flag(flag).is_some());
    let variable = build.view.values.get(build.run.index, "GOFLAGS");
    let tools = ["strip", "upx", "goupx", "sstrip"];
    let later = scene.runs().flat_map(|(_, run)| &run.script.commands);
    wanted
        || variable.is_some_and(|value| value.is_none_or(|value| value.contains("ldflags")))
        || words().any(|word| matches!(word, "-s" | "-w"))
        || is_only_a_variable(ldflags)
        || later.into_iter().any(|command| tools.iter().any(|tool| command.program().ends_with(tool)))
}

/// `$LDFLAGS`, `$(…)`: flags that are somewhere else.
fn is_only_a_variable(ldflags: &str) -> bool {
    let value = ldflags.split_once("ldflags=").map_or(ldflags, |(_, value)| value).trim();
    let mut words = value.split_whitespace();
    words.any(|word| word.starts_with('$') || word.starts_with('`'))
}

fn finding(scene: &Scene<'_>, build: &Build<'_, '_>) -> Finding {
    let detail = "this program keeps its symbol table and its debug information, about a third of its size";
    let help = "build it with -ldflags=\"-s -w\"";
    let words = build.command.words.iter();
    let verb = words.clone().find(|word| word.text == "build").and_then(|word| build.run.place(scene, word));
    let finding = build.run.finding(&RULE, verb, detail, help);
    match verb.filter(|_| build.flag("ldflags").is_none()) {
        Some(verb) => {
            let behind = Span::new(verb.end, verb.end);
            let fix = Fix::replace(
                behind,
                " -ldflags=\"-s -w\"",
                "leaves out the symbol table and debug information",
            );
            finding.with_fix(fix.on_request())
        }
        None => finding,
    }
}
