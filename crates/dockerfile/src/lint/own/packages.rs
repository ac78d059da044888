//! `PackageListsLeft` and `UpdateWithoutInstall`

use super::scene::{RunView, Scene, View};
use crate::lint::{Finding, Fix, Rule};
use crate::shell::{Link, Simple};
use crate::span::Span;

pub(super) static LEFT: Rule =
    Rule::own("PackageListsLeft", "a RUN that installs packages removes what the package manager downloaded");
pub(super) static UPDATE: Rule = Rule::own(
    "UpdateWithoutInstall",
    "package lists are updated in the RUN that installs from them, never in one of their own",
);

/// A package manager.
struct Manager {
    programs: &'static [&'static str],
    /// What leaves files behind.
    leaves: fn(&Simple) -> bool,
    /// Any of these in the RUN removes them, or keeps them from being written.
    cures: &'static [&'static str],
    /// A mount of any of these keeps them out of the image.
    folders: &'static [&'static str],
    help: &'static str,
}

const MANAGERS: [Manager; 3] = [
    Manager {
        programs: &["apt-get", "apt"],
        leaves: |command| command.operands().next() == Some("update"),
        cures: &[
            "/var/lib/apt",
            "/var/lib/{apt",
            "apt-get dist-clean",
            "apt-get distclean",
            "apt dist-clean",
        ],
        folders: &["/var/lib/apt", "/var/lib", "/var"],
        help: "remove them in the same RUN: rm -rf /var/lib/apt/lists/*",
    },
    Manager {
        programs: &["apk"],
        leaves: |command| {
            matches!(command.operands().next(), Some("add" | "update" | "upgrade"))
                && !command.has("--no-cache")
                && !command.has("--no-network")
        },
        cures: &["/var/cache/apk", "/etc/apk/cache", "apk cache clean", "/var/cache/*"],
        folders: &["/var/cache/apk", "/etc/apk/cache", "/var/cache"],
        help: "write apk add --no-cache, which needs no apk update before it",
    },
    Manager {
        programs: &["dnf", "yum", "microdnf"],
        leaves: |command| {
            matches!(command.operands().next(), Some("install" | "update" | "upgrade" | "groupinstall"))
        },
        cures: &["clean all", "/var/cache/dnf", "/var/cache/yum", "/var/cache/libdnf5", "/var/cache/*"],
        folders: &["/var/cache/dnf", "/var/cache/yum", "/var/cache/libdnf5", "/var/cache"],
        help: "remove it in the same RUN: dnf clean all",
    },
];

pub(super) fn find(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for (_, run) in scene.shipped_runs() {
        findings.extend(MANAGERS.iter().find_map(|manager| left(scene, run, manager)));
    }
    for view in &scene.stages {
        findings.extend(updates_alone(scene, view));
    }
}

fn left(scene: &Scene<'_>, run: &RunView<'_>, manager: &Manager) -> Option<Finding> {
    let is_of = |command: &&Simple| manager.programs.contains(&command.program());
    let command = run.script.commands.iter().filter(is_of).find(|command| (manager.leaves)(command))?;
    let mounted = run.cache_targets().iter().any(|target| {
        manager.folders.contains(&target.trim_end_matches('/'))
            || manager.folders.iter().any(|folder| target.starts_with(&format!("{folder}/")))
    });
    if mounted || manager.cures.iter().any(|cure| run.script.mentions(cure)) {
        return None;
    }
    let program = command.program();
    let detail = format!("what {program} downloaded stays in the image");
    let place = command.words.first().and_then(|word| run.place(scene, word));
    let finding = run.finding(&LEFT, place, detail, manager.help);
    Some(match fix(scene, run, manager) {
        Some(fix) => finding.with_fix(fix.on_request()),
        None => finding,
    })
}

/// `--no-cache` for apk; removing the lists behind the last command for apt-get.
fn fix(scene: &Scene<'_>, run: &RunView<'_>, manager: &Manager) -> Option<Fix> {
    if manager.programs.contains(&"apk") {
        // Without the update the package is found all the same; but what to take away is not one word.
        if run.script.commands.iter().any(|command| command.is("apk", "update")) {
            return None;
        }
        let adds = run.script.of("apk").filter(|command| command.operands().next() == Some("add"));
        let verbs = adds.map(|command| command.words.iter().find(|word| word.text == "add"));
        let places = verbs.map(|verb| run.place(scene, verb?)).collect::<Option<Vec<Span>>>()?;
        return Fix::insert_behind(places, " --no-cache", "downloads no package lists to keep");
    }
    let last = run.script.commands.last()?;
    let plain =
        run.script.commands.iter().all(|command| command.link != Link::Loose) && last.link == Link::End;
    let is_apt = matches!(last.program(), "apt-get" | "apt") && !last.wrapped && !run.script.mentions("||");
    let end = run.place(scene, last.words.last()?)?;
    let at_end = end.end == run.instruction.full_span.end;
    (manager.programs.contains(&"apt-get") && plain && is_apt && at_end)
        .then(|| {
            let command = format!("{}&& rm -rf /var/lib/apt/lists/*", separator(scene, run));
            Fix::insert_behind(vec![end], &command, "removes the package lists")
        })
        .flatten()
}

/// What stands before one more command: a new line where there are several.
fn separator(scene: &Scene<'_>, run: &RunView<'_>) -> String {
    let written = scene.input.source.slice(run.instruction.span);
    let Some(end) = written.find('\n') else { return " ".to_owned() };
    let carriage = if written.get(..end).is_some_and(|line| line.ends_with('\r')) { "\r" } else { "" };
    format!(" {}{carriage}\n ", scene.input.escape)
}

/// `RUN apt-get update` whose lists a later RUN uses.
fn updates_alone(scene: &Scene<'_>, view: &View<'_>) -> Option<Finding> {
    let verb = |run: &RunView<'_>, wanted: &str| {
        let mut commands = run.script.of("apt-get").chain(run.script.of("apt"));
        commands.any(|command| command.operands().next() == Some(wanted))
    };
    let alone = |run: &&RunView<'_>| {
        verb(run, "update")
            && ["install", "upgrade", "dist-upgrade", "build-dep"].iter().all(|other| !verb(run, other))
    };
    let update = view.runs.iter().find(alone)?;
    let mut later = view.runs.iter().filter(|run| run.index > update.index);
    let user = later.find(|run| verb(run, "install"))?;
    // A shared folder of lists is what such a RUN may be for.
    if verb(user, "update") || !update.cache_targets().is_empty() || update.script.commands.len() > 4 {
        return None;
    }
    let command = update.script.commands.iter().find(|command| command.has("update"))?;
    let place = command.words.first().and_then(|word| update.place(scene, word));
    let detail = "this step stays cached while the RUN that installs changes: it then installs from old lists, or finds nothing";
    Some(update.finding(&UPDATE, place, detail, "write apt-get update && apt-get install … in one RUN"))
}
