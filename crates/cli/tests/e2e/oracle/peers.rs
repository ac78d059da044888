//! One case, built by galley and by BuildKit.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use fs_err as fs;
use serde_json::{Value, json};

use super::{
    super::{Kitchen, contexts::with_input, server, text},
    Case, answer,
    bases::{self, Bases},
    web,
};

/// Keeps the cache mounts of one case, and of one question to BuildKit, from those of another.
const MOUNT_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// Where an SSH agent listens.
pub(super) fn agent(kitchen: &Kitchen) -> PathBuf {
    kitchen.path("agent")
}

/// An option with the places of what listens for the cases.
fn real(kitchen: &Kitchen, bases: &Bases, option: &str) -> String {
    web::real(bases.web(), option).replace("@agent", &agent(kitchen).display().to_string())
}

/// What galley makes of the case, and what it says.
pub(super) fn galley(kitchen: &Kitchen, bases: &Bases, case: &Case) -> (Value, String) {
    let archive = kitchen.path(&format!("{}.tar", case.name));
    let output = run_galley(kitchen, bases, case, &archive);
    (answer(bases, case, output.status.success(), &archive), text(&output))
}

/// What galley writes on standard error.
pub(super) fn galley_says(kitchen: &Kitchen, bases: &Bases, case: &Case) -> String {
    let output = run_galley(kitchen, bases, case, &kitchen.path("none.tar"));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn run_galley(kitchen: &Kitchen, bases: &Bases, case: &Case, archive: &Path) -> Output {
    let folder = kitchen.path("cases").join(&case.name);
    case.prepare(bases, &folder);
    let mut command = kitchen.command(&["build", "--progress=plain"]);
    command.current_dir(&folder).arg("--output").arg(format!("type=oci,dest={}", archive.display()));
    if case.times() || case.bytes() {
        // An equal layer that an earlier case left would be used with its times.
        command.env("GALLEY_ROOT", kitchen.path(&format!("{}.store", case.name)));
    }
    command.arg("--build-arg").arg(format!("{MOUNT_NAMESPACE}={}", case.name));
    for name in bases::NAMES {
        let layout = format!("{name}=oci-layout://{}", bases.layout(name).display());
        command.arg("--build-context").arg(layout);
    }
    for option in case.flags() {
        let option = real(kitchen, bases, option);
        match option.strip_prefix("--") {
            Some(_) => command.args(option.splitn(2, ' ')),
            None => command.env("SOURCE_DATE_EPOCH", option.trim_start_matches("SOURCE_DATE_EPOCH=")),
        };
    }
    if let Some(archive) = case.written("archive", &folder) {
        return with_input(command.arg("-"), &archive);
    }
    let url = case.elsewhere(bases).or_else(|| case.written("url", &folder).map(server::serve));
    command.arg(url.unwrap_or_else(|| ".".to_owned())).output().unwrap()
}

/// What BuildKit makes of the case.
pub(super) fn buildkit(kitchen: &Kitchen, bases: &Bases, case: &Case, address: &str) -> Value {
    let archive = kitchen.path(&format!("{}.tar", case.name));
    let output = run_buildkit(kitchen, bases, case, address, &archive);
    let answer = answer(bases, case, output.status.success(), &archive);
    eprintln!(
        "== {}: {}",
        case.name,
        if output.status.success() { "built".to_owned() } else { text(&output) }
    );
    answer
}

/// What `buildctl` writes on standard error.
pub(super) fn buildkit_says(kitchen: &Kitchen, bases: &Bases, case: &Case, address: &str) -> String {
    let output = run_buildkit(kitchen, bases, case, address, &kitchen.path("none.tar"));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn run_buildkit(kitchen: &Kitchen, bases: &Bases, case: &Case, address: &str, archive: &Path) -> Output {
    let folder = kitchen.path("cases").join(&case.name);
    case.prepare(bases, &folder);
    let mut command = Command::new("buildctl");
    command.current_dir(&folder).args(["--addr", address, "build", "--frontend", "dockerfile.v0"]);
    // What it remembers of another case would answer: a step that would fail is found, a copy has that one's times.
    command.args(["--progress=plain", "--no-cache"]);
    let file = case.written("archive", &folder).or_else(|| case.written("url", &folder));
    match case.elsewhere(bases).or_else(|| file.map(server::serve)) {
        Some(url) => command.args(["--opt", &format!("context={url}")]),
        None => command.args(["--local", "context=.", "--local", "dockerfile=."]),
    };
    command.arg("--output").arg(format!("type=oci,dest={}", archive.display()));
    let unique = format!("build-arg:{MOUNT_NAMESPACE}={}", folder.display());
    command.args(["--opt", &unique]);
    for name in bases::NAMES {
        command.arg("--oci-layout").arg(format!("{name}={}", bases.layout(name).display()));
        let context = format!("context:{name}=oci-layout://{name}@{}", bases.digest(name));
        command.args(["--opt", &context]);
    }
    for option in case.flags() {
        command.args(translate(&real(kitchen, bases, option)));
    }
    for (flag, name) in [("--add-host ", "add-hosts"), ("--ulimit ", "ulimit")] {
        command.args(translate_list(&case.options, flag, name));
    }
    command.output().unwrap()
}

/// All flags of a name as the one list that buildctl takes.
fn translate_list(options: &[String], flag: &str, name: &str) -> Vec<String> {
    let with_equals = |text: &str| match text.contains('=') {
        true => text.to_owned(),
        false => text.replacen(':', "=", 1),
    };
    let given: Vec<String> =
        options.iter().filter_map(|option| option.strip_prefix(flag)).map(with_equals).collect();
    if given.is_empty() {
        Vec::new()
    } else {
        vec!["--opt".to_owned(), format!("{name}={}", given.join(","))]
    }
}

/// A flag of `galley build` as flags of `buildctl build`.
fn translate(option: &str) -> Vec<String> {
    let (flag, value) = option.split_once(' ').unwrap_or((option, ""));
    let opt = |text: String| vec!["--opt".to_owned(), text];
    match flag {
        "--build-arg" => opt(format!("build-arg:{value}")),
        "--label" => opt(format!("label:{value}")),
        "--platform" => opt(format!("platform={value}")),
        "--target" => opt(format!("target={value}")),
        "--file" => opt(format!("filename={value}")),
        "--secret" | "--ssh" | "--allow" => vec![flag.to_owned(), value.to_owned()],
        "--shm-size" => opt(format!("shm-size={value}")),
        "--network" => opt(format!("force-network-mode={value}")),
        "--add-host" | "--ulimit" => Vec::new(),
        "--build-context" => {
            let (name, folder) = value.split_once('=').expect("--build-context NAME=DIR");
            if folder.contains("://") {
                return opt(format!("context:{value}"));
            }
            // Not the name alone: `context` is the main one.
            let local = ["--local".to_owned(), format!("_{name}={folder}")];
            [&local[..], &opt(format!("context:{name}=local:_{name}"))].concat()
        }
        epoch if epoch.starts_with("SOURCE_DATE_EPOCH=") => opt(format!("build-arg:{epoch}")),
        other => panic!("no flag of buildctl is known for {other}"),
    }
}

fn answer(bases: &Bases, case: &Case, success: bool, archive: &Path) -> Value {
    if !success {
        return json!({"fails": true});
    }
    let bytes = fs::read(archive).unwrap();
    let mut answer = answer::of_archive(&bytes, bases, case.times());
    if case.bytes() {
        answer["documents"] = answer::documents(&bytes);
    }
    serde_json::from_str(&web::named(bases.web(), &answer.to_string())).unwrap()
}
