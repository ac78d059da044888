//! Sandboxes where nothing can be mounted: a chroot, and a guard that ends what it leaves.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use galley_sandbox::probe::{Rung, remembered, trial};
use galley_sandbox::userns::in_user_namespace;
use galley_sandbox::{Child, Error, Exit, Handles, Network, Root, Spawner, Spec, TtySize, User};

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{Kitchen, await_descendant, await_gone, descendants, parent, processes_with};

crate::tests![
    privileged_programs_run_in_another_root,
    privileged_no_network_is_no_sockets,
    privileged_nothing_is_left_of_a_step,
    privileged_further_programs_run_and_end_with_the_first,
    privileged_a_terminal_and_a_first_process,
    privileged_nothing_is_left_when_the_helper_is_gone,
    privileged_nothing_is_left_when_a_guard_is_gone,
    privileged_a_lock_is_held_until_nothing_is_left,
    privileged_the_lowest_rung_is_found_by_trial,
    privileged_what_is_another_users_ends_without_the_right_to_kill,
];

/// Set for the copy of this program that has lost the right to mount.
const POD: &str = "GALLEY_TEST_POD";

/// What an ordinary container may do, as setpriv has it.
const RIGHTS: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+net_bind_service,+net_raw,\
                      +sys_chroot,+mknod,+audit_write,+setfcap";

/// Set for the copy of this program that has lost the right to kill what is another user's.
const WEAK: &str = "GALLEY_TEST_WEAK";

/// Set for the copy of this program that is killed while it holds a lock: on this file.
const LOCKED: &str = "GALLEY_TEST_LOCKED";

pub(crate) fn enter() -> Option<ExitCode> {
    if let Some(path) = std::env::var_os(LOCKED) {
        let file = fs_err::File::open(Path::new(&path)).unwrap();
        rustix::fs::flock(&file, FlockOperation::LockExclusive).unwrap();
        let kitchen = Kitchen::new();
        let spawner = Spawner::start_chroot().unwrap();
        spawner.keep_open(file.as_fd()).unwrap();
        let _running = start(&spawner, &spec(&kitchen, "exec sleep 9234567"));
        println!("{}", kitchen.dir.keep().display());
        sleep(Duration::from_secs(600));
    }
    if std::env::var_os(WEAK).is_some() {
        let kitchen = Kitchen::new();
        let spawner = Spawner::start_chroot().unwrap();
        let mut spec = spec(&kitchen, "sleep 7234567 & echo left");
        spec.user = User { uid: 7, gid: 8, groups: Vec::new() };
        assert_eq!(output(&spawner, &spec), "left\n");
        assert_eq!(processes_with("7234567"), 0);
        return Some(ExitCode::SUCCESS);
    }
    std::env::var_os(POD)?;
    let folder = tempfile::tempdir().unwrap();
    let trial = trial(folder.path()).unwrap();
    assert_eq!(trial.rung, Some(Rung::Chroot), "{trial:?}");
    assert_eq!(remembered(folder.path()), None);
    let kitchen = Kitchen::new();
    let spawner = Spawner::start_chroot().unwrap();
    // A copy of the program would take time and memory, and protect nothing here.
    let own = fs_err::read_link("/proc/self/exe").unwrap();
    for (pid, _) in descendants(std::process::id()) {
        assert_eq!(fs_err::read_link(format!("/proc/{pid}/exe")).unwrap(), own);
    }
    print!("{}", output(&spawner, &spec(&kitchen, "id -u; echo works")));
    Some(ExitCode::SUCCESS)
}

fn spec(kitchen: &Kitchen, script: &str) -> Spec {
    let root = Root::Directory(kitchen.path("base"));
    fs_err::create_dir_all(kitchen.path("base/dev")).unwrap();
    // What runs in the background reads from it.
    fs_err::write(kitchen.path("base/dev/null"), "").unwrap();
    let args = ["/bin/sh", "-c", script].map(OsString::from).to_vec();
    Spec { network: Network::Host, env: vec!["PATH=/bin".into()], ..Spec::new(root, args) }
}

fn start(spawner: &Spawner, spec: &Spec) -> (Child, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let output = Some(writer.as_fd());
    let handles = Handles { stdout: output, stderr: output, ..Handles::default() };
    (spawner.spawn(spec, handles).unwrap(), reader)
}

fn output(spawner: &Spawner, spec: &Spec) -> String {
    let (child, mut reader) = start(spawner, spec);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let outcome = child.wait().unwrap();
    assert!(outcome.exit.success(), "{outcome:?}: {text}");
    text
}

fn privileged_programs_run_in_another_root() {
    if galley_sandbox::userns::has_one_id() {
        // This rung has no supervisor.
        return;
    }
    let kitchen = Kitchen::new();
    let spawner = Spawner::start_chroot().unwrap();
    let mut spec = spec(&kitchen, "id -u; id -g; ls /; exit 3");
    spec.user = User { uid: 7, gid: 8, groups: Vec::new() };
    spec.cwd = "/etc".into();
    let (child, mut reader) = start(&spawner, &spec);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!((child.wait().unwrap().exit, text.as_str()), (Exit::Code(3), "7\n8\nbin\ndev\netc\ntmp\n"));
    spec.args = vec!["/none".into()];
    assert!(matches!(spawner.spawn(&spec, Handles::default()), Err(Error::Exec(_))));
}

fn privileged_no_network_is_no_sockets() {
    if galley_sandbox::userns::has_one_id() {
        // This rung has no supervisor.
        return;
    }
    let kitchen = Kitchen::new();
    let spawner = Spawner::start_chroot().unwrap();
    let script = "busybox wget -qO- http://127.0.0.1:9/ 2>&1 | cat";
    let mut spec = spec(&kitchen, script);
    // Nobody listens there.
    assert!(!output(&spawner, &spec).contains("not supported"));
    spec.network = Network::None;
    assert!(output(&spawner, &spec).contains("Address family not supported"));
    let namespace = fs_err::File::open("/proc/self/ns/net").unwrap();
    spec.network = Network::Shared;
    let handles = Handles { netns: Some(namespace.as_fd()), ..Handles::default() };
    assert!(matches!(spawner.spawn(&spec, handles), Err(Error::Setup(_))));
}

/// Leaves processes behind in every way: in the background, in sessions of their own, below one that is gone.
fn leaves(marker: &str) -> String {
    format!(
        "sleep {marker} & setsid sleep {marker} & (setsid sh -c 'sleep {marker} & sleep {marker}') & \
         sh -c 'sh -c \"sleep {marker} &\" &'; sleep 0.2; echo left"
    )
}

fn privileged_nothing_is_left_of_a_step() {
    if galley_sandbox::userns::has_one_id() {
        // This rung has no supervisor.
        return;
    }
    let kitchen = Kitchen::new();
    let spawner = Spawner::start_chroot().unwrap();
    let (other, _reader) = start(&spawner, &spec(&kitchen, "sleep 7654321"));
    assert_eq!(output(&spawner, &spec(&kitchen, &leaves("3234567"))), "left\n");
    assert_eq!(processes_with("3234567"), 0);
    assert_ne!(processes_with("7654321"), 0);
    assert_eq!(other.kill_tree().unwrap().exit, Exit::Signal(9));
    assert_eq!(processes_with("7654321"), 0);
}

fn privileged_further_programs_run_and_end_with_the_first() {
    if galley_sandbox::userns::has_one_id() {
        // This rung has no supervisor.
        return;
    }
    let kitchen = Kitchen::new();
    let spawner = Spawner::start_chroot().unwrap();
    let (first, _reader) = start(&spawner, &spec(&kitchen, "sleep 8234567"));
    let join = |script: &str| {
        let (reader, writer) = std::io::pipe().unwrap();
        let handles = Handles { stdout: Some(writer.as_fd()), ..Handles::default() };
        (spawner.join(&first, &spec(&kitchen, script), handles).unwrap(), reader)
    };
    let (asked, mut reader) = join("cd /; ls -d etc; (setsid sleep 8234567 &); exit 4");
    let mut text = [0; 4];
    reader.read_exact(&mut text).unwrap();
    assert_eq!((asked.wait().unwrap().exit, &text), (Exit::Code(4), b"etc\n"));
    let missing = Spec { args: vec!["/none".into()], ..spec(&kitchen, "") };
    assert!(matches!(spawner.join(&first, &missing, Handles::default()), Err(Error::Exec(_))));
    // What a further program left behind, and one that still runs, end with the first.
    let (running, _reader) = join("exec sleep 8234567");
    assert!(processes_with("8234567") >= 3);
    let listed = galley_sandbox::processes::inside(first.id().unwrap());
    let sleeping = listed.iter().filter(|one| one.command.contains("sleep 8234567")).count();
    assert_eq!(sleeping, processes_with("8234567"), "{listed:?}");
    assert!(listed.iter().all(|one| one.command.contains("8234567")), "{listed:?}");
    assert_eq!(first.kill_tree().unwrap().exit, Exit::Signal(9));
    assert_eq!(processes_with("8234567"), 0);
    assert_eq!(running.wait().unwrap().exit, Exit::Signal(9));
    assert!(spawner.join(&first, &spec(&kitchen, "true"), Handles::default()).is_err());
}

fn privileged_a_terminal_and_a_first_process() {
    if galley_sandbox::userns::has_one_id() {
        // This rung has no supervisor.
        return;
    }
    let kitchen = Kitchen::new();
    let spawner = Spawner::start_chroot().unwrap();
    let mut spec = spec(&kitchen, "test -t 0 && test -t 2 && echo terminal; stty size; read word; exit 6");
    (spec.tty, spec.init) = (Some(TtySize { rows: 11, cols: 22 }), true);
    let mut child = spawner.spawn(&spec, Handles::default()).unwrap();
    let pty = child.take_pty().unwrap();
    let (mut said, mut buffer) = (Vec::new(), [0; 100]);
    while !said.ends_with(b"11 22\r\n") {
        let count = pty.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&buffer[..count]);
    }
    assert!(said.starts_with(b"terminal\r\n"));
    pty.write(b"x\n").unwrap();
    assert_eq!(child.wait().unwrap().exit, Exit::Code(6));
    // The first process passes signals on.
    spec.args = ["/bin/sh", "-c", "trap 'exit 7' USR1; echo on; while :; do sleep 0.05; done"]
        .map(OsString::from)
        .to_vec();
    spec.tty = None;
    let (child, mut reader) = start(&spawner, &spec);
    reader.read_exact(&mut [0; 3]).unwrap();
    child.signal(10).unwrap();
    assert_eq!(child.wait().unwrap().exit, Exit::Code(7));
}

fn privileged_nothing_is_left_when_the_helper_is_gone() {
    if galley_sandbox::userns::has_one_id() {
        // This rung has no supervisor.
        return;
    }
    let kitchen = Kitchen::new();
    let spawner = Spawner::start_chroot().unwrap();
    let (child, mut reader) =
        start(&spawner, &spec(&kitchen, &format!("{}; sleep 4234567", leaves("4234567"))));
    let mut text = [0; 5];
    reader.read_exact(&mut text).unwrap();
    // What was started in the background may take a while to be there.
    let sleeping = |(_, command): &(u32, String)| command.contains("sleep\x004234567");
    let left = loop {
        let left: Vec<_> = descendants(std::process::id()).into_iter().filter(sleeping).collect();
        if left.len() >= 5 {
            break left;
        }
        sleep(Duration::from_millis(5));
    };
    drop(spawner);
    await_gone(&left);
    drop(child);
}

/// A chain of processes, each of which starts the next one and ends: what is found below the guard is soon something else.
fn privileged_nothing_is_left_when_a_guard_is_gone() {
    if galley_sandbox::userns::has_one_id() {
        // This rung has no supervisor.
        return;
    }
    let kitchen = Kitchen::new();
    let spawner = Spawner::start_chroot().unwrap();
    let (stdin, mut go) = std::io::pipe().unwrap();
    let script = "chain() { (chain 5234567 &); }; chain; chain; read go; kill -9 $PPID; sleep 5234567";
    let handles = Handles { stdin: Some(stdin.as_fd()), ..Handles::default() };
    let child = spawner.spawn(&spec(&kitchen, script), handles).unwrap();
    // The second guard is made by the helper process while the first is there, and outlives it.
    let (other, _reader) = start(&spawner, &spec(&kitchen, "sleep 6234567"));
    go.write_all(b"go\n").unwrap();
    assert_eq!(child.wait().unwrap().exit, Exit::Signal(9));
    let start = Instant::now();
    while processes_with("5234567") > 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "{} still run", processes_with("5234567"));
        sleep(Duration::from_millis(20));
    }
    assert_ne!(processes_with("6234567"), 0);
    drop(other);
}

/// What a step uses belongs to it until it has ended, also when whoever started it was killed before.
fn privileged_a_lock_is_held_until_nothing_is_left() {
    if galley_sandbox::userns::has_one_id() {
        // This rung has no supervisor.
        return;
    }
    let lock = tempfile::NamedTempFile::new().unwrap();
    let is_free = || {
        let file = fs_err::File::open(lock.path()).unwrap();
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
    };
    for helper_too in [false, true] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(LOCKED, lock.path()).current_dir(Path::new("/")).stdout(Stdio::piped());
        let mut galley = command.spawn().unwrap();
        let mut kitchen = String::new();
        BufReader::new(galley.stdout.take().unwrap()).read_line(&mut kitchen).unwrap();
        let step = await_descendant(galley.id(), "sleep\x009234567\0");
        let guard = parent(step.0).unwrap();
        let helper = parent(guard).unwrap();
        signal(guard, Signal::STOP);
        galley.kill().unwrap();
        galley.wait().unwrap();
        if helper_too {
            signal(helper, Signal::KILL);
            await_that(|| !runs(helper));
        }
        assert!(!is_free(), "free while the step runs, the helper killed: {helper_too}");
        signal(guard, Signal::CONT);
        await_that(is_free);
        assert!(!runs(step.0), "free before the step has ended, the helper killed: {helper_too}");
        fs_err::remove_dir_all(kitchen.trim_end()).unwrap();
    }
}

fn await_that(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "never");
        sleep(Duration::from_millis(5));
    }
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// Whether it does, and is not just waited for.
fn runs(pid: u32) -> bool {
    fs_err::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|command| !command.is_empty())
}

fn privileged_the_lowest_rung_is_found_by_trial() {
    if in_user_namespace() {
        return;
    }
    let mut command = Command::new("setpriv");
    command.arg(format!("--bounding-set={RIGHTS}")).arg(format!("--inh-caps={RIGHTS}"));
    command.arg(std::env::current_exe().unwrap()).env(POD, "1").current_dir(Path::new("/"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().next_back(), Some("works"));
}

fn privileged_what_is_another_users_ends_without_the_right_to_kill() {
    if in_user_namespace() {
        return;
    }
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "60", "setpriv", "--bounding-set=-kill", "--inh-caps=-kill"]);
    command.arg(std::env::current_exe().unwrap()).env(WEAK, "1").current_dir(Path::new("/"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
