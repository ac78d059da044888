//! Sandboxes that were made before they were asked for.

use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use galley_sandbox::net::NetNs;
use galley_sandbox::{Handles, Mount, Network, Source, Spawner, Spec, TtySize};

use crate::fixture::{Kitchen, descendants};

crate::tests![
    privileged_what_was_made_ahead_is_like_the_rest,
    privileged_what_was_made_ahead_keeps_no_other_sandbox,
];

/// What a program sees of its sandbox.
const LOOK: &str = "cat /proc/self/mountinfo /proc/self/cgroup; ls -l /dev | grep -v total; ls /sys /proc/1/fd; ls -d /proc/[a-z]*;
    head -n 1 /proc/timer_list; ls -l /proc/kcore /proc/timer_list /proc/keys; ls /sys/firmware; touch /proc/sys/x /sys/x /dev/x; ls -lR /etc; ip link; id";

type Change = fn(&mut Spec);

const CHANGES: [Change; 10] = [
    |_| {},
    |spec| spec.shm_size = 1 << 20,
    |spec| spec.masked_paths.clear(),
    |spec| spec.readonly_paths.truncate(1),
    |spec| spec.make_insecure(),
    |spec| spec.network = Network::None,
    |spec| spec.tty = Some(TtySize { rows: 2, cols: 80 }),
    |spec| spec.readonly_root = true,
    // They cover what is masked; a link leads there.
    |spec| spec.mounts = ["/proc", "/lead/firmware", "/dev/shm"].map(empty).to_vec(),
    |spec| spec.mounts = ["/etc/hosts", "/a/b"].map(empty).to_vec(),
];

fn empty(target: &str) -> Mount {
    let source = Source::Tmpfs { size: None, mode: Some(0o755), noexec: false };
    Mount { target: target.into(), source, readonly: false }
}

/// Without the numbers that the kernel gives.
fn seen(spawner: &Spawner, spec: &Spec, netns: Option<&NetNs>) -> Vec<String> {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let output = Some(writer.as_fd());
    let handles =
        Handles { stdout: output, stderr: output, netns: netns.map(AsFd::as_fd), ..Handles::default() };
    let mut child = spawner.spawn(spec, handles).unwrap();
    drop(writer);
    let mut text = Vec::new();
    match child.take_pty() {
        // Its end is an error.
        Some(terminal) => {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = terminal.read(&mut buffer) {
                text.extend_from_slice(&buffer[..count]);
            }
        }
        None => assert!(reader.read_to_end(&mut text).unwrap() > 0),
    }
    child.wait().unwrap();
    let plain = String::from_utf8_lossy(&text).replace(|letter: char| letter.is_ascii_digit(), "");
    let mut lines: Vec<String> = plain.lines().map(str::to_owned).collect();
    lines.sort();
    assert!(lines.len() > 20, "{lines:?}");
    lines
}

fn privileged_what_was_made_ahead_is_like_the_rest() {
    let (spawner, netns) = (Spawner::start().unwrap(), NetNs::isolated().unwrap());
    for (number, change) in CHANGES.into_iter().enumerate() {
        for netns in [None, Some(&netns)] {
            let look = |ahead: Option<Option<&NetNs>>| {
                let kitchen = Kitchen::new();
                fs_err::os::unix::fs::symlink("/sys", kitchen.path("base/lead")).unwrap();
                let mut spec = kitchen.shell(LOOK);
                spec.network = if netns.is_some() { Network::Shared } else { Network::Host };
                change(&mut spec);
                if let Some(ahead) = ahead {
                    spawner.make_ahead(ahead.map(AsFd::as_fd));
                }
                let netns = netns.filter(|_| spec.network == Network::Shared);
                seen(&spawner, &spec, netns)
            };
            let plain = look(None);
            assert_eq!(look(Some(netns)), plain, "change {number}, {netns:?}");
            assert_eq!(look(Some(None)), plain, "change {number}, {netns:?}, made for the host's network");
        }
    }
}

/// How often a process that descends from this one keeps the mounts of another.
fn kept() -> usize {
    let is_kept = |file: fs_err::DirEntry| {
        fs_err::read_link(file.path()).is_ok_and(|link| link.to_string_lossy().starts_with("mnt:["))
    };
    let files = descendants(std::process::id()).into_iter().filter_map(|(pid, _)| {
        let files = fs_err::read_dir(format!("/proc/{pid}/fd")).ok()?;
        Some(files.filter_map(Result::ok).map(is_kept).filter(|kept| *kept).count())
    });
    files.sum()
}

fn await_kept(count: usize) {
    let start = Instant::now();
    while kept() != count {
        assert!(start.elapsed() < Duration::from_secs(60), "{} are kept", kept());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn privileged_what_was_made_ahead_keeps_no_other_sandbox() {
    let (spawner, netns, kitchen) = (Spawner::start().unwrap(), NetNs::isolated().unwrap(), Kitchen::new());
    let child = spawner.spawn(&kitchen.shell("sleep 1000"), Handles::default()).unwrap();
    spawner.make_ahead(None);
    // In another network, so it does not become the one made ahead; and then that is there.
    let other = Kitchen::new();
    let mut spec = other.shell("true");
    spec.network = Network::Shared;
    let handles = Handles { netns: Some(netns.as_fd()), ..Handles::default() };
    assert!(spawner.spawn(&spec, handles).unwrap().wait().unwrap().exit.success());
    // Kernels before 6.11 have no way to keep them.
    if kept() > 0 {
        await_kept(1);
    }
    child.kill_tree().unwrap();
    await_kept(0);
}
