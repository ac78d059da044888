//! galley beside BuildKit: each folder of `tests/golden` is one build, with BuildKit's answer in `expected.json`.
//!
//! | file | what |
//! |---|---|
//! | `Dockerfile` | `FROM busybox`, `rich`, `many` and `foreign` are the images that [`Bases`] makes; `http://web.test/` is a server of this machine |
//! | `context` | a shell script that makes the build context in the current folder, when there is more than the Dockerfile |
//! | `archive` | a shell script that writes the context, made like that, as an archive to standard output: galley reads it on standard input, and BuildKit from a URL |
//! | `url` | a shell script that writes a file, made like that, to standard output: its URL is the context of both |
//! | `options` | one flag of `galley build` on each line, `SOURCE_DATE_EPOCH=…`, or `CONTEXT=…` for a context that is elsewhere; `@agent` is the socket of an SSH agent |
//! | `expected.json` | config, history, the layers' entries and files (also times, in cases named `times-…`, and the documents' bytes, in `bytes-…`); or that it fails |
//!
//! To ask BuildKit again, as root, with `buildctl` on PATH and a daemon that allows insecure steps
//! (`buildkitd --allow-insecure-entitlement security.insecure`): `GALLEY_BUILDKITD=unix:///run/buildkit/buildkitd.sock
//! cargo test -p galley e2e::oracle`. That writes every `expected.json`; `GALLEY_CASES=word` takes the cases with that
//! word in their names, in both uses. `make oracle` does all that with a daemon of its own. What each case shows is in
//! `tests/golden-rows.toml`. Cases about platforms name machines and are for amd64 alone. `GALLEY_GOLDEN` is the folder of
//! cases where the source tree cannot be read.

mod answer;
mod bases;
mod errors;
mod peers;
mod rows;
mod web;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use bases::Bases;
use fs_err as fs;
use galley_testkit::{ARCHITECTURE, FakeAgent};
use serde_json::Value;

use super::{Kitchen, by_chroot, one_id, succeeded};

/// What else is different where owners are told and not enforced, and why.
const DIFFERENT_WITH_ONE_ID: &[(&str, &str)] = &[
    ("run-mount-secret-user", "permissions are root's"),
    ("run-mount-user", "permissions are root's"),
    ("run-security-insecure", "there is always the filter of the supervisor"),
    ("run-security-insecure-user", "for the kernel the user is root, with its capabilities"),
    ("run-sees-limits", "for the kernel the user is root, with its capabilities"),
    ("workdir-file-owner-copy", "permissions are root's"),
];

const NO_PROC: &str = "it looks at /proc, which is empty";
const NO_APPLETS: &str = "the shell finds the programs that have no link by /proc/self/exe";
const NO_READ_ONLY: &str = "what is mounted read-only is a copy that can be written to; what is written goes";
const NO_HOST_NAME: &str = "the host name is the container's";
const NO_INSECURE: &str = "RUN --security=insecure is refused";

/// What else is different where nothing can be mounted, and why.
const DIFFERENT_BY_CHROOT: &[(&str, &str)] = &[
    ("add-git-keep", NO_APPLETS),
    ("heredoc-fds", NO_PROC),
    ("platform-cross", NO_APPLETS),
    ("platform-cross-variant", NO_APPLETS),
    ("platform-several", NO_APPLETS),
    ("run-add-host-hostname", NO_HOST_NAME),
    ("run-etc-hosts-own", "/etc/hosts is a file that can be removed, for this step"),
    ("run-hostname", NO_HOST_NAME),
    ("run-kill-itself", "a step is no first process of a namespace, which nothing inside may kill"),
    ("run-mount-bind", NO_READ_ONLY),
    ("run-mount-bind-discard", NO_READ_ONLY),
    ("run-mount-cache", NO_READ_ONLY),
    ("run-mount-cache-readonly", NO_READ_ONLY),
    ("run-mount-cache-readonly-user", NO_READ_ONLY),
    ("run-mount-expansion", NO_PROC),
    ("run-mount-keys", NO_PROC),
    ("run-mount-secret", NO_READ_ONLY),
    ("run-mount-tmpfs", NO_PROC),
    ("run-mount-tmpfs-readonly", NO_READ_ONLY),
    ("run-network-force-none", "it looks at /sys, which is empty"),
    ("run-network-none", "there are no sockets, so not even those that tell of interfaces"),
    ("run-security-insecure", NO_INSECURE),
    ("run-security-insecure-user", NO_INSECURE),
    ("run-security-sandbox", NO_PROC),
    ("run-sees-files", NO_PROC),
    ("run-sees-host", "host name and process numbers are the container's"),
    ("run-sees-limits", NO_PROC),
    ("run-sees-mount-flags", NO_PROC),
    ("run-sees-mounts", NO_PROC),
    ("run-sees-readonly", NO_READ_ONLY),
    ("run-shm-size", "/dev/shm is a directory, as large as its disk"),
    ("run-signals", NO_PROC),
    ("run-stdin", NO_PROC),
    ("run-ulimit", NO_PROC),
];

/// Where galley decides otherwise, and why: docs/compatibility.md.
const DIFFERENT: &[(&str, &str)] = &[
    ("add-git-submodules-left", "submodules have no .git that names a folder of the builder"),
    ("add-git-templates", "a kept .git has no templates, such as sample hooks"),
    ("run-mount-cache-source-file", "a cache is a directory"),
    ("add-wildcard-odd-name", "a name that a wildcard has found is no wildcard itself"),
    ("arg-flag", "ARG has no flags"),
    ("bad-mount-from-index", "a stage has its number in mounts as in COPY"),
    ("bad-stage-case", "a stage has one name in FROM and in COPY, in whatever case"),
    ("bad-target-index", "a stage has its number in --target as in COPY"),
    ("context-as-base-final", "the layer of a folder in FROM has a line of the history, its own"),
    ("context-named-from-context", "the files of a context as a base have their own item of history"),
    ("context-tar-escape", "an archive with names that climb out is refused"),
    ("copy-exclude-dangling", "a link that leads nowhere is copied with --exclude as without"),
    ("copy-flag-unicode", "the history has the letters of a flag, not their bytes one by one"),
    ("copy-identity-layers", "a COPY of what is there already has a layer with it, not an empty one"),
    (
        "copy-parents-dangling",
        "a link that leads nowhere is copied with --parents, in the first folder as in any",
    ),
    ("copy-parents-slashes", "slashes count once in --parents too"),
    ("copy-socket", "a socket is part of no context"),
    ("copy-wildcard-nothing-below", "a wildcard may find nothing in any folder"),
    ("expose-plus", "a port is a number, and an address is one"),
    ("onbuild-unknown", "a trigger that can never run is found where it is written"),
    ("platform-args-windows", "directories and PATH of images for Windows are written as for Linux"),
    ("run-chmod-only", "what a step does to the root directory is kept"),
    ("stopsignal-no-signal", "a signal that no machine has is an error"),
    ("times-context-root", "the folder that a whole context becomes has its time"),
    ("times-copy-stage", "equal layers are one, with the times of the first"),
    ("times-epoch-parents", "all that WORKDIR makes has one time"),
    ("user-comment", "a comment is no part of the user's name"),
    ("workdir-dots", "the folder before .. is not made"),
    ("xattr-archive", "extended attributes reach the image, not only capabilities"),
];

/// How many builds run at once.
const WORKERS: usize = 2;

/// One folder of `tests/golden`.
struct Case {
    name: String,
    folder: PathBuf,
    options: Vec<String>,
}

pub(super) fn golden() -> PathBuf {
    let compiled = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::env::var_os("GALLEY_GOLDEN").map_or_else(compiled, PathBuf::from)
}

fn cases() -> Vec<Case> {
    let wanted = std::env::var("GALLEY_CASES").unwrap_or_default();
    let mut cases = Vec::new();
    for entry in fs::read_dir(golden()).expect("tests/golden, or GALLEY_GOLDEN names its copy") {
        let entry = entry.unwrap();
        let (name, folder) = (entry.file_name().into_string().unwrap(), entry.path());
        let names_machine = name.contains("platform-") || name.starts_with("bytes-");
        if !name.contains(&wanted) || (names_machine && ARCHITECTURE != "amd64") {
            continue;
        }
        let script = fs::read_to_string(folder.join("context")).unwrap_or_default();
        // The owners in archives are those of the files that they are made of.
        let archives =
            folder.join("archive").exists() || (script.contains("tar ") && !script.contains("--owner"));
        let needs_root = archives || script.contains("chown") || script.contains("mknod");
        if needs_root && !rustix::process::geteuid().is_root() {
            continue;
        }
        let options = fs::read_to_string(folder.join("options")).unwrap_or_default();
        cases.push(Case { name, folder, options: options.lines().map(str::to_owned).collect() });
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

impl Case {
    fn expected(&self) -> PathBuf {
        self.folder.join("expected.json")
    }

    /// Makes the build context in `folder`.
    fn prepare(&self, bases: &Bases, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::copy(self.folder.join("Dockerfile"), folder.join("Dockerfile")).unwrap();
        web::rewrite(bases.web(), &folder.join("Dockerfile"));
        let script = self.folder.join("context");
        if script.exists() {
            let mut shell = Command::new("sh");
            shell.args(["-euc", "umask 022; . \"$0\""]).arg(script).current_dir(folder);
            succeeded(shell.output().unwrap());
        }
    }

    /// What the script `name` of the case writes, if there is one.
    fn written(&self, name: &str, folder: &Path) -> Option<Vec<u8>> {
        let script = self.folder.join(name);
        if !script.exists() {
            return None;
        }
        let mut shell = Command::new("sh");
        Some(succeeded(shell.args(["-eu"]).arg(script).current_dir(folder).output().unwrap()).stdout)
    }

    /// The address that is the context, if it is elsewhere.
    fn elsewhere(&self, bases: &Bases) -> Option<String> {
        let address = self.options.iter().find_map(|option| option.strip_prefix("CONTEXT="))?;
        Some(web::real(bases.web(), address))
    }

    /// The options that are flags or variables.
    fn flags(&self) -> impl Iterator<Item = &String> {
        self.options.iter().filter(|option| !option.starts_with("CONTEXT="))
    }

    /// Whether the times of files count.
    fn times(&self) -> bool {
        self.name.starts_with("times-")
    }

    /// Whether the documents of the image are the same byte for byte, but for what depends on how layers are compressed.
    fn bytes(&self) -> bool {
        self.name.starts_with("bytes-")
    }

    fn different(&self) -> bool {
        let with_one_id = if one_id() { DIFFERENT_WITH_ONE_ID } else { &[] };
        let rows = DIFFERENT.iter().chain(with_one_id);
        rows.chain(if by_chroot() { DIFFERENT_BY_CHROOT } else { &[] }).any(|(name, _)| *name == self.name)
    }
}

/// Calls `work` for each case, on several threads; what it returns is a fault.
fn each(cases: Vec<Case>, work: impl Fn(&Case) -> Option<String> + Sync) -> Vec<String> {
    let (queue, faults) = (Mutex::new(cases), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = { queue.lock().unwrap_or_else(PoisonError::into_inner).pop() } {
                    let fault = work(&case).map(|fault| format!("== {}\n{fault}", case.name));
                    faults.lock().unwrap_or_else(PoisonError::into_inner).extend(fault);
                }
            });
        }
    });
    faults.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What is in one answer and not in the other.
fn difference(expected: &Value, actual: &Value, log: &str) -> Option<String> {
    if expected == actual {
        return None;
    }
    let lines = |value: &Value| -> Vec<String> {
        serde_json::to_string_pretty(value)
            .unwrap()
            .lines()
            .map(|line| line.trim_end_matches(',').to_owned())
            .collect()
    };
    let (expected, actual) = (lines(expected), lines(actual));
    let missing =
        expected.iter().filter(|line| !actual.contains(line)).map(|line| format!("  buildkit {line}"));
    let extra =
        actual.iter().filter(|line| !expected.contains(line)).map(|line| format!("  galley   {line}"));
    let differences: Vec<_> = missing.chain(extra).collect();
    let order = if differences.is_empty() { "  the order differs" } else { "" };
    Some(format!("{}{order}\n{log}", differences.join("\n")))
}

#[test]
fn images_are_buildkits() {
    let Some(kitchen) = Kitchen::new() else { return };
    let bases = Bases::new(&kitchen);
    let _agent = FakeAgent::start(&peers::agent(&kitchen));
    let faults = match std::env::var("GALLEY_BUILDKITD") {
        Ok(address) => each(cases(), |case| {
            let answer = peers::buildkit(&kitchen, &bases, case, &address);
            fs::write(case.expected(), answer::shown(&answer)).unwrap();
            None
        }),
        Err(_) => each(cases(), |case| check(&kitchen, &bases, case)),
    };
    assert!(faults.is_empty(), "{} cases differ:\n{}", faults.len(), faults.join("\n"));
}

fn check(kitchen: &Kitchen, bases: &Bases, case: &Case) -> Option<String> {
    let expected = serde_json::from_slice(&fs::read(case.expected()).unwrap()).unwrap();
    let (answer, log) = peers::galley(kitchen, bases, case);
    let log = if answer["fails"].is_null() { String::new() } else { log };
    let difference = difference(&expected, &answer, &log);
    match (case.different(), difference) {
        (true, None) => Some("is BuildKit's answer now: take its row out of DIFFERENT".to_owned()),
        (true, Some(_)) => None,
        (false, difference) => difference,
    }
}
