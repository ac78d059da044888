//! `ToolchainShipped`

use super::scene::{Base, Scene, View};
use crate::command::Command;
use crate::lint::{Finding, Rule};
use crate::shell::Simple;

pub(super) static RULE: Rule = Rule::own(
    "ToolchainShipped",
    "a compiled program is copied into a small last stage; compiler and sources stay in the stage before it",
);

/// An image with a compiler, and the command that makes a program of its own.
const TOOLCHAINS: [(&str, &str, &str); 2] = [("golang", "go", "build"), ("rust", "cargo", "build")];

pub(super) fn find(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let Some(view) = scene.target().and_then(|target| scene.stages.get(target)) else { return };
    let Base::Image(image) = scene.root(view.index()) else { return };
    let Some((_, program, verb)) = TOOLCHAINS.iter().find(|(name, ..)| image.is(name)) else { return };
    let chain = || scene.chain(view.index());
    let compiles = chain().flat_map(|view| &view.runs).flat_map(|run| &run.script.commands);
    let compiles = compiles.into_iter().any(|command: &Simple| command.is(program, verb));
    let starts = |command: &Command| matches!(command, Command::Entrypoint(_) | Command::Cmd(_));
    let start = chain().find_map(|view: &View<'_>| view.last(starts));
    // `CMD ["go", "test"]` needs the compiler.
    let uses_it = start.is_none_or(|start| {
        start.text.contains(&format!("{program} ")) || start.text.contains(&format!("\"{program}\""))
    });
    if compiles && !uses_it && !view.is_for_developers() {
        let detail =
            format!("the image ships the compiler and the sources: {program} {verb} runs in its last stage");
        let help =
            "begin a last stage with FROM scratch or a small base, and COPY --from the program into it";
        findings.push(Finding::new(&RULE, &view.stage.instruction, view.stage.from.image.span, detail, help));
    }
}
