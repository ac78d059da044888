//! kill -9 at every named point: nothing half-visible, nothing left running, and the next build equals the clean one.

use std::{
    os::unix::process::ExitStatusExt,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use fs_err as fs;

use super::Kitchen;

const DOCKERFILE: &str = "FROM busybox\nCOPY f /f\nRUN cat /f > /g\nRUN echo end > /h\n";

fn kitchen() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    kitchen.dockerfile(DOCKERFILE);
    kitchen.env.write("f", "content");
    kitchen.env.write(".dockerignore", "out*\n");
    Some(kitchen)
}

fn build_and_digest(kitchen: &Kitchen) -> Vec<u8> {
    kitchen.build(&["--reproducible", "-t", "x", "-o", "type=image", "-o", "type=oci,dest=out.tar", "."]);
    fs::read(kitchen.env.work().join("out.tar")).unwrap()
}

#[test]
fn killed_at_any_named_point_the_next_build_equals_the_clean_one() {
    let Some(clean) = kitchen() else { return };
    let expected = build_and_digest(&clean);
    for point in ["layer-rename", "record-rename", "image", "tag", "barrier", "export"] {
        let Some(kitchen) = kitchen() else { return };
        let arguments = ["--reproducible", "-t", "x", "-o", "type=image", "-o", "type=oci,dest=out.tar", "."];
        let output = kitchen.build_command(&arguments).env("GALLEY_FAILPOINT", point).output().unwrap();
        // An ordinary user's build runs below the process that was started, which passes the signal on as 128 + 9.
        let killed = (output.status.signal(), output.status.code());
        assert!(
            matches!(killed, (Some(9), _) | (_, Some(137))),
            "not killed at {point}: {}",
            super::text(&output)
        );
        assert!(!kitchen.env.work().join("out.tar").exists(), "half an output after {point}");
        wait_for("the end of galley's helpers", || leftovers(&kitchen).is_empty());
        super::keep::assert_sound(&kitchen, point);
        assert!(build_and_digest(&kitchen) == expected, "another image after a kill at {point}");
    }
}

#[test]
fn killed_while_a_step_runs_nothing_stays_behind() {
    let Some(kitchen) = kitchen() else { return };
    let (sleep, seen) = own_sleep(1);
    kitchen.dockerfile(&format!("FROM busybox\nRUN echo started > /started; {sleep}; true\n"));
    let mut child = kitchen.build_command(&["-t", "x", "."]).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the step", || !processes(&seen).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the end of the step", || processes(&seen).is_empty());
    wait_for("the end of galley's helpers", || leftovers(&kitchen).is_empty());
    kitchen.dockerfile(DOCKERFILE);
    kitchen.build(&["-t", "x", "."]);
    assert_eq!(
        fs::read_dir(kitchen.env.store().join("tmp")).unwrap().count(),
        0,
        "temporary files were not swept"
    );
}

#[test]
fn ctrl_c_ends_the_whole_process_tree() {
    let Some(kitchen) = kitchen() else { return };
    let (sleep, seen) = own_sleep(2);
    kitchen.dockerfile(&format!(
        "FROM busybox\nRUN (trap '' INT TERM; {sleep}) & trap '' INT TERM; {sleep}; true\n"
    ));
    let child = kitchen.build_command(&["-t", "x", "."]).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the step", || processes(&seen).len() >= 2);
    let pid = child.id().to_string();
    kitchen.env.run("kill", &["-INT", &pid]);
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", super::text(&output));
    // The step would sleep for years.
    assert!(start.elapsed() < Duration::from_secs(20), "it took {:?}", start.elapsed());
    wait_for("the end of the step", || processes(&seen).is_empty());
    wait_for("the end of galley's helpers", || leftovers(&kitchen).is_empty());
}

/// A long sleep that no other test and no other run of the tests has, and how its command line looks in /proc.
pub(super) fn own_sleep(test: u32) -> (String, String) {
    let seconds = test * 100_000_000 + std::process::id();
    (format!("sleep {seconds}"), format!("sleep\u{0}{seconds}"))
}

pub(super) fn wait_for(what: &str, done: impl Fn() -> bool) {
    assert!(comes(done), "waited 120 s for {what}");
}

/// Whether it comes within the time that a slow machine needs.
pub(super) fn comes(done: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > Duration::from_secs(120) {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

/// Command lines (with NUL between words) that hold `text`.
fn processes(text: &str) -> Vec<String> {
    let numbers = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let command_lines = numbers.filter_map(|path| fs::read(path.join("cmdline")).ok());
    let lines = command_lines.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    lines.filter(|line| line.contains(text)).collect()
}

/// Mounts and processes that know the test's store.
fn leftovers(kitchen: &Kitchen) -> Vec<String> {
    let store = kitchen.env.store().display().to_string();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut left: Vec<String> =
        mounts.lines().filter(|line| line.contains(&store)).map(str::to_owned).collect();
    left.extend(processes(&store));
    left
}
