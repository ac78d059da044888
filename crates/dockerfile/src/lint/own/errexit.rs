//! `HeredocWithoutErrexit`

use super::scene::{RunView, Scene, View};
use super::script::{is_alone, shebang};
use crate::command::CommandLine;
use crate::lint::{Finding, Fix, Rule};
use crate::shell::{self, Link, Simple};
use crate::span::Span;

pub(super) static RULE: Rule = Rule::own(
    "HeredocWithoutErrexit",
    "a script in a here-document stops at the first command that fails: set -e",
);

/// Commands whose failure does not matter, or that do not fail.
const HARMLESS: [&str; 13] = [
    "", ":", "true", "echo", "printf", "export", "set", "shopt", "umask", "local", "readonly", "unset",
    "return",
];

pub(super) fn find(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for (view, run) in scene.runs() {
        findings.extend(in_run(scene, view, run));
    }
}

fn in_run(scene: &Scene<'_>, view: &View<'_>, run: &RunView<'_>) -> Option<Finding> {
    let [document] = run.run.heredocs.as_slice() else { return None };
    let CommandLine::Shell(line) = &run.run.line else { return None };
    let body = document.text();
    let commands = shell::commands(&body);
    let interpreter = interpreter(view, run, line, &body)?;
    let stops = interpreter.iter().skip(1).any(|flag| sets_errexit(flag))
        || interpreter.iter().any(|flag| flag == "errexit");
    let is_set = |command: &Simple| {
        command.program() == "set"
            && command.arguments().iter().any(|word| sets_errexit(&word.text) || word.text == "errexit")
    };
    if stops || commands.iter().any(is_set) {
        return None;
    }
    let is_lost = |command: &&Simple| command.link == Link::Loose && !HARMLESS.contains(&command.program());
    let last = commands.len().checked_sub(1)?;
    let lost = commands.iter().take(last).find(is_lost)?;
    let detail = format!("when `{}` fails the script goes on, and the step succeeds", lost.program());
    let at = line.span;
    let finding = run.finding(&RULE, Some(at), detail, "begin the script with set -e");
    Some(finding.with_fix(fix(scene, document.body_span, &body).on_request()))
}

/// The shell that reads the body, with its flags; nothing when it is no POSIX shell.
fn interpreter(view: &View<'_>, run: &RunView<'_>, line: &crate::Word, body: &str) -> Option<Vec<String>> {
    let owned = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect();
    if is_alone(line) {
        if body.starts_with("#!") {
            return shebang(body).map(owned);
        }
        let shell = view.values.shell(run.index);
        return shell.first().is_some_and(|program| shell::is_shell(program)).then_some(shell);
    }
    // `bash -e <<EOF` and nothing else.
    let commands = shell::commands(&line.text);
    let [command] = commands.as_slice() else { return None };
    let reads = shell::is_shell(command.program()) && command.operands().next().is_none();
    reads.then(|| owned(command.words.iter().map(|word| word.text.as_str()).collect()))
}

/// `-e`, `-eux`, `-euo`
fn sets_errexit(flag: &str) -> bool {
    flag.strip_prefix('-').is_some_and(|letters| !letters.starts_with('-') && letters.contains('e'))
}

/// `set -e` as the first line, behind a `#!` line, indented and ended as its neighbour.
fn fix(scene: &Scene<'_>, body: Span, text: &str) -> Fix {
    let written = scene.input.source.slice(body);
    let first = written.split_inclusive('\n').next().unwrap_or_default();
    let skipped = if text.starts_with("#!") { first.len() } else { 0 };
    let next = written.get(skipped..).unwrap_or_default();
    let indent: String = next.chars().take_while(|blank| matches!(blank, ' ' | '\t')).collect();
    let end = if first.ends_with("\r\n") { "\r\n" } else { "\n" };
    let at = Span::new(body.start + skipped, body.start + skipped);
    Fix::replace(at, format!("{indent}set -e{end}"), "stops the script at the first command that fails")
}
