//! `ModuleFilesFirst`

use super::scene::{RunView, Scene, View, takes_context};
use crate::lint::{Finding, Rule};
use crate::parser::Instruction;
use crate::shell::Simple;

pub(super) static RULE: Rule = Rule::own(
    "ModuleFilesFirst",
    "the files that list modules are copied before the sources, so that modules are not fetched again for every change",
);

/// A command that fetches what some files list, and needs no other file.
struct Download {
    /// For messages.
    command: &'static str,
    /// The files to copy first.
    files: &'static str,
    is: fn(&Simple) -> bool,
}

const DOWNLOADS: [Download; 10] = [
    Download {
        command: "go mod download",
        files: "go.mod go.sum",
        is: |command| command.is("go", "mod") && command.has("download"),
    },
    Download {
        command: "npm ci",
        files: "package.json package-lock.json",
        is: |command| command.is("npm", "ci") || command.is("npm", "clean-install"),
    },
    Download {
        command: "npm install",
        files: "package.json package-lock.json",
        is: |command| is_plain_npm(command),
    },
    Download {
        command: "yarn install",
        files: "package.json yarn.lock",
        is: |command| {
            command.program() == "yarn"
                && matches!(command.operands().next(), None | Some("install"))
                && !command.has("--version")
        },
    },
    Download {
        command: "pnpm install",
        files: "package.json pnpm-lock.yaml",
        is: |command| command.is("pnpm", "install") || command.is("pnpm", "i"),
    },
    Download { command: "pip install -r", files: "requirements.txt", is: is_pip },
    Download {
        command: "bundle install",
        files: "Gemfile Gemfile.lock",
        is: |command| command.is("bundle", "install"),
    },
    Download {
        command: "cargo fetch",
        files: "Cargo.toml Cargo.lock",
        is: |command| command.is("cargo", "fetch"),
    },
    Download {
        command: "poetry install --no-root",
        files: "pyproject.toml poetry.lock",
        is: |command| command.is("poetry", "install") && command.has("--no-root"),
    },
    Download {
        command: "mvn dependency:go-offline",
        files: "pom.xml",
        is: |command| matches!(command.program(), "mvn" | "mvnw") && command.has("dependency:go-offline"),
    },
];

/// `npm install` without the names of packages.
fn is_plain_npm(command: &Simple) -> bool {
    let global = command.has("-g") || command.has("--global");
    command.program() == "npm"
        && !global
        && matches!(command.operands().collect::<Vec<_>>()[..], ["install" | "i"])
}

/// `pip install -r FILE` of nothing else.
fn is_pip(command: &Simple) -> bool {
    let mut words = command.words.iter().map(|word| word.text.as_str()).skip(1).peekable();
    if command.program().starts_with("python") && (words.next(), words.next()) != (Some("-m"), Some("pip")) {
        return false;
    }
    let pip = command.program().starts_with("pip") || command.program().starts_with("python");
    let words: Vec<&str> = words.collect();
    let local = words.iter().any(|word| {
        matches!(*word, "." | "-e" | "--editable") || word.starts_with("./") || word.starts_with(".[")
    });
    pip && words.contains(&"install")
        && words.iter().any(|word| word.starts_with("-r") || word.starts_with("--requirement"))
        && !local
}

pub(super) fn find(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for view in &scene.stages {
        for download in &DOWNLOADS {
            findings.extend(in_stage(scene, view, download));
        }
    }
}

/// The first such download of a stage, when everything was copied before it.
fn in_stage(scene: &Scene<'_>, view: &View<'_>, download: &Download) -> Option<Finding> {
    let fetches = |run: &RunView<'_>| run.script.commands.iter().any(download.is);
    let run = view.runs.iter().find(|run| fetches(run))?;
    // A stage below has fetched them before, or a mount keeps them.
    if scene.chain(view.index()).skip(1).flat_map(|below| &below.runs).any(fetches)
        || !run.run.mounts.is_empty()
    {
        return None;
    }
    let above = view.stage.instructions.iter().take(run.index);
    let copy = above.into_iter().find(|instruction| takes_context(instruction))?;
    Some(finding(copy, download))
}

fn finding(copy: &Instruction, download: &Download) -> Finding {
    let Download { command, files, .. } = download;
    let detail = format!(
        "everything is copied before `{command}`, so every change of a file fetches all modules again"
    );
    let help = format!("copy {files} first, then RUN {command}, then copy the rest");
    Finding::new(&RULE, copy, copy.span, detail, help)
}
