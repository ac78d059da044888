//! What people type of docker day by day to look at one service: pause, top, stats, attach, update, rename, port, logs, diff.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    Kitchen, by_chroot,
    service::{parent, parents},
    text,
};

/// A kitchen that is left clean, whichever way a test ends.
struct Clean(Kitchen);

impl std::ops::Deref for Clean {
    type Target = Kitchen;

    fn deref(&self) -> &Kitchen {
        &self.0
    }
}

impl Drop for Clean {
    fn drop(&mut self) {
        let Ok(all) = self.command(&["ps", "-aq"]).output() else { return };
        for id in String::from_utf8_lossy(&all.stdout).lines() {
            let _ = self.command(&["rm", "-f", id]).output();
        }
    }
}

fn kitchen() -> Option<Clean> {
    let kitchen = Clean(Kitchen::new()?);
    kitchen.dockerfile("FROM busybox\nRUN mkdir /data && echo old > /data/old && echo gone > /data/gone && echo extra:x:4712: >> /etc/group\n");
    kitchen.build(&["-t", "app", "."]);
    Some(kitchen)
}

/// Its exit code and what it said.
fn said(kitchen: &Kitchen, arguments: &[&str]) -> (Option<i32>, String) {
    let output = kitchen.command(arguments).output().unwrap();
    let both = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&both).into_owned())
}

fn refused(kitchen: &Kitchen, arguments: &[&str], expected: &str) {
    let (code, said) = said(kitchen, arguments);
    assert!(code != Some(0) && said.contains(expected), "{arguments:?}: {code:?} {said}");
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        // For a machine on which nothing goes on for minutes; it is no measurement.
        assert!(start.elapsed() < Duration::from_secs(600), "waited 600 s for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn inspect(kitchen: &Kitchen, name: &str, what: &str) -> String {
    kitchen.galley(&["inspect", "-f", &format!("{{{{{what}}}}}"), name]).trim().to_owned()
}

/// Pauses; where this machine has nothing that could, it is said loudly and the refusal is looked at.
fn pause(kitchen: &Kitchen, name: &str) -> bool {
    let (code, said) = said(kitchen, &["pause", name]);
    if code == Some(0) {
        assert_eq!(said, format!("{name}\n"));
        return true;
    }
    let refusal =
        if by_chroot() { "pause cannot be had in this container" } else { "cannot pause the container" };
    assert!(said.contains(refusal) && said.contains("help: "), "{said}");
    eprintln!("SKIPPED: {said}");
    kitchen.galley(&["rm", "-f", name]);
    false
}

#[test]
fn a_paused_container_stands_still_and_goes_on() {
    let Some(kitchen) = kitchen() else { return };
    // With children, and with one that another galley brought in.
    let script = "while :; do echo tick; sleep 0.05; done";
    kitchen.galley(&["run", "-d", "--name", "web", "app", "sh", "-c", script]);
    kitchen.galley(&["exec", "-d", "web", "sh", "-c", "while :; do echo x >> /more; sleep 0.05; done"]);
    let is_there = || said(&kitchen, &["exec", "web", "cat", "/more"]).0 == Some(0);
    wait_for("both to write", || !kitchen.galley(&["logs", "web"]).is_empty() && is_there());
    refused(&kitchen, &["unpause", "web"], "is not paused");
    if !pause(&kitchen, "web") {
        return;
    }
    let size = || written(&kitchen);
    let before = (kitchen.galley(&["logs", "web"]).len(), size());
    assert_eq!(kitchen.galley(&["ps", "--format", "{{.State}}", "-f", "status=paused"]), "paused\n");
    assert!(kitchen.galley(&["ps"]).contains(" (Paused)"));
    assert_eq!(inspect(&kitchen, "web", ".State.Status"), "paused");
    assert_eq!(inspect(&kitchen, "web", ".State.Paused"), "true");
    assert_eq!(inspect(&kitchen, "web", ".State.Running"), "true");
    refused(&kitchen, &["pause", "web"], "is paused already");
    let (code, output) = said(&kitchen, &["exec", "web", "true"]);
    assert!(code == Some(1) && output.contains("is paused"), "{code:?} {output}");
    refused(&kitchen, &["attach", "web"], "is paused");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((kitchen.galley(&["logs", "web"]).len(), size()), before, "something has moved");
    kitchen.galley(&["unpause", "web"]);
    wait_for("more", || kitchen.galley(&["logs", "web"]).len() > before.0 && size() > before.1);
    // A second time, and it can be ended from there.
    assert!(pause(&kitchen, "web"));
    kitchen.galley(&["stop", "-t", "0", "web"]);
    assert_eq!(inspect(&kitchen, "web", ".State.Status"), "exited");
    refused(&kitchen, &["pause", "web"], "is not running");
}

/// Bytes that the second process has written.
fn written(kitchen: &Kitchen) -> usize {
    let mut tar = kitchen.command(&["export", "web"]).stdout(Stdio::piped()).spawn().unwrap();
    let found = Command::new("tar").args(["xO", "more"]).stdin(tar.stdout.take().unwrap()).output().unwrap();
    tar.wait().unwrap();
    found.stdout.len()
}

#[test]
fn what_a_killed_supervisor_left_paused_ends() {
    let Some(kitchen) = kitchen() else { return };
    // As no other test of this machine has it at this moment.
    let mine = format!("9{}", std::process::id());
    kitchen.galley(&["run", "-d", "--name", "web", "app", "sleep", &mine]);
    if !pause(&kitchen, "web") {
        return;
    }
    let id = inspect(&kitchen, "web", ".Id");
    let found = Command::new("pgrep").args(["-f", &format!("__supervise {id}")]).output().unwrap();
    for pid in String::from_utf8_lossy(&found.stdout).lines() {
        Command::new("kill").args(["-9", pid]).status().unwrap();
    }
    wait_for("its end", || inspect(&kitchen, "web", ".State.Status") == "exited");
    kitchen.galley(&["rm", "web"]);
    let left = || Command::new("pgrep").args(["-f", &format!("^sleep {mine}$")]).output().unwrap().stdout;
    wait_for("its process", || left().is_empty());
}

#[test]
fn processes_and_what_they_use_are_shown() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["run", "-d", "--name", "web", "app", "sh", "-c", "sleep 91919; true"]);
    wait_for("the second", || kitchen.galley(&["top", "web"]).contains("sleep 91919"));
    let top = kitchen.galley(&["top", "web"]);
    assert!(top.starts_with("UID                 PID                 PPID "), "{top}");
    assert_eq!(top.lines().count(), 3, "{top}");
    // Whatever ps this machine has.
    let (code, by_ps) = said(&kitchen, &["top", "web", "-o", "pid,args"]);
    assert!(code != Some(0) || by_ps.contains("sleep 91919") && by_ps.lines().count() == 3, "{by_ps}");
    let stats =
        kitchen.galley(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.CPUPerc}}", "web"]);
    assert!(stats.starts_with("web 2 ") && stats.ends_with("%\n"), "{stats}");
    assert!(kitchen.galley(&["stats", "--no-stream"]).starts_with("CONTAINER ID   NAME      CPU %"));
    kitchen.galley(&["stop", "-t", "0", "web"]);
    refused(&kitchen, &["top", "web"], "is not running");
    assert_eq!(kitchen.galley(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "web"]), "0B / 0B\n");
}

#[test]
fn a_container_that_runs_is_seen_and_typed_to() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["run", "-d", "-i", "--name", "echo", "app", "sh", "-c", "cat; exit 7"]);
    let attach = || {
        let mut command = kitchen.command(&["attach", "echo"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // Its input stays open for the next one, as in docker.
    for text in ["first\n", "second\n"] {
        let mut one = attach();
        types(&one, text);
        sees(&mut one, text);
        let other = attach();
        types(&other, text);
        for mut each in [one, other] {
            sees(&mut each, text);
            each.kill().unwrap();
            each.wait().unwrap();
        }
    }
    assert_eq!(inspect(&kitchen, "echo", ".State.Status"), "running");
    let mut last = attach();
    types(&last, "last\n");
    sees(&mut last, "last\n");
    kitchen.galley(&["kill", "echo"]);
    let ended = last.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(137), "{}", String::from_utf8_lossy(&ended.stderr));
    refused(&kitchen, &["attach", "echo"], "is not running");
}

/// Types to the container. Only who is attached can, so they see what comes back, whenever that is.
fn types(attached: &Child, text: &str) {
    attached.stdin.as_ref().unwrap().write_all(text.as_bytes()).unwrap();
}

fn sees(attached: &mut Child, text: &str) {
    let mut seen = vec![0; text.len()];
    attached.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
    assert_eq!(String::from_utf8_lossy(&seen), text);
}

#[test]
fn names_and_policies_change_and_ports_are_told() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["run", "-d", "--name", "web", "-p", "127.0.0.1::80", "app", "sleep", "1000"]);
    let port = kitchen.galley(&["port", "web"]);
    assert!(port.starts_with("80/tcp -> 127.0.0.1:"), "{port}");
    assert_eq!(port.replace("80/tcp -> ", ""), kitchen.galley(&["port", "web", "80"]));
    refused(&kitchen, &["port", "web", "81"], "publishes no port 81/tcp");
    kitchen.galley(&["create", "--name", "other", "app"]);
    refused(&kitchen, &["rename", "web", "other"], "other");
    refused(&kitchen, &["rename", "web", "no/name"], "cannot be the name");
    assert_eq!(kitchen.galley(&["rename", "web", "site"]), "");
    refused(&kitchen, &["inspect", "web"], "no such");
    assert_eq!(inspect(&kitchen, "site", ".Name"), "/site");
    assert_eq!(kitchen.galley(&["exec", "site", "echo", "on"]), "on\n");
    assert_eq!(kitchen.galley(&["run", "--rm", "--name", "web", "app", "echo", "free"]), "free\n");

    refused(&kitchen, &["update", "site"], "nothing is to change");
    assert_eq!(kitchen.galley(&["update", "--restart", "always", "site"]), "site\n");
    assert_eq!(inspect(&kitchen, "site", ".HostConfig.RestartPolicy.Name"), "always");
    kitchen.galley(&["stop", "-t", "0", "site"]);
    assert_eq!(inspect(&kitchen, "site", ".Config.StopSignal"), "SIGTERM");
    // What does not run is changed for its next start.
    kitchen.galley(&["update", "--restart", "no", "other"]);
    assert_eq!(inspect(&kitchen, "other", ".HostConfig.RestartPolicy.Name"), "no");
}

/// Or the second would write down what the first had found.
#[test]
fn changes_wait_for_each_other() {
    let Some(kitchen) = kitchen() else { return };
    let id = kitchen.galley(&["create", "--name", "web", "app"]);
    let folder = fs_err::File::open(kitchen.env.store().join("containers").join(id.trim())).unwrap();
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let changes = [["--restart", "always"], ["--pids-limit", "33"]];
    let mut children = changes.map(|[flag, value]| {
        kitchen.command(&["update", flag, value, "web"]).stdout(Stdio::null()).spawn().unwrap()
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(children.iter_mut().all(|child| child.try_wait().unwrap().is_none()));
    drop(folder);
    assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
    assert_eq!(inspect(&kitchen, "web", ".HostConfig.RestartPolicy.Name"), "always");
    assert_eq!(inspect(&kitchen, "web", ".HostConfig.PidsLimit"), "33");
}

#[test]
fn limits_change_while_it_runs() {
    let Some(kitchen) = kitchen() else { return };
    let run = ["run", "-d", "--name", "web", "--restart=on-failure", "--pids-limit", "20", "app"];
    let fails = "trap 'exit 3' USR1; echo ready; while true; do sleep 0.1; done";
    let (code, output) = said(&kitchen, &[&run[..], &["sh", "-c", fails]].concat());
    if code != Some(0) {
        assert!(output.contains("cannot limit what the sandbox uses"), "{output}");
        eprintln!("SKIPPED: {output}");
        return;
    }
    let now = || {
        if by_chroot() {
            // No container sees its cgroup there.
            return inspect(&kitchen, "web", ".HostConfig.PidsLimit") + "\n";
        }
        kitchen.galley(&[
            "exec",
            "web",
            "sh",
            "-c",
            "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; true",
        ])
    };
    assert_eq!(now(), "20\n");
    kitchen.galley(&["update", "--pids-limit", "30", "web"]);
    assert_eq!(
        (now(), inspect(&kitchen, "web", ".HostConfig.PidsLimit")),
        ("30\n".to_owned(), "30".to_owned())
    );
    // It holds for the program that comes after this one, too.
    wait_for("its trap", || kitchen.galley(&["logs", "web"]) == "ready\n");
    kitchen.galley(&["kill", "-s", "USR1", "web"]);
    wait_for("its second start", || kitchen.galley(&["logs", "web"]) == "ready\nready\n");
    assert_eq!(now(), "30\n");
    refused(&kitchen, &["update", "-m", "1m", "web"], "6m");
    assert_eq!(inspect(&kitchen, "web", ".HostConfig.Memory"), "0", "what was refused is not noted");
    // A further one, for which it may lack a cgroup.
    kitchen.galley(&["update", "-m", "64m", "web"]);
    assert_eq!((memory_limit(&kitchen, "web").as_str(), now().as_str()), ("64MiB", "30\n"));
}

/// A cgroup for the containers of one test.
struct Below(String);

impl Drop for Below {
    fn drop(&mut self) {
        for dir in parents(&self.0) {
            let _ = fs_err::remove_dir(dir);
        }
    }
}

#[test]
fn what_is_refused_changes_nothing() {
    // Removed when the containers are gone. Figures would take one of galley's names for that of a container.
    let below = Below(parent().replace("galley-test", "refused-by-galley"));
    let Some(kitchen) = kitchen() else { return };
    let run = ["run", "-d", "--name", "web", "--cgroup-parent", &below.0, "app", "sleep", "1000"];
    let (code, output) = said(&kitchen, &run);
    let first = if code == Some(0) {
        said(&kitchen, &["update", "--pids-limit", "40", "web"])
    } else {
        (code, output)
    };
    if first.0 != Some(0) {
        eprintln!("SKIPPED: {}", first.1);
        return;
    }
    let places = || {
        fs_err::read_to_string(format!("/proc/{}/cgroup", inspect(&kitchen, "web", ".State.Pid"))).unwrap()
    };
    let before = places();
    // More processes than any machine has: the kernel refuses it, when the memory is limited already.
    let too_many = |memory: &str| {
        refused(&kitchen, &["update", "-m", memory, "--pids-limit", "99999999", "web"], "pids.max=99999999");
    };
    too_many("64m");
    assert_eq!(places(), before, "where it was put stays its place");
    assert_eq!(inspect(&kitchen, "web", ".HostConfig.Memory"), "0");
    kitchen.galley(&["update", "-m", "64m", "web"]);
    let before = places();
    too_many("128m");
    assert_eq!(places(), before);
    assert_eq!(memory_limit(&kitchen, "web"), "64MiB");
    assert_eq!(inspect(&kitchen, "web", ".HostConfig.PidsLimit"), "40");
    kitchen.galley(&["exec", "web", "true"]);
}

/// As the container's own cgroup has it.
fn memory_limit(kitchen: &Kitchen, name: &str) -> String {
    let both = kitchen.galley(&["stats", "--no-stream", "--format", "{{.MemUsage}}", name]);
    both.trim().rsplit_once(" / ").unwrap().1.to_owned()
}

/// Has a dozen forked when it is told to. It needs none itself meanwhile, for a shell that cannot fork ends.
const CROWD: &str = "trap '(for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 & done) &' USR1; trap 'exit 3' USR2; \
                     sleep 2000 & last=$!; echo ready; while true; do wait $last; done";

#[test]
fn limits_come_while_it_runs() {
    let Some(kitchen) = kitchen() else { return };
    let run = ["run", "-d", "--name", "web", "--restart=on-failure", "app", "sh", "-c", CROWD];
    kitchen.galley(&run);
    wait_for("its traps", || kitchen.galley(&["logs", "web"]) == "ready\n");
    // One that is there beside the first before it has limits.
    let mut beside = kitchen.command(&["exec", "web", "sleep", "1000"]).spawn().unwrap();
    wait_for("the other process", || kitchen.galley(&["top", "web"]).contains("sleep 1000"));
    let (code, output) = said(&kitchen, &["update", "--memory", "64m", "--pids-limit", "8", "web"]);
    if code != Some(0) {
        assert!(output.contains("cannot limit what the sandbox uses"), "{output}");
        assert_eq!(inspect(&kitchen, "web", ".HostConfig.Memory"), "0", "what was refused is not noted");
        kitchen.galley(&["rm", "-f", "web"]);
        beside.wait().unwrap();
        eprintln!("SKIPPED: {output}");
        return;
    }
    assert_eq!(memory_limit(&kitchen, "web"), "64MiB");
    let first = inspect(&kitchen, "web", ".State.Pid");
    let places = cgroups_of(&first);
    assert_eq!(places.len(), 2, "one for each controller, or one path twice: {places:?}");
    for pid in inside(&kitchen, "web") {
        assert_eq!(cgroups_of(&pid), places, "{pid}");
    }
    // The first process cannot fork so often, and neither can another one.
    kitchen.galley(&["kill", "-s", "USR1", "web"]);
    wait_for("its failure", || said(&kitchen, &["logs", "web"]).1.contains("can't fork"));
    let crowd = ["exec", "web", "sh", "-c", "sleep 1 & sleep 1 & sleep 1 & wait"];
    let (code, output) = said(&kitchen, &crowd);
    assert!(code != Some(0), "{output}");
    kitchen.galley(&["update", "--pids-limit", "40", "web"]);
    let (code, output) = said(&kitchen, &crowd);
    assert_eq!(code, Some(0), "{output}");

    // Its next start has them from the beginning, in other cgroups; those of the first are gone.
    kitchen.galley(&["kill", "-s", "USR2", "web"]);
    wait_for("its second start", || kitchen.galley(&["logs", "web"]).matches("ready").count() == 2);
    beside.wait().unwrap();
    assert_eq!(memory_limit(&kitchen, "web"), "64MiB");
    let again = cgroups_of(&inspect(&kitchen, "web", ".State.Pid"));
    assert!(again.len() == 2 && again.iter().all(|path| !places.contains(path)), "{places:?} {again:?}");
    kitchen.galley(&["rm", "-f", "web"]);
    for place in places.iter().chain(&again) {
        let name = std::path::Path::new(place).file_name().unwrap().to_str().unwrap();
        let found = Command::new("find").args(["/sys/fs/cgroup", "-name", name]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    }
}

#[test]
fn one_that_is_paused_gets_limits_and_stays_paused() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["run", "-d", "--name", "web", "app", "sleep", "1000"]);
    let (code, output) = said(&kitchen, &["pause", "web"]);
    if code != Some(0) {
        eprintln!("SKIPPED: {output}");
        return;
    }
    let (code, output) = said(&kitchen, &["update", "--pids-limit", "40", "web"]);
    if code != Some(0) {
        assert!(output.contains("cannot limit what the sandbox uses"), "{output}");
        eprintln!("SKIPPED: {output}");
        return;
    }
    assert_eq!(inspect(&kitchen, "web", ".State.Status"), "paused");
    assert!(!cgroups_of(&inspect(&kitchen, "web", ".State.Pid")).is_empty());
    kitchen.galley(&["unpause", "web"]);
    assert_eq!(kitchen.galley(&["exec", "web", "echo", "on"]), "on\n");
    kitchen.galley(&["pause", "web"]);
    kitchen.galley(&["unpause", "web"]);
    kitchen.galley(&["stop", "-t", "0", "web"]);
}

/// The cgroups of its own in which a process is counted, one for each controller of the test.
fn cgroups_of(pid: &str) -> Vec<String> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = |controllers: &str| {
        let row =
            |line: &&str| line.split(':').nth(1).is_some_and(|it| it.split(',').any(|it| it == controllers));
        let line = text.lines().find(row).or_else(|| text.lines().find(|line| line.starts_with("0::")))?;
        line.rsplit(':').next().filter(|path| path.contains("/galley-")).map(str::to_owned)
    };
    ["memory", "pids"].iter().filter_map(|name| own(name)).collect()
}

/// The machine's numbers of its processes.
fn inside(kitchen: &Kitchen, name: &str) -> Vec<String> {
    let table = kitchen.galley(&["top", name]);
    table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1).map(str::to_owned)).collect()
}

#[test]
fn the_start_of_a_container_takes_more() {
    let Some(kitchen) = kitchen() else { return };
    let run = |flags: &[&str], script: &str| {
        kitchen.galley(&[&["run", "--rm"], flags, &["app", "sh", "-c", script]].concat())
    };
    let dns = ["--dns", "192.0.2.1", "--dns-search", "example.org", "--dns-option", "ndots:2"];
    let lines = run(&dns, "cat /etc/resolv.conf");
    assert_eq!(lines, "nameserver 192.0.2.1\nsearch example.org\noptions ndots:2\n");
    refused(&kitchen, &["run", "--dns", "nobody", "app"], "--dns");

    let host = tempfile::tempdir().unwrap();
    fs_err::write(host.path().join("file"), "host\n").unwrap();
    let bind = |more: &str| format!("--mount=type=bind,source={},target=/in{more}", host.path().display());
    let write = "cat /in/file; touch /in/new 2>/dev/null || echo refused";
    let protected = run(&[&bind(",readonly")], write);
    assert!(!host.path().join("new").exists());
    if !by_chroot() {
        assert_eq!(protected, "host\nrefused\n");
        mounts_to_write_to(run, &bind(""), write);
        assert!(host.path().join("new").exists());
    }
    for (mount, expected) in [
        ("type=bind,source=/no/such/path,target=/x", "/no/such/path"),
        ("type=bind,target=/x", "source"),
        ("type=tmpfs,source=x,target=/x", "source"),
        ("type=volume,source=vol", "target"),
        ("type=odd,target=/x", "odd"),
        ("type=tmpfs,target=/x,nonsense=1", "nonsense"),
    ] {
        refused(&kitchen, &["run", "--rm", "--mount", mount, "app", "true"], expected);
    }
    refused(&kitchen, &["run", "--rm", "--group-add", "no-such-group", "app", "true"], "no-such-group");
    let groups = run(&["--group-add", "4711", "--group-add", "extra"], "busybox id -G");
    let groups: Vec<&str> = groups.split_whitespace().collect();
    assert!(groups.contains(&"4711") && groups.contains(&"4712"), "{groups:?}");
    kitchen.galley(&["run", "-d", "--name", "web", "-P", "--expose", "81", "app", "sleep", "1000"]);
    assert!(kitchen.galley(&["port", "web"]).starts_with("81/tcp -> "));
}

/// Where nothing can be mounted these are refused.
fn mounts_to_write_to(run: impl Fn(&[&str], &str) -> String, bind: &str, write: &str) {
    assert_eq!(run(&[bind], write), "host\n");
    run(&["--mount", "type=volume,source=vol,target=/vol"], "echo kept > /vol/file");
    assert_eq!(run(&["--mount", "src=vol,dst=/vol,ro"], "cat /vol/file"), "kept\n");
    let memory = "type=tmpfs,target=/memory,tmpfs-mode=750,tmpfs-size=1m";
    assert_eq!(
        run(&["--mount", memory], "stat -c %a /memory; grep -c ' /memory tmpfs ' /proc/mounts"),
        "750\n1\n"
    );
}

#[test]
fn a_port_that_is_published_by_itself_answers() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.dockerfile("FROM busybox\nEXPOSE 8080\nRUN ln -s busybox /bin/nc\n");
    kitchen.build(&["-t", "pong", "."]);
    let serve = "while true; do echo PONG | nc -l -p 8080; done";
    kitchen.galley(&["run", "-d", "--name", "pong", "-P", "pong", "sh", "-c", serve]);
    let ports = kitchen.galley(&["port", "pong", "8080"]);
    let port: u16 = ports.lines().next().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    wait_for("an answer", || {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        read.is_ok() && answer == "PONG\n"
    });
}

/// A terminal of the test's own: its side and the program's.
fn terminal() -> (fs_err::File, fs_err::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let slave = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).unwrap();
    (fs_err::File::from_parts(master.into(), "master"), fs_err::File::from_parts(slave.into(), name))
}

#[test]
fn a_terminal_is_attached_to_and_left_again() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["run", "-dit", "--name", "web", "app", "sh"]);
    let (mut mine, theirs) = terminal();
    let size = rustix::termios::Winsize { ws_row: 33, ws_col: 101, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&theirs, size).unwrap();
    let stream = || Stdio::from(theirs.file().try_clone().unwrap());
    let mut command = kitchen.command(&["attach", "web"]);
    let mut attached = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
    drop(command);
    drop(theirs);
    // What is typed is shown by the shell as well, so the word is put together there. It may come before the terminal is ready.
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let (mut reader, shown) = (mine.file().try_clone().unwrap(), std::sync::Arc::clone(&seen));
    let reading = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            shown.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    });
    let saw = |word: &str| String::from_utf8_lossy(&seen.lock().unwrap()).contains(word);
    wait_for("the shell's answer", || {
        mine.write_all(b"echo ty''ped; busybox stty size\r").unwrap();
        std::thread::sleep(Duration::from_millis(200));
        saw("typed") && saw("33 101")
    });
    mine.write_all(b"\x10\x11").unwrap();
    assert!(attached.wait().unwrap().success());
    assert_eq!(inspect(&kitchen, "web", ".State.Status"), "running");
    drop(mine);
    reading.join().unwrap();
}

#[test]
fn who_asks_while_no_file_can_be_opened_is_answered_later() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["run", "-d", "--name", "web", "app", "sleep", "1000"]);
    let id = inspect(&kitchen, "web", ".Id");
    let found = Command::new("pgrep").args(["-f", &format!("__supervise {id}")]).output().unwrap();
    let supervisors: Vec<String> =
        String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect();
    let limit = |files: &str| {
        for pid in &supervisors {
            let set = Command::new("prlimit").args(["--pid", pid, &format!("--nofile={files}:")]).status();
            assert!(set.unwrap().success());
        }
    };
    limit("1");
    // The kernel gives whoever waits for a connection its file before there is one, so the first is taken.
    refused(&kitchen, &["exec", "web", "true"], "Too many open files");
    let mut asked = kitchen.command(&["exec", "web", "true"]).spawn().unwrap();
    // As long as it takes to ask, mostly; else it is answered at once.
    std::thread::sleep(Duration::from_millis(500));
    assert!(asked.try_wait().unwrap().is_none(), "nothing could be opened");
    limit("1024");
    assert!(asked.wait().unwrap().success());
}

/// What asks is let in by the kernel, and then there is nobody any more.
#[test]
fn who_asks_one_that_ends_hears_that_it_does_not_run() {
    let Some(kitchen) = kitchen() else { return };
    for command in [&["attach", "web"][..], &["exec", "web", "true"]] {
        kitchen.galley(&["run", "-d", "--name", "web", "app", "sleep", "1000"]);
        let id = inspect(&kitchen, "web", ".Id");
        let found = Command::new("pgrep").args(["-f", &format!("__supervise {id}")]).output().unwrap();
        let found = String::from_utf8(found.stdout).unwrap();
        let signal = |name| Command::new("kill").arg(name).args(found.lines()).status().unwrap();
        signal("-STOP");
        let asking = kitchen.command(command).stderr(Stdio::piped()).spawn().unwrap();
        // As long as it takes to ask, mostly; else it finds nobody at once.
        std::thread::sleep(Duration::from_millis(500));
        signal("-KILL");
        let said = text(&asking.wait_with_output().unwrap());
        assert!(said.contains("container web is not running"), "{command:?}: {said}");
        wait_for("its end", || inspect(&kitchen, "web", ".State.Status") == "exited");
        kitchen.galley(&["rm", "web"]);
    }
}

#[test]
fn containers_have_sizes_and_labels_in_lists() {
    let Some(kitchen) = kitchen() else { return };
    let write = "head -c 100000 /dev/zero > /file; rm /data/old";
    let labels = ["--label", "one=a,b", "--label", "two"];
    kitchen.galley(&[&["run", "--name", "web"], &labels[..], &["app", "sh", "-c", write]].concat());
    let shown = |format: &str| kitchen.galley(&["ps", "-a", "--format", format]);
    assert_eq!(shown("{{.Label \"one\"}} [{{.Label \"two\"}}] [{{.Label \"no\"}}]"), "a,b [] []\n");
    assert_eq!(shown("{{.Labels}}"), "one=a,b,two=\n");
    assert!(shown("{{.Size}}").starts_with("100kB (virtual "), "{}", shown("{{.Size}}"));
    let table = kitchen.galley(&["ps", "-as"]);
    assert!(table.lines().next().unwrap().ends_with("SIZE") && table.contains("100kB (virtual "), "{table}");
    let json = shown("json");
    assert!(json.contains(r#""Size":"0B""#) && !json.contains(r#""Label":"#), "{json}");
    refused(&kitchen, &["ps", "-a", "--format", "{{.Labels \"one\"}}"], "only functions take arguments");
}

#[test]
fn images_are_filtered() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.dockerfile("FROM app\nLABEL team=web\n");
    let mut build = kitchen.command(&["build", "-t", "localhost/site:1", "."]);
    assert!(build.env("SOURCE_DATE_EPOCH", "4000000000").output().unwrap().status.success());
    kitchen.galley(&["tag", "localhost/site:1", "site:2"]);
    let names = |filters: &[&str]| {
        let filters: Vec<String> = filters.iter().map(|one| format!("--filter={one}")).collect();
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        let format = "--format={{.Repository}}:{{.Tag}}";
        let shown = kitchen.galley(&[&["images", format], &filters[..]].concat());
        let mut names: Vec<String> = shown.lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(&["reference=site"]), "site:2");
    assert_eq!(names(&["reference=*:2", "reference=*/site"]), "localhost/site:1 site:2");
    assert_eq!(names(&["label=team"]), "localhost/site:1 site:2");
    assert_eq!(names(&["label=team=other"]), "");
    assert_eq!(names(&["label!=team", "reference=a*"]), "app:latest");
    assert_eq!(names(&["since=app", "reference=site"]), "site:2");
    assert_eq!(names(&["before=app", "reference=site"]), "");
    assert_eq!(names(&["dangling=true"]), "");
    kitchen.dockerfile("FROM app\nLABEL team=new\n");
    kitchen.build(&["-t", "app", "."]);
    assert_eq!(names(&["dangling=true"]), "<none>:<none>");
    refused(&kitchen, &["images", "-f", "before=nothing"], "nothing");
    refused(&kitchen, &["images", "-f", "size=1"], "is not supported here");
    refused(&kitchen, &["images", "-f", "reference=[a]"], "there are * and ?");
}

#[test]
fn logs_are_cut_by_time_and_lines_have_theirs() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["run", "--name", "web", "app", "sh", "-c", "echo one; sleep 1.2; echo two"]);
    let stamped = kitchen.galley(&["logs", "-t", "web"]);
    let times: Vec<&str> = stamped.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(times.len() == 2 && times.iter().all(|time| time.len() == 30), "{stamped}");
    assert_eq!(kitchen.galley(&["logs", "--since", times[1], "web"]), "two\n");
    assert_eq!(kitchen.galley(&["logs", "--until", times[0], "web"]), "one\n");
    assert_eq!(kitchen.galley(&["logs", "--since", "1h", "-n", "1", "web"]), "two\n");
    assert_eq!(kitchen.galley(&["logs", "-f", "--until", times[0], "web"]), "one\n");
    refused(&kitchen, &["logs", "--since", "yesterday", "web"], "is no time");
}

#[test]
fn what_was_changed_is_listed() {
    let Some(kitchen) = kitchen() else { return };
    let script = "echo new > /data/new; echo x >> /data/old; rm /data/gone; mkdir /dir";
    kitchen.galley(&["run", "--name", "web", "app", "sh", "-c", script]);
    let expected = "C /data\nD /data/gone\nA /data/new\nC /data/old\nA /dir\n";
    assert_eq!(kitchen.galley(&["diff", "web"]), expected);
    // While it runs, what galley itself has put in its places is no change.
    kitchen.galley(&[
        "run",
        "-d",
        "--name",
        "now",
        "-v",
        "/vol",
        "app",
        "sh",
        "-c",
        &format!("{script}; sleep 1000"),
    ]);
    wait_for("the changes", || kitchen.galley(&["diff", "now"]).ends_with("A /dir\n"));
    assert_eq!(kitchen.galley(&["diff", "now"]), expected);
}

#[test]
fn files_are_copied_out_and_in() {
    let Some(kitchen) = kitchen() else { return };
    let out = tempfile::tempdir().unwrap();
    let at = |path: &str| out.path().join(path);
    let arguments = |from: &str, to: &std::path::Path| said(&kitchen, &["cp", from, to.to_str().unwrap()]);
    // The way to take what a build made: a container that never ran.
    // By chroot a volume without a name is part of the container.
    let volume = if by_chroot() { "/vol" } else { "vol:/vol" };
    kitchen.galley(&["create", "--name", "web", "-v", volume, "app", "sleep", "1000"]);
    assert_eq!(arguments("web:/data", &at("new")), (Some(0), String::new()));
    assert_eq!(fs_err::read_to_string(at("new/old")).unwrap(), "old\n");
    assert_eq!(arguments("web:/data", &at("new")), (Some(0), String::new()));
    assert_eq!(fs_err::read_to_string(at("new/data/old")).unwrap(), "old\n");
    assert_eq!(arguments("web:/data/.", &at("new")).0, Some(0));
    assert_eq!(arguments("web:/data/old", &at("file")).0, Some(0));
    assert_eq!(fs_err::read_to_string(at("file")).unwrap(), "old\n");
    refused(&kitchen, &["cp", "web:/nothing", "."], "has no /nothing");
    refused(&kitchen, &["cp", "web:/vol/x", "."], "volume ");
    refused(&kitchen, &["cp", "web:/etc/hosts", "."], "made anew for each start");

    kitchen.galley(&["start", "web"]);
    fs_err::write(at("new/own"), "mine\n").unwrap();
    let folder = at("new");
    kitchen.galley(&["cp", folder.to_str().unwrap(), "web:/made"]);
    kitchen.galley(&["cp", at("file").to_str().unwrap(), "web:/data"]);
    kitchen.galley(&["cp", at("file").to_str().unwrap(), "web:/vol/inside"]);
    let look = "cat /made/own /made/data/old /data/file /vol/inside; stat -c %u:%g /made/own";
    assert_eq!(kitchen.galley(&["exec", "web", "sh", "-c", look]), "mine\nold\nold\nold\n0:0\n");
    if by_chroot() {
        assert_eq!(arguments("web:/vol/inside", &at("inside")), (Some(0), String::new()));
    }
    // A link inside leads nowhere out.
    kitchen.galley(&["exec", "web", "ln", "-s", "/../../../../../tmp", "/way"]);
    kitchen.galley(&["cp", at("file").to_str().unwrap(), "web:/way/out"]);
    assert_eq!(kitchen.galley(&["exec", "web", "cat", "/tmp/out"]), "old\n");
    kitchen.galley(&["exec", "web", "sh", "-c", "echo now > /data/old"]);
    assert_eq!(arguments("web:/data/old", &at("file")).0, Some(0));
    assert_eq!(fs_err::read_to_string(at("file")).unwrap(), "now\n");
}

#[test]
fn a_hostile_container_writes_nothing_beside_the_target() {
    use std::os::unix::fs::PermissionsExt;
    let Some(kitchen) = kitchen() else { return };
    let (out, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = out.path().join("evil");
    let copied = || said(&kitchen, &["cp", "web:/evil/.", target.to_str().unwrap()]);
    let inside = |script: &str| kitchen.galley(&["exec", "web", "sh", "-c", script]);
    kitchen.galley(&["run", "-d", "--name", "web", "app", "sleep", "1000"]);
    inside(&format!(
        "mkdir /evil; ln -s {} /evil/away; echo > /evil/own; chmod 6755 /evil/own",
        outside.path().display()
    ));
    assert_eq!(copied(), (Some(0), String::new()));
    assert!(target.join("away").is_symlink());
    assert_eq!(fs_err::metadata(target.join("own")).unwrap().permissions().mode() & 0o7777, 0o755);
    // What was a link is a folder by now.
    inside("rm /evil/away; mkdir -m 777 /evil/away; echo > /evil/away/file");
    assert_ne!(copied().0, Some(0));
    assert_eq!(fs_err::read_dir(outside.path()).unwrap().count(), 0);
    inside("rm -r /evil/away; mkfifo /evil/pipe");
    let (code, text) = copied();
    assert!(code != Some(0) && text.contains("a device or a pipe"), "{text}");
}
