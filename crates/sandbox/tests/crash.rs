//! Nothing outlives galley.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use galley_sandbox::Spawner;
use galley_sandbox::net::NetNs;

use crate::fixture::{Kitchen, await_gone, descendants, leaked_mounts, processes_with, spawner, start};
use crate::gate::start_held;

crate::tests![
    privileged_kill_nine_leaves_nothing,
    privileged_death_of_the_helper_is_noticed,
    privileged_dropping_ends_everything,
];

/// Set for the copy of this program that is to be killed.
const VICTIM: &str = "GALLEY_TEST_VICTIM";
/// Arguments of the steps, to find them in the list of processes: seconds to sleep.
const STEP: &str = "86397";

/// The victim: two steps, pasta, and a step that waits for a socket, then it waits for its end.
pub(crate) fn run_victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let kitchens = [Kitchen::new(), Kitchen::new()];
    // Ignoring signals and starting sessions of their own does not help them.
    let script =
        format!("trap '' TERM HUP INT; setsid sleep {STEP} & setsid sleep {STEP} & sleep {STEP}; true");
    let steps: Vec<_> = kitchens.iter().map(|kitchen| start(&kitchen.shell(&script)).unwrap()).collect();
    let network = NetNs::connected(spawner()).unwrap();
    let third = Kitchen::new();
    {
        let (child, gate, _) = start_held(&network, third.shell("nc 127.0.0.1 1"));
        let (asks, asked) = std::sync::mpsc::channel();
        let never = move || {
            asks.send(()).unwrap();
            std::thread::sleep(Duration::MAX);
            true
        };
        std::thread::spawn(move || gate.keep(&child, never));
        asked.recv().unwrap();
    }
    while processes_with(STEP) < 8 {
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("ready");
    steps[0].0.wait().unwrap();
}

fn victim() -> (Child, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut victim = command.env(VICTIM, "1").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(victim.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (victim, line)
}

fn privileged_kill_nine_leaves_nothing() {
    let (mut victim, line) = victim();
    assert_eq!(line, "ready\n");
    let family = descendants(victim.id());
    assert!(family.len() >= 9, "the helper process, eight processes of the steps: {family:?}");
    victim.kill().unwrap();
    victim.wait().unwrap();
    await_gone(&family);
    assert!(leaked_mounts().is_empty());
}

fn helpers() -> Vec<u32> {
    let own = descendants(std::process::id());
    own.into_iter().filter(|(_, command)| command.contains("__galley-zygote")).map(|(pid, _)| pid).collect()
}

fn privileged_death_of_the_helper_is_noticed() {
    let before = helpers();
    let own = Spawner::start().unwrap();
    let kitchen = Kitchen::new();
    let spec = kitchen.spec(&["sleep", "86396"]);
    let child = own.spawn(&spec, galley_sandbox::Handles::default()).unwrap();
    // A supervisor, which it forks, has its name.
    let helper = helpers().into_iter().filter(|pid| !before.contains(pid)).min().unwrap();
    let family = descendants(helper);
    // The supervisor is beside the sandbox, where there has to be one.
    assert_eq!(family.len(), if galley_sandbox::userns::has_one_id() { 2 } else { 1 });
    let helper = rustix::process::Pid::from_raw(helper as i32).unwrap();
    rustix::process::kill_process(helper, rustix::process::Signal::KILL).unwrap();
    let error = child.wait().unwrap_err();
    assert!(error.to_string().starts_with("lost the sandbox helper"), "{error}");
    await_gone(&family);
    assert!(own.spawn(&spec, galley_sandbox::Handles::default()).is_err());
}

fn privileged_dropping_ends_everything() {
    let own = Spawner::start().unwrap();
    let (one, two) = (Kitchen::new(), Kitchen::new());
    let handles = galley_sandbox::Handles::default();
    let child = own.spawn(&one.spec(&["sleep", "86395"]), handles).unwrap();
    let pid = child.id().unwrap();
    drop(child);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "a child dies with its value");
    let child = own.spawn(&two.spec(&["sleep", "86395"]), handles).unwrap();
    drop(own);
    assert_eq!(child.id(), None, "and with its spawner");
}
