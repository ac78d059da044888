//! `ShellFormWithoutShell`

use super::scene::{Base, Scene, View};
use crate::command::{Command, CommandLine, CopySource};
use crate::lint::{Finding, Rule};
use crate::parser::Instruction;

pub(super) static RULE: Rule = Rule::own(
    "ShellFormWithoutShell",
    "CMD, ENTRYPOINT and RUN use the JSON form where the image has no shell",
);

pub(super) fn find(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for view in &scene.stages {
        let image = match scene.root(view.index()) {
            Base::Scratch => "scratch",
            Base::Image(image) if image.has_no_shell() => image.name.as_str(),
            _ => continue,
        };
        if scene.chain(view.index()).any(|view| may_bring_shell(view)) {
            continue;
        }
        let instructions = view.stage.instructions.iter();
        findings.extend(instructions.filter_map(|instruction| judge(instruction, image)));
    }
}

/// Whether something in the stage may be a shell, or sets another one.
fn may_bring_shell(view: &View<'_>) -> bool {
    view.stage.instructions.iter().any(|instruction| match &instruction.command {
        Command::Shell(_) => true,
        Command::Add(add) => add.sources.iter().any(is_archive_or_folder),
        Command::Copy(copy) => {
            let names = copy.sources.iter().any(is_archive_or_folder);
            let to = copy.destination.text.trim_end_matches('/');
            names || matches!(to, "/bin" | "/usr/bin" | "/usr" | "/sbin" | "/bin/sh") || to.ends_with("sh")
        }
        _ => false,
    })
}

/// A source whose last name does not tell that it is one ordinary file.
fn is_archive_or_folder(source: &CopySource) -> bool {
    let CopySource::Path(path) = source else { return false };
    let path = path.text.trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or(path);
    let folders = [
        "", ".", "..", "bin", "usr", "out", "root", "dist", "fs", "install", "rootfs", "layers", "image",
        "target",
    ];
    let shells = ["sh", "bash", "busybox", "toybox", "dash"];
    folders.contains(&last)
        || shells.contains(&last)
        || last.contains("rootfs")
        || last.contains(".tar")
        || last.contains(['*', '?', '$', '['])
}

fn judge(instruction: &Instruction, image: &str) -> Option<Finding> {
    let is_shell_form = |line: &CommandLine| matches!(line, CommandLine::Shell(_)) && !line.is_empty();
    let name = match &instruction.command {
        Command::Entrypoint(line) if is_shell_form(line) => "ENTRYPOINT",
        Command::Cmd(line) if is_shell_form(line) => "CMD",
        Command::Run(run) if is_shell_form(&run.line) && run.mounts.is_empty() => "RUN",
        _ => return None,
    };
    let detail = format!("{name} in this form needs /bin/sh, and {image} has none");
    let help = format!("write a JSON array: {name} [\"/program\", \"argument\"]");
    Some(Finding::new(&RULE, instruction, instruction.span, detail, help))
}
