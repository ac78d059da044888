//! What builds leave behind besides their results: records, pages, traces, and why a step was executed.

use fs_err as fs;
use serde_json::Value;

use super::{Kitchen, succeeded, text};

const DOCKERFILE: &str = "FROM busybox AS make\nARG VERSION=1\nCOPY src /src\nRUN cat /src/* >/made; echo made it\n\
    FROM scratch\nCOPY --from=make /made /made\n";

fn kitchen() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    kitchen.env.write("src/one", "1");
    kitchen.env.write("src/two", "2");
    kitchen.dockerfile(DOCKERFILE);
    Some(kitchen)
}

/// What the store remembers, the newest build first: the ids.
fn remembered(kitchen: &Kitchen) -> Vec<String> {
    let listed = kitchen.galley(&["report", "--list"]);
    listed.lines().skip(1).map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// Why each step was executed, by the words of the step.
fn reasons(kitchen: &Kitchen, arguments: &[&str]) -> Vec<(String, Value)> {
    let output = succeeded(kitchen.build_command(arguments).output().unwrap());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let events: Vec<Value> = stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let planned = events.iter().rev().find(|event| event["event"] == "planned").unwrap();
    let name = |step: &Value| {
        let steps = planned["steps"].as_array().unwrap();
        let name = steps.iter().find(|known| known["id"] == *step).unwrap()["name"].as_str().unwrap();
        name.rsplit("] ").next().unwrap().to_owned()
    };
    let started = events.iter().filter(|event| event["event"] == "started");
    started.map(|event| (name(&event["step"]), event["why"].clone())).collect()
}

fn changed(why: &Value) -> Vec<&str> {
    assert_eq!(why["reason"], "changed", "{why}");
    why["parts"].as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect()
}

#[test]
fn the_last_build_that_did_something_has_a_page() {
    let Some(kitchen) = kitchen() else { return };
    let nothing = kitchen.command(&["report"]).output().unwrap();
    assert!(text(&nothing).contains("no build is remembered"), "{}", text(&nothing));
    kitchen.build(&["-t", "app", "."]);
    let written = kitchen.galley(&["report"]);
    assert!(written.trim_end().ends_with("/galley-report.html"), "{written}");
    let page = fs::read_to_string(written.trim_end()).unwrap();
    for expected in ["<h1>app:latest</h1>", "made it", "no earlier build", "<dt>Executed</dt><dd>3<"] {
        assert!(page.contains(expected), "{expected}\n{page}");
    }
    // A build that found everything leaves nothing behind.
    let first = remembered(&kitchen);
    assert_eq!(first.len(), 1);
    kitchen.build(&["-t", "app", "."]);
    assert_eq!(remembered(&kitchen), first);
    let of_noop = kitchen.path("noop.html");
    kitchen.build(&["-t", "app", "--report", of_noop.to_str().unwrap(), "."]);
    assert!(fs::read_to_string(of_noop).unwrap().contains("found in the store under its key"));
    assert_eq!(remembered(&kitchen), first);
    // By the beginning of its id, to standard output.
    let again = kitchen.galley(&["report", "-o", "-", &first[0][..6]]);
    assert!(again.contains("<h1>app:latest</h1>"));
    let unknown = kitchen.command(&["report", "zz"]).output().unwrap();
    assert!(text(&unknown).contains("no build zz is remembered"), "{}", text(&unknown));
}

#[test]
fn a_miss_is_explained() {
    let Some(kitchen) = kitchen() else { return };
    let all = reasons(&kitchen, &["."]);
    assert!(all.len() == 3 && all.iter().all(|(_, why)| why["reason"] == "first"), "{all:?}");
    kitchen.env.write("src/two", "22");
    let found = reasons(&kitchen, &["."]);
    assert_eq!(changed(&found[0].1), ["src of the build context"], "{found:?}");
    assert_eq!(changed(&found[1].1), ["the files below it"], "{found:?}");
    let page = kitchen.galley(&["report", "-o", "-"]);
    assert!(page.contains("changed</span> <code>/src/two</code>"), "{page}");
    assert!(!page.contains("<code>/src/one</code>"), "{page}");
    // An argument, whose value nobody sees.
    let found = reasons(&kitchen, &["--build-arg", "VERSION=hidden-7", "."]);
    assert_eq!((found.len(), changed(&found[0].1)), (1, vec!["variable VERSION"]));
    assert!(!kitchen.galley(&["report", "-o", "-"]).contains("hidden-7"));
    // The instruction, and what it was.
    kitchen.dockerfile(&DOCKERFILE.replace("echo made it", "echo again"));
    let found = reasons(&kitchen, &["--build-arg", "VERSION=hidden-7", "."]);
    assert_eq!(changed(&found[0].1), ["the instruction"]);
    assert!(found[0].1["before"].as_str().unwrap().contains("echo made it"), "{found:?}");
    // A new one, and --no-cache.
    kitchen.dockerfile(&DOCKERFILE.replace("FROM scratch", "RUN true\nFROM scratch"));
    let found = reasons(&kitchen, &["."]);
    assert_eq!((found[0].0.as_str(), &found[0].1["reason"]), ("RUN true", &"new".into()), "{found:?}");
    let found = reasons(&kitchen, &["--no-cache", "."]);
    assert!(found.iter().all(|(_, why)| why["reason"] == "no-cache"), "{found:?}");
    // What the store remembered is gone.
    fs::remove_dir_all(kitchen.env.store().join("records")).unwrap();
    fs::create_dir(kitchen.env.store().join("records")).unwrap();
    let found = reasons(&kitchen, &["."]);
    assert!(found.iter().all(|(_, why)| why["reason"] == "gone"), "{found:?}");
}

#[test]
fn only_so_many_builds_are_remembered() {
    let Some(kitchen) = kitchen() else { return };
    let builds = kitchen.env.store().join("builds");
    kitchen.build(&["."]);
    for number in 0..40 {
        fs::write(builds.join(format!("{number:016x}-0000000000000000-{number:012x}")), "{}\n").unwrap();
    }
    kitchen.env.write("src/two", "3");
    kitchen.build(&["."]);
    assert_eq!(fs::read_dir(&builds).unwrap().count(), 32);
    assert!(kitchen.galley(&["report", "-o", "-"]).contains("src of the build context"));
}

#[test]
fn a_build_that_failed_is_told_and_its_trace_written() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.dockerfile("FROM busybox\nRUN echo 'last words'; exit 3\n");
    let trace = kitchen.path("trace.json");
    let (code, said) = kitchen.build_fails(&["--trace", trace.to_str().unwrap(), "."]);
    assert_eq!(code, Some(1), "{said}");
    let trace: Value = serde_json::from_slice(&fs::read(trace).unwrap()).unwrap();
    let failed =
        trace["traceEvents"].as_array().unwrap().iter().find(|event| event["cat"] == "failed").unwrap();
    assert!(failed["args"]["error"].as_str().unwrap().contains("exit code: 3"), "{failed}");
    let page = kitchen.galley(&["report", "-o", "-"]);
    assert!(page.contains("last words") && page.contains("badge bad\">failed"), "{page}");
    assert!(kitchen.galley(&["report", "--list"]).contains("failed"));
}

#[test]
fn a_log_makes_the_same_page_and_trace() {
    let Some(kitchen) = kitchen() else { return };
    let output = succeeded(kitchen.build_command(&["-t", "app", "."]).output().unwrap());
    let log = kitchen.path("log");
    fs::write(&log, &output.stderr).unwrap();
    let from = kitchen.galley(&["report", "--from", log.to_str().unwrap(), "-o", "-"]);
    assert!(from.contains("<h1>app:latest</h1>") && from.contains("made it"), "{from}");
    let traced = kitchen.galley(&["report", "--from", log.to_str().unwrap(), "--trace", "-"]);
    let (own, traced): (Value, Value) = (
        serde_json::from_str(&kitchen.galley(&["report", "--trace", "-"])).unwrap(),
        serde_json::from_str(&traced).unwrap(),
    );
    let slices = |trace: &Value| trace["traceEvents"].as_array().unwrap().len();
    assert_eq!(slices(&own), slices(&traced));
    let empty = kitchen.command(&["report", "--from", "/dev/null"]).output().unwrap();
    assert!(text(&empty).contains("/dev/null tells of no build"), "{}", text(&empty));
    assert_eq!(empty.status.code(), Some(5));
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_the_build() {
    let Some(kitchen) = kitchen() else { return };
    for flag in ["--trace", "--report"] {
        let (code, said) = kitchen.build_fails(&[flag, "/nowhere/file", "."]);
        assert_eq!(code, Some(125), "{said}");
        assert!(said.contains("cannot write /nowhere/file"), "{said}");
        assert!(said.contains("help: make the folder /nowhere first"), "{said}");
    }
    assert!(remembered(&kitchen).is_empty(), "nothing was executed");
    let (_, said) = kitchen.build_fails(&["--trace", "-", "--report", "-", "."]);
    assert!(said.contains("only one thing can go to standard output"), "{said}");
    // A disk that is full when all is done: the image is there, and the error is told.
    let (_, said) = kitchen.build_fails(&["-t", "kept", "--trace", "/dev/full", "."]);
    assert!(said.contains("cannot write /dev/full"), "{said}");
    assert!(kitchen.galley(&["images"]).contains("kept"));
}

#[test]
fn secrets_are_in_nothing_that_is_left_behind() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.dockerfile("FROM busybox\nRUN --mount=type=secret,id=word,env=WORD test -n \"$WORD\"\n");
    let secret = kitchen.path("secret");
    fs::write(&secret, "swordfish-19").unwrap();
    let (page, trace) = (kitchen.path("page.html"), kitchen.path("trace.json"));
    let source = format!("id=word,src={}", secret.display());
    let mut build = kitchen.build_command(&["--secret", &source]);
    build.arg("--report").arg(&page).arg("--trace").arg(&trace).arg(".");
    let output = succeeded(build.output().unwrap());
    let mut left = vec![output.stderr, fs::read(page).unwrap(), fs::read(trace).unwrap()];
    for folder in ["builds", "records"] {
        let files = fs::read_dir(kitchen.env.store().join(folder)).unwrap();
        left.extend(files.map(|file| fs::read(file.unwrap().path()).unwrap()));
    }
    assert!(left.len() >= 5);
    assert!(!left.iter().any(|text| String::from_utf8_lossy(text).contains("swordfish-19")));
}
