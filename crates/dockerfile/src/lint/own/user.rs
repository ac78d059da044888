//! `LastUserRoot`

use super::scene::{Base, Scene, View};
use crate::command::Command;
use crate::lint::{Finding, Rule};

pub(super) static RULE: Rule =
    Rule::own("LastUserRoot", "an image that starts a program names a user that is not root");

/// Programs that give root away when the container starts.
const SWITCHERS: [&str; 6] = ["gosu", "su-exec", "setpriv", "s6-", "supervisord", "docker-entrypoint"];

pub(super) fn find(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let Some(view) = scene.target().and_then(|target| scene.stages.get(target)) else { return };
    let starts = |command: &Command| matches!(command, Command::Entrypoint(_) | Command::Cmd(_));
    let chain = || scene.chain(view.index());
    if view.is_for_developers() || !chain().any(|view| view.last(starts).is_some()) || chain().any(switches) {
        return;
    }
    let set = view.values.user(usize::MAX);
    let root = match set {
        Some(user) => user.is_some_and(is_root),
        None => has_root_base(scene.root(view.index())),
    };
    if !root {
        return;
    }
    let written = chain().find_map(|view| view.last(|command| matches!(command, Command::User(_))));
    let (instruction, detail) = match written {
        Some(user) => (user, "the last USER is root, so the program runs as root"),
        None => (&view.stage.instruction, "no USER is set, so the program runs as root"),
    };
    let span = match &instruction.command {
        Command::User(user) => user.user.span,
        Command::From(from) => from.image.span,
        _ => instruction.span,
    };
    let help = "add USER with another user before CMD or ENTRYPOINT; a number such as 65532:65532 needs no account in the image";
    findings.push(Finding::new(&RULE, instruction, span, detail, help));
}

/// Something in the stage seems to change the user at the start.
fn switches(view: &View<'_>) -> bool {
    view.stage
        .instructions
        .iter()
        .any(|instruction| SWITCHERS.iter().any(|word| instruction.text.contains(word)))
}

fn has_root_base(base: &Base) -> bool {
    match base {
        Base::Scratch => true,
        Base::Image(image) => image.is_root(),
        Base::Stage(_) | Base::Unknown => false,
    }
}

/// Whether a user of USER is root: nobody means root too.
pub(super) fn is_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default().trim();
    matches!(name, "" | "root" | "0")
}

impl Scene<'_> {
    /// Whether an instruction is certainly executed as root.
    pub(super) fn is_root(&self, view: &View<'_>, index: usize) -> bool {
        match view.values.user(index) {
            Some(user) => user.is_some_and(is_root),
            None => has_root_base(self.root(view.index())),
        }
    }
}
