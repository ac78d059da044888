//! `--check` and `--call` beside BuildKit's: each folder of `tests/golden-check` is one question, with BuildKit's answer.
//!
//! | file | what |
//! |---|---|
//! | `Dockerfile` | `FROM rich` is an image with a value in every field of its config |
//! | `dockerignore` | the context's `.dockerignore`; there is nothing else in the context |
//! | `options` | one flag of `galley build` on each line; without `--call …` it is a check |
//! | `expected.json` | findings as rule and lines, sorted, and the lines of the error that ends the check, or the outline, or the targets |
//!
//! Texts are galley's own and are not compared. Own rules are left out. To ask BuildKit again, with `docker-buildx` on
//! PATH: `GALLEY_BUILDKITD=unix:///run/buildkit/buildkitd.sock cargo test -p galley e2e::questions`; `GALLEY_CASES=word`
//! takes the cases with that word in their names.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use fs_err as fs;
use galley_testkit::{TestEnv, write_layout};
use serde_json::{Value, json};

use super::{program, text};

/// Where galley decides otherwise, and why: docs/compatibility.md.
const DIFFERENT: [(&str, &str); 6] = [
    ("error-escape", "the lines of directives count from 1"),
    ("error-heredoc-later", "of several errors the first one in the text is told"),
    ("error-stage-name", "a stage's name that is not valid is an error and nothing else"),
    ("error-unset", "a variable that stops the build is told once"),
    ("stages-target-number", "a stage has its number in --target as in COPY"),
    ("workdir-relative-onbuild", "triggers are looked at in every stage that has them"),
];

struct Case {
    name: String,
    folder: PathBuf,
    options: Vec<String>,
}

fn cases() -> Vec<Case> {
    let golden = super::oracle::golden().with_file_name("golden-check");
    let wanted = std::env::var("GALLEY_CASES").unwrap_or_default();
    let entries = fs::read_dir(golden).expect("tests/golden-check").map(|entry| entry.unwrap());
    let mut cases: Vec<Case> = entries
        .map(|entry| {
            let folder = entry.path();
            let options = fs::read_to_string(folder.join("options")).unwrap_or_default();
            Case {
                name: entry.file_name().into_string().unwrap(),
                folder,
                options: options.lines().map(str::to_owned).collect(),
            }
        })
        .filter(|case| case.name.contains(&wanted))
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

impl Case {
    /// The context, in a folder of its own.
    fn prepare(&self, env: &TestEnv) -> PathBuf {
        let folder = env.path().join("questions").join(&self.name);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(self.folder.join("Dockerfile"), folder.join("Dockerfile")).unwrap();
        if self.folder.join("dockerignore").exists() {
            fs::copy(self.folder.join("dockerignore"), folder.join(".dockerignore")).unwrap();
        }
        folder
    }

    /// The same arguments for both builders.
    fn ask(&self, mut command: Command, env: &TestEnv) -> Output {
        let rich = format!("rich=oci-layout://{}:latest", env.path().join("rich").display());
        command.current_dir(self.prepare(env)).args(["--build-context", &rich]);
        let mut method = "check";
        for option in &self.options {
            match option.split_once(' ') {
                Some(("--call", other)) => method = other,
                Some((flag, value)) => drop(command.args([flag, value])),
                None => drop(command.arg(option)),
            }
        }
        command.arg(format!("--call={method},format=json")).arg(".").output().unwrap()
    }
}

/// An answer without texts that each has of its own.
fn normalised(output: &Output) -> Value {
    let Ok(answer) = serde_json::from_slice::<Value>(&output.stdout) else {
        return json!({"fails": true});
    };
    if answer.get("warnings").is_some() {
        return findings(&answer);
    }
    let mut answer = lines_instead_of_locations(&answer);
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("sources");
    }
    if let Some(args) = answer.get_mut("args").and_then(Value::as_array_mut) {
        // BuildKit has those of one line in no order.
        args.sort_by_key(|arg| (arg["location"][0].as_u64(), arg["name"].to_string()));
    }
    answer
}

fn findings(answer: &Value) -> Value {
    // Own rules have no page of Docker's.
    let docker =
        |warning: &&Value| warning["url"].is_string() || warning["ruleName"] == "InvalidBaseImagePlatform";
    let warnings = answer["warnings"].as_array().cloned().unwrap_or_default();
    let finding = |warning: &Value| {
        let (first, last) = lines(&warning["location"]).unwrap_or_default();
        (first, last, warning["ruleName"].as_str().unwrap_or_default().to_owned())
    };
    let mut found: Vec<_> = warnings.iter().filter(docker).map(finding).collect();
    found.sort();
    let found: Vec<String> =
        found.into_iter().map(|(first, last, rule)| format!("{first}-{last} {rule}")).collect();
    let error = answer.get("buildError").map(|error| match lines(&error["location"]) {
        Some((first, last)) => json!([first, last]),
        None => json!(true),
    });
    json!({"findings": found, "error": error})
}

fn lines(location: &Value) -> Option<(u64, u64)> {
    let ranges = location["ranges"].as_array()?;
    let line = |range: &Value, end: &str| range[end]["line"].as_u64().unwrap_or_default();
    let first = ranges.iter().map(|range| line(range, "start")).min()?;
    Some((first, ranges.iter().map(|range| line(range, "end")).max()?.max(first)))
}

fn lines_instead_of_locations(value: &Value) -> Value {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| match lines(value).filter(|_| key == "location") {
                Some((first, last)) => (key.clone(), json!([first, last])),
                None => (key.clone(), lines_instead_of_locations(value)),
            })
            .collect(),
        Value::Array(array) => array.iter().map(lines_instead_of_locations).collect(),
        other => other.clone(),
    }
}

/// An error is marked at a word, BuildKit marks the whole instruction: the word has to be in it.
fn is_same(expected: &Value, actual: &Value) -> bool {
    let line = |value: &Value, at: usize| value["error"][at].as_u64();
    let is_inside = match (line(expected, 0), line(expected, 1), line(actual, 0)) {
        (Some(first), Some(last), Some(line)) => (first..=last).contains(&line),
        _ => expected["error"].is_null() == actual["error"].is_null(),
    };
    let without = |value: &Value| {
        let mut value = value.clone();
        value.as_object_mut().map(|object| object.remove("error"));
        value
    };
    is_inside && without(expected) == without(actual)
}

fn rich(env: &TestEnv) {
    let config = json!({
        "User": "nobody",
        "Env": ["PATH=/bin", "COLOR=red", "EMPTY="],
        "WorkingDir": "/not/there",
        "Shell": ["/bin/sh", "-e", "-c"],
    });
    write_layout(&env.path().join("rich"), "latest", &[], &config);
}

fn galley(env: &TestEnv, case: &Case) -> Option<String> {
    let expected: Value =
        serde_json::from_slice(&fs::read(case.folder.join("expected.json")).unwrap()).unwrap();
    let mut command = env.command(program());
    command.args(["build", "--offline"]);
    let output = case.ask(command, env);
    let actual = normalised(&output);
    let is_different = DIFFERENT.iter().any(|(name, _)| *name == case.name);
    match (is_same(&expected, &actual), is_different) {
        (true, false) | (false, true) => None,
        (true, true) => Some(format!("== {}: take it out of DIFFERENT", case.name)),
        (false, false) => Some(format!(
            "== {}\n{}\n  buildkit {expected}\n  galley   {actual}\n{}",
            case.name,
            fs::read_to_string(case.folder.join("Dockerfile")).unwrap(),
            if expected == json!({"fails": true}) || actual == json!({"fails": true}) {
                text(&output)
            } else {
                String::from_utf8_lossy(&output.stderr).into_owned()
            },
        )),
    }
}

/// Asks BuildKit through buildx, which has settings of its own.
fn buildkit(env: &TestEnv, cases: &[Case], address: &str) {
    let settings = env.path().join("buildx");
    let buildx = || {
        let mut command = Command::new("docker-buildx");
        command.env("BUILDX_CONFIG", &settings).env("HOME", env.path());
        command
    };
    let created = buildx().args(["create", "--name=golden", "--driver=remote", address]).output().unwrap();
    assert!(created.status.success(), "{}", text(&created));
    for case in cases {
        let mut command = buildx();
        command.args(["build", "--builder=golden", "--progress=quiet"]);
        let output = case.ask(command, env);
        let answer = normalised(&output);
        eprintln!("== {}: {answer}", case.name);
        if answer == json!({"fails": true}) {
            eprintln!("{}", text(&output));
        }
        let shown = serde_json::to_string_pretty(&answer).unwrap() + "\n";
        fs::write(case.folder.join("expected.json"), shown).unwrap();
    }
}

#[test]
fn answers_are_buildkits() {
    let env = TestEnv::new();
    rich(&env);
    let cases = cases();
    if let Ok(address) = std::env::var("GALLEY_BUILDKITD") {
        return buildkit(&env, &cases, &address);
    }
    let faults: Vec<String> = cases.iter().filter_map(|case| galley(&env, case)).collect();
    assert!(faults.is_empty(), "{} of {} answers differ:\n{}", faults.len(), cases.len(), faults.join("\n"));
}
