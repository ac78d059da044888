//! Docker's rules that need nothing but the text.

use std::collections::BTreeSet;

use super::{Finding, Fix, Rule, docker};
use crate::command::{Command, From};
use crate::parser::Instruction;
use crate::span::Word;
use crate::stage::Stages;

/// What one instruction says of itself. A `# check=` comment above it counts for these.
pub fn of_instruction(instruction: &Instruction) -> Vec<Finding> {
    match &instruction.command {
        Command::From(from) => of_from(instruction, from),
        Command::Arg(arg) => {
            let names: Vec<&Word> = arg.definitions.iter().map(|definition| &definition.name).collect();
            description(instruction, &names).into_iter().collect()
        }
        Command::Maintainer(maintainer) => vec![of_maintainer(instruction, &maintainer.author)],
        _ => Vec::new(),
    }
}

/// What instructions say together. No comment turns these off, but the directive does.
pub fn of_stages(stages: &Stages) -> Vec<Finding> {
    let mut findings = stage_names(stages);
    findings.extend(casing(stages));
    findings
}

fn of_maintainer(instruction: &Instruction, author: &Word) -> Finding {
    let (detail, help) = ("MAINTAINER is deprecated", "use LABEL org.opencontainers.image.authors=…");
    let finding =
        Finding::new(&docker::MAINTAINER_DEPRECATED, instruction, instruction.keyword.span, detail, help);
    let special = author.text.contains(['"', '\\', '`', '$']);
    let quote = if special { '\'' } else { '"' };
    // A name over several lines may have comments in it.
    if author.span.len() != author.text.len() || (special && author.text.contains('\'')) {
        return finding;
    }
    let label = format!("LABEL org.opencontainers.image.authors={quote}{}{quote}", author.text);
    finding.with_fix(Fix::replace(instruction.span, label, "make MAINTAINER a label").on_request())
}

fn of_from(instruction: &Instruction, from: &From) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(name) = &from.name else { return findings };
    let keyword = instruction.keyword.text.as_str();
    findings.extend(from.written_name.as_ref().filter(|written| is_not_lower(written)).map(|written| {
        let detail = format!("the name of the stage `{}` is not in lower case", written.text);
        let help = format!("write `{}`; stages are found whatever their case", name.text);
        Finding::new(&docker::STAGE_NAME_CASING, instruction, written.span, detail, help)
            .with_fix(Fix::replace(written.span, &name.text, "write the stage's name in lower case"))
    }));
    findings.extend(from.as_keyword.as_ref().and_then(|word| {
        let right = as_like(keyword).filter(|right| *right != word.text)?;
        let detail = format!("`{keyword}` and `{}` are written in different cases", word.text);
        let fix = Fix::replace(word.span, right, "write AS as FROM is written");
        let help = format!("write `{right}`");
        Some(Finding::new(&docker::FROM_AS_CASING, instruction, word.span, detail, help).with_fix(fix))
    }));
    findings.extend(description(instruction, &[name]));
    findings
}

fn is_not_lower(word: &Word) -> bool {
    word.text != word.text.to_lowercase()
}

/// AS in the case of FROM; nothing when FROM has no case of its own.
fn as_like(from: &str) -> Option<&'static str> {
    match from {
        _ if from == from.to_lowercase() => Some("as"),
        _ if from == from.to_uppercase() => Some("AS"),
        _ => None,
    }
}

/// The last comment line above a definition begins with a name that is defined.
fn description(instruction: &Instruction, names: &[&Word]) -> Option<Finding> {
    let comment = instruction.comments.last()?;
    let first = comment.text.split(' ').next().unwrap_or_default();
    if names.is_empty() || names.iter().any(|name| name.text == first) {
        return None;
    }
    let name = if let [name] = names { name.text.as_str() } else { "NAME" };
    let what = instruction.command.name();
    let detail = format!("the comment above {what} does not describe `{name}`");
    let help = format!(
        "begin it with the name, `# {name} …`, or put a line with only `#` between it and the instruction"
    );
    Some(Finding::new(&docker::INVALID_DEFINITION_DESCRIPTION, instruction, comment.span, detail, help))
}

fn stage_names(stages: &Stages) -> Vec<Finding> {
    let (mut findings, mut names) = (Vec::new(), BTreeSet::new());
    for stage in &stages.stages {
        let Some(word) = &stage.from.name else { continue };
        let name = word.text.as_str();
        let mut found = |rule: &'static Rule, detail: String, help: &str| {
            findings.push(Finding::new(rule, &stage.instruction, word.span, detail, help));
        };
        if matches!(name, "scratch" | "context") {
            let detail = format!("`{name}` is a reserved name");
            found(&docker::RESERVED_STAGE_NAME, detail, "choose another name for the stage");
        }
        if !names.insert(name) {
            let detail = format!("more than one stage is called `{name}`: the last one above counts");
            found(&docker::DUPLICATE_STAGE_NAME, detail, "give each stage a name of its own");
        }
    }
    findings
}

/// The case of a keyword; none when it has both.
fn is_lower(keyword: &str) -> Option<bool> {
    match keyword {
        _ if keyword == keyword.to_lowercase() => Some(true),
        _ if keyword == keyword.to_uppercase() => Some(false),
        _ => None,
    }
}

/// All keywords of stages are as most of them are; of as many, capitals win. ARGs above the first FROM do not count.
fn casing(stages: &Stages) -> Vec<Finding> {
    let instructions = || stages.stages.iter().flat_map(|stage| stage.all());
    let keywords = || instructions().map(|instruction| instruction.keyword.text.as_str());
    let lower = keywords().filter(|keyword| is_lower(keyword) == Some(true)).count();
    let upper = keywords().filter(|keyword| is_lower(keyword) == Some(false)).count();
    let wrong = |instruction: &&Instruction| is_lower(&instruction.keyword.text) != Some(lower > upper);
    instructions().filter(wrong).map(|instruction| miscased(instruction, lower > upper)).collect()
}

fn miscased(instruction: &Instruction, lower: bool) -> Finding {
    let keyword = &instruction.keyword;
    let right = if lower { keyword.text.to_lowercase() } else { keyword.text.to_uppercase() };
    let case = if lower { "lower case" } else { "capitals" };
    let detail = format!("`{}` is not in {case}, as most instructions here are", keyword.text);
    let fix = Fix::replace(keyword.span, right.as_str(), format!("write all instructions in {case}"));
    let rule = &docker::CONSISTENT_INSTRUCTION_CASING;
    Finding::new(rule, instruction, keyword.span, detail, format!("write `{right}`")).with_fix(fix)
}
