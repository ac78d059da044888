//! `run` as a service uses it: limits, rights, restarts, health, further processes, and nothing left behind.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use fs_err as fs;

use super::{Kitchen, by_chroot, one_id, text};

fn kitchen() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    kitchen.dockerfile(
        "FROM busybox\nRUN echo me:x:1000:1000::/home/me:/bin/sh >> /etc/passwd; mkdir -m 700 /secret\n",
    );
    kitchen.build(&["-t", "app", "."]);
    Some(kitchen)
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited 60 s for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Its exit code and what it said.
fn said(kitchen: &Kitchen, arguments: &[&str]) -> (Option<i32>, String) {
    let output = kitchen.command(arguments).output().unwrap();
    let both = [output.stdout, output.stderr].concat();
    let both = String::from_utf8_lossy(&both);
    let lines = both.split_inclusive('\n');
    // By chroot every container is warned of.
    let lines =
        lines.filter(|line| !(by_chroot() && line.starts_with("warning: the container is not kept from")));
    (output.status.code(), lines.collect())
}

fn inspect(kitchen: &Kitchen, name: &str, what: &str) -> String {
    kitchen.galley(&["inspect", "-f", &format!("{{{{{what}}}}}"), name]).trim().to_owned()
}

/// Whether this machine lets containers have limits; else it is said loudly, and the refusal is looked at.
fn has_limits(kitchen: &Kitchen, flag: &str) -> bool {
    let (code, said) = said(kitchen, &["run", "--rm", flag, "app", "true"]);
    if code == Some(0) {
        return true;
    }
    assert_eq!(code, Some(125), "{said}");
    assert!(said.contains("cannot limit what the sandbox uses") && said.contains("help: "), "{said}");
    eprintln!("SKIPPED: {said}");
    false
}

#[test]
fn steps_of_a_build_are_kept_to_its_limits() {
    let Some(kitchen) = kitchen() else { return };
    if !has_limits(&kitchen, "--memory=16m") || by_chroot() {
        return;
    }
    let build = |limit: &str, step: &str| {
        kitchen.dockerfile(&format!("FROM app\nRUN {step}\n"));
        said(&kitchen, &["build", "--no-cache", "--progress=plain", limit, "--shm-size=1g", "-t", "x", "."])
    };
    let (code, output) = build("--memory=16m", "head -c 100m /dev/zero > /dev/shm/x");
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("memory"), "{output}");
    let (code, output) = build("--memory=200m", "head -c 100m /dev/zero > /dev/shm/x");
    assert_eq!(code, Some(0), "{output}");
    // However busy the machine is: it takes five times as long as it computes, or longer.
    let (code, output) =
        build("--cpus=0.2", "busybox time sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'");
    let seconds = |what: &str| -> f64 {
        let line = output.lines().find_map(|line| line.split_once(what)).expect(&output).1;
        let (minutes, seconds) = line.trim().trim_end_matches('s').split_once('m').unwrap();
        minutes.trim().parse::<f64>().unwrap() * 60.0 + seconds.trim().parse::<f64>().unwrap()
    };
    assert_eq!(code, Some(0), "{output}");
    assert!(seconds("real") > 4.0 * seconds("user"), "{output}");
}

#[test]
fn memory_that_is_used_up_ends_the_container_with_137() {
    let Some(kitchen) = kitchen() else { return };
    if !has_limits(&kitchen, "--memory=16m") {
        return;
    }
    // By chroot /dev/shm is no memory.
    let script = match by_chroot() {
        true => "head -c 100m /dev/zero | busybox sort > /dev/null",
        false => "exec head -c 100m /dev/zero > /dev/shm/x",
    };
    let eat = ["run", "--name", "eater", "-m", "16m", "--shm-size=1g", "app", "sh", "-c", script];
    let (code, output) = said(&kitchen, &eat);
    assert_eq!(code, Some(137), "{output}");
    assert_eq!(inspect(&kitchen, "eater", ".State.OOMKilled"), "true");
    assert_eq!(inspect(&kitchen, "eater", ".HostConfig.MemorySwap"), (32 << 20).to_string());
}

#[test]
fn processes_are_limited() {
    let Some(kitchen) = kitchen() else { return };
    if !has_limits(&kitchen, "--pids-limit=10") {
        return;
    }
    if !by_chroot() {
        sees_its_limit(&kitchen);
    }
    let forks = "for i in 1 2 3 4 5 6; do sleep 5 & done; echo all";
    let (code, output) = said(&kitchen, &["run", "--rm", "--pids-limit", "4", "app", "sh", "-c", forks]);
    assert!(code != Some(0) && output.contains("fork") && !output.contains("all"), "{output}");
}

/// Where programs look for it, and no further.
fn sees_its_limit(kitchen: &Kitchen) {
    let look = "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; \
                { echo 9 > /sys/fs/cgroup/pids/pids.max || echo 9 > /sys/fs/cgroup/pids.max; } 2>&1";
    let (_, output) = said(kitchen, &["run", "--rm", "--pids-limit=10", "app", "sh", "-c", look]);
    assert!(output.starts_with("10\n") && output.contains("Read-only file system"), "{output}");
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let Some(kitchen) = kitchen() else { return };
    for (flags, expected) in [
        (&["--memory=1m"][..], "the least that a container can have is 6m"),
        (&["--memory-swap=1g"], "give --memory too"),
        (&["--cpus=1", "--cpu-quota=5000"], "cannot be used with"),
        (&["--cpus=9999"], "processors"),
        (&["--cpuset-cpus=8000"], "--cpuset-cpus 8000: this machine has no number 8000"),
        (&["--cgroup-parent=a/../b"], "--cgroup-parent: "),
        (&["--cap-add=NOTHING"], "no such capability"),
        (&["--security-opt=seccomp=x.json"], "cannot read the file of --security-opt seccomp"),
        (&["--security-opt=apparmor=x"], "is not supported"),
        (&["--restart=always", "--rm"], "contradict"),
        (&["--restart=never"], "no restart policy"),
        (&["--tmpfs=run"], "absolute path"),
        (&["--health-cmd=x", "--no-healthcheck"], "contradict"),
    ] {
        let (code, output) = said(&kitchen, &[&["run"], flags, &["app", "true"]].concat());
        assert_eq!(code, Some(125), "{flags:?}: {output}");
        assert!(output.contains(expected), "{flags:?}: {output}");
    }
    assert_eq!(kitchen.galley(&["ps", "-aq"]), "");
}

#[test]
fn rights_are_taken_and_given() {
    let Some(kitchen) = kitchen() else { return };
    if by_chroot() {
        return rights_by_chroot(&kitchen);
    }
    let run = |flags: &[&str], script: &str| {
        kitchen.galley(&[&["run", "--rm"], flags, &["app", "sh", "-c", script]].concat())
    };
    let root = "touch /x 2>/dev/null || echo refused; touch /run/x && echo written; stat -c %a /run";
    assert_eq!(run(&["--read-only", "--tmpfs", "/run:mode=750,size=1m"], root), "refused\nwritten\n750\n");
    let modes = "stat -c %a /secret /new";
    let hidden = ["--tmpfs=/secret", "--tmpfs=/new"];
    assert_eq!(run(&hidden, modes), "700\n1777\n", "that of the directory below, as docker has it");
    let bounding = "grep CapBnd /proc/self/status | busybox tr -d '\\t'";
    assert_eq!(run(&["--cap-drop=all"], bounding), "CapBnd:0000000000000000\n");
    assert_eq!(run(&["--cap-drop=ALL", "--cap-add=CHOWN"], bounding), "CapBnd:0000000000000001\n");
    let status = "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status | busybox tr -d '\\t'";
    assert_eq!(run(&[], status), "NoNewPrivs:0\nSeccomp:2\n");
    assert_eq!(run(&["--security-opt", "no-new-privileges"], status), "NoNewPrivs:1\nSeccomp:2\n");
    let unconfined = if one_id() { "NoNewPrivs:0\nSeccomp:2\n" } else { "NoNewPrivs:0\nSeccomp:0\n" };
    assert_eq!(run(&["--security-opt=seccomp=unconfined"], status), unconfined);
    assert_eq!(run(&["--init"], "echo $$"), "2\n");
    assert_eq!(run(&["--privileged"], "mkdir /mnt; busybox mount -t tmpfs x /mnt; echo $?"), "0\n");
}

/// There is no /proc inside, so the kernel is asked from outside.
fn rights_by_chroot(kitchen: &Kitchen) {
    let status = |flags: &[&str], what: &str| {
        kitchen.galley(&[&["run", "-d", "--name", "web"], flags, &["app", "sleep", "1000"]].concat());
        let pid = inspect(kitchen, "web", ".State.Pid");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        kitchen.galley(&["rm", "-f", "web"]);
        let value = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        value.trim_start_matches([':', '\t']).to_owned()
    };
    assert_eq!(status(&["--cap-drop=all"], "CapEff"), "0000000000000000");
    assert_eq!(status(&["--cap-drop=ALL", "--cap-add=CHOWN"], "CapEff"), "0000000000000001");
    assert_eq!(status(&["--cap-drop=ALL", "--cap-add=CHOWN"], "CapBnd"), "0000000000000001");
    assert_eq!(status(&["--privileged"], "CapEff"), status(&["--cap-add=all"], "CapEff"));
    assert_eq!(status(&["--security-opt=no-new-privileges"], "NoNewPrivs"), "1");
    assert_eq!(status(&[], "NoNewPrivs"), "0");
    let tmpfs = ["run", "--rm", "--tmpfs=/secret", "--tmpfs=/new:mode=750", "app", "stat", "-c", "%a"];
    let modes = kitchen.galley(&[&tmpfs[..], &["/secret", "/new"]].concat());
    assert_eq!(modes, "700\n750\n", "that of the directory below, as docker has it");
    for (flag, named) in
        [("--read-only", "--read-only"), ("--tmpfs=/run:size=1m", "--tmpfs /run with size or ro")]
    {
        let (code, output) = said(kitchen, &["run", "--rm", flag, "app", "true"]);
        assert_eq!(code, Some(125), "{output}");
        assert!(output.contains(&format!("{named} cannot be had in this container")), "{output}");
        assert!(output.contains("help: "), "{output}");
    }
}

#[test]
fn a_policy_starts_it_again_and_stop_ends_that() {
    let Some(kitchen) = kitchen() else { return };
    let fails =
        ["run", "-d", "--name", "fails", "--restart=on-failure:2", "app", "sh", "-c", "echo run; exit 3"];
    kitchen.galley(&fails);
    assert_eq!(kitchen.galley(&["wait", "fails"]), "3\n");
    assert_eq!(kitchen.galley(&["logs", "fails"]), "run\n".repeat(3));
    assert_eq!(inspect(&kitchen, "fails", ".RestartCount"), "2");
    kitchen.galley(&["run", "-d", "--name", "ends", "--restart=on-failure", "app", "true"]);
    assert_eq!(kitchen.galley(&["wait", "ends"]), "0\n");
    kitchen.galley(&["run", "-d", "--name", "always", "--restart=always", "app", "false"]);
    let seen = || kitchen.galley(&["ps", "--format", "{{.State}} {{.Status}}"]);
    wait_for("a pause", || seen().starts_with("restarting Restarting (1) "));
    kitchen.galley(&["stop", "always"]);
    assert_eq!(inspect(&kitchen, "always", ".State.Status"), "exited");
    assert_eq!(seen(), "");
}

#[test]
fn a_signal_ends_a_container_in_the_foreground_for_good() {
    let Some(kitchen) = kitchen() else { return };
    // As systemd does it, while the program runs and between two runs.
    for script in ["echo on; exec sleep 1000", "echo on; false"] {
        let mut run = kitchen.command(&["run", "--init", "--restart=always", "app", "sh", "-c", script]);
        let mut run = run.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 3];
        std::io::Read::read_exact(run.stdout.as_mut().unwrap(), &mut said).unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let code = run.wait().unwrap().code();
        assert!(matches!(code, Some(143 | 1)), "{code:?}");
    }
}

#[test]
fn ended_containers_start_again_with_what_they_wrote() {
    let Some(kitchen) = kitchen() else { return };
    let (code, output) =
        said(&kitchen, &["run", "--name", "own", "app", "sh", "-c", "echo x >> /seen; cat /seen"]);
    assert_eq!((code, output.as_str()), (Some(0), "x\n"));
    let (code, output) = said(&kitchen, &["start", "-a", "own"]);
    assert_eq!((code, output.as_str()), (Some(0), "x\nx\n"));
    assert_eq!(kitchen.galley(&["start", "own"]), "own\n");
    assert_eq!(kitchen.galley(&["wait", "own"]), "0\n");
    kitchen.galley(&["run", "-d", "--name", "web", "app", "sleep", "1000"]);
    let first = inspect(&kitchen, "web", ".State.Pid");
    assert_eq!(kitchen.galley(&["restart", "-t", "0", "web"]), "web\n");
    assert_ne!(inspect(&kitchen, "web", ".State.Pid"), first);
    assert_eq!(kitchen.galley(&["start", "web"]), "web\n", "one that runs is no error");
    kitchen.galley(&["kill", "web"]);
    assert_eq!(kitchen.galley(&["wait", "web"]), "137\n");
    let (code, output) = said(&kitchen, &["kill", "web"]);
    assert!(code != Some(0) && output.contains("is not running"), "{output}");
}

#[test]
fn a_wait_tells_the_code_of_a_container_that_is_removed() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["run", "-d", "--rm", "--name", "gone", "--init", "app", "sleep", "1000"]);
    let waiting = kitchen.command(&["wait", "gone"]).stdout(Stdio::piped()).spawn().unwrap();
    kitchen.galley(&["kill", "-s", "INT", "gone"]);
    let output = waiting.wait_with_output().unwrap();
    // Whoever came too late finds no container.
    assert!(matches!(output.stdout.as_slice(), b"130\n" | b""), "{}", text(&output));
    wait_for("its removal", || kitchen.galley(&["ps", "-aq"]).is_empty());
}

#[test]
fn further_processes_run_inside() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["run", "-d", "--name", "web", "-e", "FROM_RUN=1", "app", "sleep", "1000"]);
    let exec = |arguments: &[&str]| said(&kitchen, &[&["exec"], arguments].concat());
    let script = "echo $FROM_RUN $MORE $PWD $(id -u); echo err >&2; exit 4";
    let (code, output) = exec(&["-e", "MORE=2", "-u", "me", "-w", "/tmp", "web", "sh", "-c", script]);
    assert_eq!(code, Some(4));
    assert!(output.contains("1 2 /tmp 1000\n") && output.contains("err\n"), "{output}");
    assert_eq!(exec(&["web", "nothing"]).0, Some(127));
    assert_eq!(exec(&["web", "/etc/passwd"]).0, Some(126));
    assert_eq!(exec(&["-u", "nobody-knows", "web", "true"]).0, Some(126));
    assert_eq!(exec(&["web", "sh", "-c", "kill -9 $$"]).0, Some(137));
    assert_eq!(exec(&["-u", "5:6", "web", "id", "-g"]).1, "6\n");
    assert_eq!(exec(&["-d", "web", "sh", "-c", "echo left > /left; sleep 1000"]).0, Some(0));
    wait_for("the file", || exec(&["web", "cat", "/left"]).1 == "left\n");
    // A user that was added since is known.
    exec(&["web", "sh", "-c", "echo late:x:77:77::/:/bin/sh >> /etc/passwd"]);
    assert_eq!(exec(&["-u", "late", "web", "id", "-u"]).1, "77\n");
    // A link of the container does not lead to the machine's file.
    exec(&["web", "sh", "-c", "ln -sf ../../../../../../etc/hostname /etc/passwd"]);
    assert_eq!(exec(&["-u", "late", "web", "true"]).0, Some(126));
    let mut cat = kitchen.command(&["exec", "-i", "web", "cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut cat.stdin.take().unwrap(), b"through").unwrap();
    assert_eq!(cat.wait_with_output().unwrap().stdout, b"through");
    // By chroot there is no devpts that would tell its name.
    let name = if by_chroot() { "not a tty\r\n" } else { "/dev/pts/0\r\n" };
    assert_eq!(exec(&["-t", "web", "busybox", "tty"]).1, name);
    assert_eq!(exec(&["-t", "web", "sh", "-c", "test -t 1 && echo on > /dev/tty"]).1, "on\r\n");
    kitchen.galley(&["stop", "-t", "0", "web"]);
    let (code, output) = exec(&["web", "true"]);
    assert!(code == Some(1) && output.contains("is not running"), "{output}");
}

/// What docker answered to the same command lines.
#[test]
fn lists_are_filtered_as_docker_does_it() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["create", "--name", "xf", "-l", "x=y", "-l", "z=1", "-v", "vol:/v", "app", "true"]);
    let network = super::offline();
    said(&kitchen, &["run", "--name", "xe", network, "app", "sh", "-c", "exit 7"]);
    kitchen.galley(&["run", "-d", "--name", "web-1", "app", "sleep", "1000"]);
    let names = |arguments: &[&str]| {
        let text = kitchen.galley(&[&["ps", "--format", "{{.Names}}"], arguments].concat());
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for (arguments, expected) in [
        (&["-f", "name=x"][..], &[][..]),
        (&["-a", "-f", "name=x"], &["xe", "xf"]),
        (&["-a", "-f", "name=^/xe$"], &["xe"]),
        (&["-f", "status=exited"], &["xe"]),
        (&["-f", "status=exited", "-f", "status=created"], &["xe", "xf"]),
        (&["-f", "status=exited", "-f", "name=xf"], &[]),
        (&["-a", "-f", "exited=7"], &["xe"]),
        (&["-a", "-f", "label=x=y", "-f", "label=z"], &["xf"]),
        (&["-a", "-f", "label=x=y", "-f", "label=none"], &[]),
        (&["-a", "-f", &network.replace("--", "")], &["xe"]),
        (&["-a", "-f", "volume=vol"], &["xf"]),
        (&["-a", "-f", "volume=/v"], &["xf"]),
        (&["-f", "health=none"], &["web-1"]),
        (&["-n", "1", "-f", "name=x"], &["xe"]),
    ] {
        assert_eq!(names(arguments), expected, "{arguments:?}");
    }
    kitchen.galley(&["rm", "-f", "web-1"]);
}

#[test]
fn health_is_checked_inside() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM busybox\nHEALTHCHECK --interval=100ms --retries=2 CMD cat /well\n");
    kitchen.build(&["-t", "app", "."]);
    kitchen.galley(&["run", "-d", "--name", "web", "app", "sleep", "1000"]);
    let health = |name: &str, what: &str| inspect(&kitchen, name, &format!(".State.Health.{what}"));
    wait_for("failures", || health("web", "Status") == "unhealthy");
    assert!(health("web", "Log").contains("can't open"), "{}", health("web", "Log"));
    kitchen.galley(&["exec", "web", "sh", "-c", "echo fine > /well"]);
    wait_for("a success", || health("web", "Status") == "healthy");
    assert!(kitchen.galley(&["ps", "--format", "{{.Status}}"]).ends_with(" (healthy)\n"));
    let slow = [
        "run",
        "-d",
        "--name",
        "slow",
        "--health-cmd",
        "sleep 1000",
        "--health-timeout",
        "100ms",
        "app",
        "sleep",
        "1000",
    ];
    kitchen.galley(&slow);
    wait_for("a timeout", || health("slow", "Log").contains("exceeded timeout (0.1s)"));
    kitchen.galley(&["run", "-d", "--name", "none", "--no-healthcheck", "app", "sleep", "1000"]);
    assert!(!inspect(&kitchen, "none", "json .State").contains("Health"));
    kitchen.galley(&["stop", "-t", "0", "web"]);
    assert_eq!(health("web", "Status"), "unhealthy", "as docker says of what has ended");
    kitchen.galley(&["rm", "-f", "web", "slow", "none"]);
}

#[test]
fn a_container_survives_who_started_it() {
    let Some(kitchen) = kitchen() else { return };
    // A session of its own, which is hung up and killed as a closed terminal's is.
    let run = kitchen.command(&["run", "-d", "--name", "web", "app", "sleep", "1000"]);
    let mut shell = kitchen.env.command("setsid");
    shell.args(["--wait", "sh", "-c", "\"$@\"; echo started; kill -HUP 0; kill -KILL 0", "sh"]);
    shell.arg(run.get_program()).args(run.get_args());
    let output = shell.process_group(0).output().unwrap();
    assert!(text(&output).contains("started"), "{}", text(&output));
    assert_eq!(inspect(&kitchen, "web", ".State.Status"), "running");
    assert_eq!(said(&kitchen, &["exec", "web", "echo", "alive"]).1, "alive\n");
    kitchen.galley(&["stop", "-t", "0", "web"]);
}

#[test]
fn a_prune_is_in_nobodys_way() {
    let Some(kitchen) = kitchen() else { return };
    let mut prune = kitchen.env.command("sh");
    let program = kitchen.command(&[]).get_program().to_owned();
    prune.arg("-c").arg("while :; do \"$0\" container prune -f; done").arg(program);
    let prune = Group(prune.stdout(Stdio::null()).process_group(0).spawn().unwrap());
    for number in 0..10 {
        let name = format!("web{number}");
        kitchen.galley(&["run", "-d", "--name", &name, "app", "sleep", "1000"]);
        assert_eq!(inspect(&kitchen, &name, ".State.Status"), "running");
        kitchen.galley(&["rm", "-f", &name]);
        // What ends is nobody's to take until it has removed itself, with its volume.
        kitchen.galley(&["run", "--rm", "-v", "/data", "app", "true"]);
    }
    drop(prune);
    assert_eq!(kitchen.galley(&["volume", "ls", "-q"]), "");
}

/// A process with all that it starts, which end with the test however that does.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let group = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        let killed =
            group.map(|group| rustix::process::kill_process_group(group, rustix::process::Signal::KILL));
        drop((killed, self.0.wait()));
    }
}

/// What could be left behind.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    mounts: usize,
    namespaces: usize,
    processes: usize,
    cgroups: usize,
    files: Vec<PathBuf>,
}

impl Left {
    fn of(kitchen: &Kitchen, parent: &str) -> Self {
        let marker = kitchen.env.path().display().to_string();
        let processes = processes(&marker);
        let namespaces: std::collections::BTreeSet<PathBuf> = processes
            .iter()
            .flat_map(|process| ["mnt", "pid", "net", "ipc"].map(|kind| process.join("ns").join(kind)))
            .filter_map(|link| fs::read_link(link).ok())
            .collect();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        Self {
            mounts: mounts.lines().filter(|line| line.contains(&marker)).count(),
            namespaces: namespaces.len(),
            processes: processes.len(),
            cgroups: cgroups(parent),
            files: files(&kitchen.env.path().join("store"), 0),
        }
    }
}

/// Processes of this test, by its store.
fn processes(marker: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let ours = |path: &PathBuf| {
        let text = |name: &str| fs::read(path.join(name)).unwrap_or_default();
        let line = [text("cmdline"), text("environ")].concat();
        String::from_utf8_lossy(&line).contains(marker)
    };
    entries
        .filter(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit()))
        .filter(ours)
        .collect()
}

/// A cgroup for those of a test, made by the first of its containers.
pub(super) fn parent() -> String {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = own.lines().find(|line| line.contains("pids")).and_then(|line| line.splitn(3, ':').nth(2));
    format!("{}/galley-test-{}", path.unwrap_or("").trim_end_matches('/'), std::process::id())
}

/// Where that is mounted, in any hierarchy.
pub(super) fn parents(parent: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let points =
        mounts.lines().filter(|line| line.contains(" cgroup")).filter_map(|line| line.split(' ').nth(1));
    points.map(|point| PathBuf::from(format!("{point}{parent}"))).filter(|dir| dir.is_dir()).collect()
}

/// Cgroups of containers below it.
fn cgroups(parent: &str) -> usize {
    let entries = parents(parent).into_iter().flat_map(|dir| fs::read_dir(dir).unwrap().flatten());
    entries.filter(|entry| entry.path().is_dir()).count()
}

fn files(below: &Path, depth: usize) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(below).into_iter().flatten().flatten() {
        if depth < 3 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(files(&entry.path(), depth + 1));
        }
        all.push(entry.path());
    }
    all.sort();
    all
}

fn starts(count: usize) {
    let Some(kitchen) = kitchen() else { return };
    let limited = has_limits(&kitchen, "--pids-limit=50");
    let (parent, below) = (parent(), format!("--cgroup-parent={}", parent()));
    let start = |number: usize| {
        let limit: &[&str] = if limited { &["--pids-limit=50", &below] } else { &[] };
        let kind: &[&str] = match number % 4 {
            0 => &["--rm", "app", "true"],
            1 if by_chroot() => &["--rm", "--init", "--tmpfs=/run", "app", "sh", "-c", "sleep 100 & true"],
            2 if by_chroot() => &["--rm", "-v", "/data", "app", "touch", "/data/x"],
            1 => &["--rm", "--init", "--read-only", "--tmpfs=/run", "app", "sh", "-c", "sleep 100 & true"],
            2 => &["--rm", "--network=none", "-v", "data:/data", "app", "touch", "/data/x"],
            _ => &["-d", "--rm", "--health-cmd=true", "--health-interval=1ms", "app", "sleep", "0.05"],
        };
        kitchen.galley(&[&["run"], limit, kind].concat());
    };
    (0..4).for_each(start);
    wait_for("the end of the first", || kitchen.galley(&["ps", "-aq"]).is_empty());
    // Whoever removed the last of them is still busy with it.
    let marker = kitchen.env.path().display().to_string();
    wait_for("their processes", || processes(&marker).is_empty());
    let before = Left::of(&kitchen, &parent);
    (0..count).for_each(start);
    wait_for("the end of all", || kitchen.galley(&["ps", "-aq"]).is_empty());
    let start = Instant::now();
    while Left::of(&kitchen, &parent) != before && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(Left::of(&kitchen, &parent), before);
    parents(&parent).iter().for_each(|dir| fs::remove_dir(dir).unwrap());
    eprintln!("{count} starts: before and after {before:?}");
}

#[test]
fn nothing_is_left_of_20_starts() {
    starts(20);
}

#[test]
#[ignore = "minutes: make soak"]
fn nothing_is_left_of_1000_starts() {
    starts(1000);
}

/// Open files of a supervisor do not grow with what it is asked.
#[test]
fn a_supervisor_keeps_no_files_open() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&[
        "run",
        "-d",
        "--name",
        "web",
        "--health-cmd=true",
        "--health-interval=5ms",
        "app",
        "sleep",
        "1000",
    ]);
    let supervisor = || {
        let ours = processes(&kitchen.env.path().display().to_string());
        let is_supervisor = |path: &&PathBuf| {
            fs::read(path.join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains("__supervise"))
        };
        ours.iter().find(is_supervisor).cloned()
    };
    let open = || fs::read_dir(supervisor().unwrap().join("fd")).unwrap().count();
    let exec = || kitchen.galley(&["exec", "web", "true"]);
    exec();
    let before = open();
    (0..10).for_each(|_| drop(exec()));
    // Some of a check that runs just now come and go.
    wait_for("as few open files", || open() <= before);
    kitchen.galley(&["rm", "-f", "web"]);
}

#[test]
fn settings_of_the_kernel_are_the_containers_own() {
    let Some(kitchen) = kitchen() else { return };
    let run = |network: &str, flags: &[&str], script: &str| {
        said(&kitchen, &[&["run", "--rm", network], flags, &["app", "sh", "-c", script]].concat())
    };
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
    let flags = ["--sysctl", "net.ipv4.ip_default_ttl=77", "--sysctl", "kernel.shmmni=99"];
    let look = "cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/shmmni";
    let (code, text) = run("--network=none", &flags, look);
    if by_chroot() {
        assert!(code == Some(125) && text.contains("--sysctl kernel.shmmni cannot be had"), "{text}");
    } else {
        assert_eq!((code, text.as_str()), (Some(0), "77\n99\n"));
    }
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap(), before);
    for (network, setting, expected) in [
        ("--network=none", "kernel.panic=1", "it is the machine's"),
        ("--network=host", "net.ipv4.ip_default_ttl=1", "the machine's network"),
        ("--network=none", "net..x=1", "no name of a setting"),
        ("--network=none", "net", "is not NAME=VALUE"),
    ] {
        let (code, text) = run(network, &["--sysctl", setting], "true");
        assert!(code == Some(125) && text.contains(expected), "{setting}: {code:?} {text}");
    }
    if !by_chroot() {
        for (setting, expected) in [
            ("net.none.such=1", "set the kernel setting net.none.such"),
            ("net.none.such=1", "this kernel has no such setting"),
            ("net.ipv4.ip_default_ttl=many", "the kernel does not take this value"),
        ] {
            let (code, text) = run("--network=none", &["--sysctl", setting], "true");
            assert!(code == Some(125) && text.contains(expected), "{setting}: {code:?} {text}");
        }
    }
}
