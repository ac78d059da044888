//! Everything again as an ordinary user, in a user namespace.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use galley_sandbox::probe::{Rung, Status, doctor, trial};
use galley_sandbox::userns::{self, IdMaps};

use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{Kitchen, await_gone, descendants, output};

crate::tests![
    privileged_trial_and_doctor,
    privileged_ids_are_mapped,
    privileged_refusals_are_told,
    privileged_signals_cross_into_the_namespace,
    privileged_all_again_as_an_ordinary_user,
    privileged_all_again_with_one_id,
];

/// Set for the copy of this program that is an ordinary user.
const ORDINARY: &str = "GALLEY_TEST_ORDINARY";
/// Set beside it when the user has no ranges of ids.
const ALONE: &str = "GALLEY_TEST_ALONE";
/// Set for an ordinary user's copy that does nothing but wait for a signal inside the namespace.
const WAITING: &str = "GALLEY_TEST_WAITING";

/// An ordinary user's first act: to enter the user namespace.
pub(crate) fn enter() -> Option<ExitCode> {
    if std::env::var_os(WAITING).is_some() {
        return Some(wait_for_signal());
    }
    if std::env::var_os(ORDINARY).is_none() || userns::entered() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let trial = trial(folder.path()).unwrap();
    let expected = if std::env::var_os(ALONE).is_some() { Rung::SingleId } else { Rung::UserRange };
    assert_eq!(trial.rung, Some(expected), "{trial:?}");
    for fact in doctor(folder.path()) {
        println!("{fact:?}");
        assert_ne!(fact.status, Status::Bad);
    }
    let maps = IdMaps::best().unwrap();
    let exit = userns::enter_and_reexec(&maps, std::env::args_os(), std::env::vars_os()).unwrap();
    Some(ExitCode::from(exit.code() as u8))
}

/// Makes an ordinary user with ranges of ids in a mount namespace of its own, with device files that it may open, and
/// runs a command as that user. The machine's own tables stay as they are.
const AS_USER: &str = r#"
    set -e
    dir=$1; shift
    { cat /etc/passwd; echo galley-test:x:4242:4242::/tmp:/bin/sh; } > $dir/passwd
    ranges=galley-test:2000000:65536
    [ -z "$GALLEY_TEST_ALONE" ] || ranges=
    echo $ranges | tee $dir/subuid > $dir/subgid
    for file in passwd subuid subgid; do chmod 644 $dir/$file; mount --bind $dir/$file /etc/$file; done
    mount -t tmpfs -o mode=755 tmpfs $dir/dev
    mknod -m 666 $dir/dev/tun c 10 200; mknod -m 666 $dir/dev/fuse c 10 229
    mount --bind $dir/dev/tun /dev/net/tun; mount --bind $dir/dev/fuse /dev/fuse
    exec setpriv --reuid=4242 --regid=4242 --clear-groups "$@"
"#;

fn wait_for_signal() -> ExitCode {
    if userns::entered() {
        println!("inside");
        std::thread::sleep(Duration::from_secs(60));
        panic!("no signal has ended this process");
    }
    let maps = IdMaps::best().unwrap();
    let exit = userns::enter_and_reexec(&maps, std::env::args_os(), std::env::vars_os()).unwrap();
    ExitCode::from(exit.code() as u8)
}

/// The command that runs this program as an ordinary user, with the folder that it needs.
fn as_user(variable: &str) -> (Command, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (program, dev) = (folder.path().join("tests"), folder.path().join("dev"));
    // By another process: what is open for writing, if only in a child that a thread has just started, cannot be executed.
    let mut install = Command::new("install");
    let status = install.args(["-m", "755"]).args([&std::env::current_exe().unwrap(), &program]).status();
    assert!(status.unwrap().success());
    fs_err::create_dir(dev).unwrap();
    fs_err::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    // Whoever runs the tests may ignore SIGINT (a shell does for what it starts in the background), and what is ignored
    // stays so in every program that is started.
    let mut command = Command::new("env");
    command.args(["--default-signal", "unshare", "--mount", "sh", "-c", AS_USER, "sh"]);
    command.arg(folder.path()).arg(&program);
    command.current_dir("/").env(variable, "1").stdin(Stdio::null()).stdout(Stdio::piped());
    (command, folder)
}

fn privileged_all_again_as_an_ordinary_user() {
    if userns::in_user_namespace() {
        return;
    }
    let (mut command, _folder) = as_user(ORDINARY);
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{}", text.replace("test main", "    test (user) main"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("privileged_says_hello ... ok"));
}

/// The same without ranges: the kernel knows this user alone.
fn privileged_all_again_with_one_id() {
    if userns::in_user_namespace() {
        return;
    }
    let (mut command, _folder) = as_user(ORDINARY);
    let output = command.env(ALONE, "1").stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{}", text.replace("test main", "    test (one id) main"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("owners::privileged_owners_are_told ... ok"));
}

fn privileged_trial_and_doctor() {
    let folder = tempfile::tempdir().unwrap();
    let trial = trial(folder.path()).unwrap();
    assert_eq!((trial.rung, trial.obstacles.len()), (Some(Rung::Root), 0));
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0, "a trial leaves nothing");
    let facts = doctor(folder.path());
    assert_eq!(facts[0].value, "as root");
    // An overlay on an overlay is what a trial has to find out about.
    let kitchen = Kitchen::new();
    let _ = output(&kitchen.spec(&["true"]));
}

fn privileged_ids_are_mapped() {
    let kitchen = Kitchen::new();
    let mut spec = kitchen.shell("touch /f; chown 65534:65534 /f; id; cat /proc/self/uid_map | wc -l");
    spec.user.groups = vec![0, 1, 65534];
    let text = output(&spec);
    assert!(text.contains("groups=0,1,65534"), "{text}");
    let lines = if userns::in_user_namespace() && !userns::has_one_id() { "2\n" } else { "1\n" };
    assert!(text.ends_with(lines), "{text}");
}

/// Without ranges the error names the table and the command.
fn privileged_refusals_are_told() {
    if userns::in_user_namespace() {
        return;
    }
    let error = userns::UserNsError::NoRange { path: "/etc/subuid".into(), user: "ann".into(), uid: 7 };
    assert_eq!(
        error.to_string(),
        "/etc/subuid has no range for user ann (uid 7); add one as root: usermod --add-subuids 100000-165535 \
         --add-subgids 100000-165535 ann"
    );
}

fn privileged_signals_cross_into_the_namespace() {
    if userns::in_user_namespace() {
        return;
    }
    for (signal, expected) in [(Signal::TERM, Some(143)), (Signal::INT, Some(130)), (Signal::KILL, None)] {
        let (mut command, _folder) = as_user(WAITING);
        let mut outside = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(outside.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "inside\n");
        let inside = descendants(outside.id());
        assert_eq!(inside.len(), 1, "{inside:?}");
        kill_process(Pid::from_child(&outside), signal).unwrap();
        assert_eq!(outside.wait().unwrap().code(), expected);
        await_gone(&inside);
    }
}
