//! `DockerignoreRecommended`

use super::scene::{Scene, takes_context};
use crate::ignore::Ignore;
use crate::lint::{Finding, Rule};

pub(super) static RULE: Rule = Rule::own(
    "DockerignoreRecommended",
    "the ignore file keeps secrets, repositories and what is built or fetched out of the image",
);

/// Names at the top of a context that belong into no image. A trailing star stands for anything.
const SECRETS: [&str; 13] = [
    ".env",
    ".env.local",
    ".env.production",
    "*.pem",
    "*.key",
    "id_rsa",
    "id_ed25519",
    ".npmrc",
    ".netrc",
    ".aws",
    ".ssh",
    ".pypirc",
    "*.kdbx",
];

/// Folders that are large and made anew.
const FOLDERS: [&str; 7] = [".git", "node_modules", "target", ".venv", "venv", "__pycache__", ".terraform"];

pub(super) fn find(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let facts = scene.input.facts;
    let Some(entries) = &facts.entries else { return };
    let Ok(ignore) = Ignore::parse(facts.ignore.as_deref().unwrap_or_default()) else { return };
    let Some(copy) =
        scene.stages.iter().flat_map(|view| &view.stage.instructions).find(|it| takes_context(it))
    else {
        return;
    };
    let taken: Vec<&str> =
        entries.iter().map(String::as_str).filter(|name| !is_ignored(&ignore, name)).collect();
    let of = |patterns: &[&str]| -> Vec<&str> {
        taken.iter().copied().filter(|name| patterns.iter().any(|pattern| fits(name, pattern))).collect()
    };
    let has = |name: &str| entries.iter().any(|entry| entry == name);
    let mut folders = of(&FOLDERS);
    // Only cargo's and Maven's folder of this name is made by a build.
    folders.retain(|name| *name != "target" || has("Cargo.toml") || has("pom.xml"));
    let secrets = of(&SECRETS);
    let found = [secrets.as_slice(), folders.as_slice()].concat();
    if found.is_empty() {
        return;
    }
    let part =
        |what: &str, names: &[&str]| (!names.is_empty()).then(|| format!("{what} ({})", names.join(", ")));
    let parts = [part("what looks secret", &secrets), part("what is large, or made anew", &folders)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let file =
        if facts.ignore.is_some() { "the ignore file does not name it" } else { "there is no .dockerignore" };
    let detail = format!("this takes {}: {file}", parts.join(" and "));
    let help = format!("write into .dockerignore: {}", found.join(" "));
    findings.push(Finding::new(&RULE, copy, copy.span, detail, help));
}

/// The entry, or what is in it: `.git/**` leaves only an empty folder.
fn is_ignored(ignore: &Ignore, name: &str) -> bool {
    ignore.matches(name.as_bytes()) || ignore.matches(format!("{name}/x").as_bytes())
}

fn fits(name: &str, pattern: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => name.ends_with(end),
        None => name == pattern,
    }
}
