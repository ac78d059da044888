//! Builds and containers by root of a container that may neither mount nor make namespaces.

use std::{cell::RefCell, process::Command};

use fs_err as fs;
use rustix::process::{Pid, Signal};

use super::{Kitchen, by_chroot, counts, succeeded, text};

/// What an ordinary container may do, as setpriv has it.
const RIGHTS: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+net_bind_service,+net_raw,\
                      +sys_chroot,+mknod,+audit_write,+setfcap";

/// The same command without the right to mount; `None`, said loudly, where it cannot be taken away.
fn in_pod(kitchen: &Kitchen, command: &Command) -> Option<Command> {
    let mut inside = kitchen.env.command("setpriv");
    inside.arg(format!("--bounding-set={RIGHTS}")).arg(format!("--inh-caps={RIGHTS}"));
    if !rustix::process::geteuid().is_root()
        || !inside.arg("true").output().is_ok_and(|it| it.status.success())
    {
        eprintln!("SKIPPED: only root can give up rights that it has, by setpriv");
        return None;
    }
    let mut inside = kitchen.env.command("setpriv");
    inside.arg(format!("--bounding-set={RIGHTS}")).arg(format!("--inh-caps={RIGHTS}"));
    inside.arg(command.get_program()).args(command.get_args());
    Some(inside)
}

/// The layers and the archive of a reproducible build into a store of its own.
fn built(kitchen: &Kitchen, name: &str, pod: bool) -> Option<(Vec<String>, Vec<u8>)> {
    let (archive, store) = (kitchen.path(&format!("{name}.tar")), kitchen.path(name));
    let output = format!("type=oci,dest={}", archive.display());
    let store_option = format!("--root={}", store.display());
    let arguments =
        [&store_option, "--reproducible", "--network=host", "--secret=id=s,src=secret", "-o", &output, "."];
    let mut command = kitchen.build_command(&arguments);
    if pod {
        command = in_pod(kitchen, &command)?;
    }
    succeeded(command.output().unwrap());
    let names = fs::read_dir(store.join("layers")).unwrap();
    let mut layers: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    layers.sort();
    // Nothing of a secret stays, whatever a step did.
    let found = Command::new("grep").args(["-rl", "--", "tops3cret"]).arg(&store).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    Some((layers, fs::read(archive).unwrap()))
}

#[test]
fn a_build_without_mounts_gives_the_layers_of_one_with_mounts() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.env.write("secret", "tops3cret");
    kitchen.env.write(".dockerignore", "secret");
    kitchen.env.write("file", "of the context");
    kitchen.dockerfile(
        "FROM busybox\n\
         RUN mkdir -p /opt/a/b && echo 1 > /opt/a/one && /bin/busybox ln /opt/a/one /opt/a/two && echo 2 > /opt/a/b/deep\n\
         WORKDIR /new/deep\n\
         RUN pwd > where; /bin/busybox chown -R 1000:1000 /opt/a; /bin/busybox chmod 4755 /opt/a/b/deep; echo told > /dev/stderr\n\
         COPY file /opt/a/b\n\
         RUN rm -rf /opt/a/b && mkdir /opt/a/b && touch /opt/a/b/again; rm /opt/a/two; /bin/busybox mkfifo /opt/fifo\n\
         RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/opt/tmp --mount=type=secret,id=s \
             --mount=type=bind,rw,target=/context \
             echo kept >> /cache/file; touch /opt/tmp/gone /context/gone; /bin/busybox test -s /run/secrets/s\n\
         RUN --mount=type=cache,target=/cache --mount=from=busybox,target=/other cp /cache/file /cached; /bin/busybox ls /other/bin > /list\n\
         USER 65534:65534\n\
         RUN id -u > /dev/stdout; (sleep 1000 &) ; touch /tmp/mine\n\
         USER root\n\
         RUN <<EOF\ncat /etc/hosts > /hosts\necho new > /etc/hosts || true\nEOF\n\
         RUN /bin/busybox sed -i s/root/toor/ /etc/passwd\n",
    );
    let Some(pod) = built(&kitchen, "pod", true) else { return };
    assert_eq!(pod.0, built(&kitchen, "root", false).unwrap().0);
    assert_eq!(pod.1, built(&kitchen, "again", false).unwrap().1);
    // With mounts nothing that is mounted can be moved; here it must not go along.
    let moving =
        "FROM busybox\nRUN --mount=type=secret,id=s cat /run/secrets/s > /dev/null; mv /run/secrets /moved\n";
    kitchen.dockerfile(moving);
    built(&kitchen, "moved", true).unwrap();
}

/// Nothing that a step writes through one of several names gets into a layer that is there already, nor past a layer's scan.
#[test]
fn layers_are_sound_after_writes_through_every_kind_of_name() {
    let Some(kitchen) = Kitchen::new() else { return };
    let steps = [
        "mkdir /l /m && echo one > /l/a && ln /l/a /l/b && ln /l/a /m/c && echo two > /m/x && ln /m/x /m/y",
        "echo more >> /l/b",
        "ln /l/a /m/d && echo again >> /m/d && chmod 600 /l/b",
        "chmod 4755 /m/c && ln /m/x /l/z && rm /m/y && echo three >> /l/z && chown 7:8 /l/z",
        "ln /l/b /l/e && ln /l/e /l/f && rm /l/b && chmod 640 /l/f && echo last >> /l/e",
    ];
    let applets = ["ln", "chmod", "chown", "rm", "mkdir"];
    let with_applets = |step: &str| {
        let words = step.split(' ').map(|word| match applets.contains(&word) {
            true => format!("/bin/busybox {word}"),
            false => word.to_owned(),
        });
        format!("RUN {}\n", words.collect::<Vec<_>>().join(" "))
    };
    kitchen.dockerfile(&format!("FROM busybox\n{}", steps.map(with_applets).concat()));
    for flag in ["--no-cache", "--reproducible"] {
        let archive = kitchen.path("out.tar");
        let output = format!("type=tar,dest={}", archive.display());
        let arguments = ["--network=host", flag, "-o", &output, "."];
        let Some(mut command) = in_pod(&kitchen, &kitchen.build_command(&arguments)) else { return };
        succeeded(command.output().unwrap());
        super::keep::assert_sound(&kitchen, flag);
        let files = super::read_tar(&fs::read(&archive).unwrap());
        let shown = |path: &str| {
            let file = files[path].link.as_ref().map_or(&files[path], |first| &files[first]);
            (String::from_utf8_lossy(&file.content).replace('\n', " "), file.mode, file.owner.0)
        };
        let is = |text: &str, mode: u32, uid: u64| (text.to_owned(), mode, uid);
        assert_eq!([shown("l/a"), shown("m/d")], [is("one again ", 0o644, 0), is("one again ", 0o644, 0)]);
        assert_eq!(shown("m/c"), is("one again ", 0o4755, 0));
        assert_eq!([shown("m/x"), shown("l/z")], [is("two three ", 0o644, 7), is("two three ", 0o644, 7)]);
        let last = is("one more last ", 0o640, 0);
        assert_eq!([shown("l/e"), shown("l/f")], [last.clone(), last]);
        assert!(!files.contains_key("l/b") && !files.contains_key("m/y"));
    }
}

#[test]
fn what_needs_mounts_is_refused_by_name() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM busybox\nRUN --security=insecure true\n");
    let command = kitchen.build_command(&["--progress=plain", "--allow=security.insecure", "."]);
    let Some(mut command) = in_pod(&kitchen, &command) else { return };
    let output = command.output().unwrap();
    let said = text(&output);
    assert!(said.contains("RUN --security=insecure cannot be had in this container"), "{said}");
    let output = in_pod(&kitchen, &kitchen.command(&["doctor"])).unwrap().output().unwrap();
    assert!(text(&output).contains("by chroot, in a copy of the files"), "{}", text(&output));
}

#[test]
fn without_a_network_there_are_no_sockets() {
    let Some(kitchen) = with_image() else { return };
    let script = "wget -qO- http://127.0.0.1:9/ 2>&1 | /bin/busybox grep -o 'Address family not supported'";
    kitchen.dockerfile(&format!(
        "FROM busybox\nRUN --network=none {script} > /said\nRUN /bin/busybox test -s /said\n"
    ));
    let output =
        in_pod(&kitchen, &kitchen.build_command(&["--progress=plain", "."])).unwrap().output().unwrap();
    let told = "no network is no sockets here";
    assert_eq!(text(&succeeded(output)).matches(told).count(), 1);
    let (code, out, error) =
        run(&kitchen, &["run", "-d", "--name=alone", "--network=none", "x", "sleep", "1000"]);
    assert!(code == Some(0) && error.contains(told), "{out}{error}");
    let (code, out, error) = run(&kitchen, &["exec", "alone", "sh", "-c", script]);
    assert_eq!((code, out.as_str()), (Some(0), "Address family not supported\n"), "{error}");
    run(&kitchen, &["rm", "-f", "alone"]);
}

#[test]
fn what_has_no_effect_is_told_once() {
    let Some(kitchen) = Kitchen::new() else { return };
    let sized = "RUN --mount=type=tmpfs,target=/t,size=4096";
    kitchen.dockerfile(&format!("FROM busybox\n{sized} true\n{sized} echo again\n"));
    let told = ["--hostname and BUILDKIT_", "--shm-size has no effect", "type=tmpfs,size= has no effect"];
    for (flags, expected) in [(&[][..], 1), (&["--hostname=own", "--shm-size=1m"], 3)] {
        let arguments = [&["--progress=plain", "--no-cache"], flags, &["."]].concat();
        let Some(mut command) = in_pod(&kitchen, &kitchen.build_command(&arguments)) else { return };
        let said = text(&succeeded(command.output().unwrap()));
        let counts = told.map(|message| said.matches(message).count());
        assert_eq!(counts.iter().sum::<usize>(), expected, "{said}");
        assert!(counts.iter().all(|count| *count <= 1), "{said}");
    }
}

/// A container of the image `x`, by chroot: its exit code, and both of its streams.
fn run(kitchen: &Kitchen, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = in_pod(kitchen, &kitchen.command(arguments)).unwrap().output().unwrap();
    let [out, error] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it).into_owned());
    (output.status.code(), out, error)
}

fn with_image() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    in_pod(&kitchen, &kitchen.command(&["version"]))?;
    kitchen.dockerfile("FROM busybox\nVOLUME /data\nWORKDIR /w\nCMD [\"sh\"]\n").build(&["-t", "x", "."]);
    Some(kitchen)
}

#[test]
fn a_container_runs_and_keeps_what_it_wrote() {
    let Some(kitchen) = with_image() else { return };
    kitchen.env.write("file", "machine");
    let bind = format!("{}:/bound", kitchen.env.work().join("file").display());
    let script = "cat /bound; echo container > /bound; echo x >> /data/f; cat /data/f; echo told > /dev/stderr; \
                  echo mine > /dev/shm/x; test -c /dev/null && pwd; exit 3";
    let first = ["run", "--name", "own", "-v", &bind, "-e", "A=1", "x", "sh", "-c", script];
    let (code, out, error) = run(&kitchen, &first);
    assert_eq!((code, out.as_str()), (Some(3), "machinex\n/w\n"), "{error}");
    assert!(error.contains("warning: the container is not kept from this one") && error.ends_with("told\n"));
    assert_eq!(fs::read_to_string(kitchen.env.work().join("file")).unwrap(), "container\n");
    assert_eq!(run(&kitchen, &["start", "-a", "own"]).1, "container\nx\nx\n/w\n");
    // Neither devices nor the files that tell where it is are part of it; what it wrote is, also where there are mounts.
    let archive = succeeded(kitchen.command(&["export", "own"]).output().unwrap()).stdout;
    let files = super::read_tar(&archive);
    assert_eq!(files["data/f"].content, b"x\nx\n");
    assert!(!files.contains_key("dev/null") && !files.contains_key("dev/shm/x"));
    assert!(files.get("etc/hosts").is_none_or(|hosts| hosts.content.is_empty()));
    let again = kitchen.command(&["start", "-a", "own"]).output().unwrap();
    assert!(String::from_utf8_lossy(&again.stdout).ends_with("x\nx\nx\n/w\n"), "{}", text(&again));
}

#[test]
fn what_a_container_cannot_have_is_refused_by_name() {
    let Some(kitchen) = with_image() else { return };
    let folder = format!("{}:/v", kitchen.env.work().display());
    for (flag, named) in [
        ("--read-only", "--read-only"),
        ("--tmpfs=/run:ro", "--tmpfs /run with size or ro"),
        // Without CAP_SETPCAP.
        ("--cap-drop=CHOWN", "--cap-drop"),
        ("--volume=data:/d", "-v data:/d"),
        ("--mount=type=volume,target=/d,readonly", "a read-only volume at /d"),
        ("--mount=type=tmpfs,target=/run,tmpfs-size=1m", "--tmpfs /run with size or ro"),
        (&format!("--volume={folder}"), &format!("-v {folder}")),
    ] {
        let (code, _, error) = run(&kitchen, &["run", "--rm", flag, "x", "true"]);
        assert_eq!(code, Some(125), "{error}");
        assert!(error.contains(&format!("{named} cannot be had in this container")), "{error}");
        assert!(error.contains("help: "), "{error}");
    }
    if by_chroot() {
        return; // nobody here can make one with mounts
    }
    kitchen.galley(&["run", "--name", "mounted", "x", "touch", "/there"]);
    let (code, _, error) = run(&kitchen, &["start", "-a", "mounted"]);
    assert!(code == Some(125) && error.contains("has files that only an overlay shows"), "{error}");
}

#[test]
fn a_volume_that_is_only_read_is_a_copy() {
    let Some(kitchen) = with_image() else { return };
    kitchen.galley(&["volume", "create", "data"]);
    let file = kitchen.env.store().join("volumes/data/file");
    fs::write(&file, "kept").unwrap();
    let script = "cat /d/file; echo x > /d/file";
    let (code, out, error) = run(&kitchen, &["run", "--rm", "-v", "data:/d:ro", "x", "sh", "-c", script]);
    assert_eq!((code, out.as_str()), (Some(0), "kept"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
}

#[test]
fn a_host_name_is_told_to_programs_that_read_it() {
    let Some(kitchen) = with_image() else { return };
    let script = "cat /etc/hostname; echo $HOSTNAME; /bin/busybox grep -c own /etc/hosts";
    let (code, out, error) = run(&kitchen, &["run", "--rm", "--hostname=own", "x", "sh", "-c", script]);
    assert_eq!((code, out.as_str()), (Some(0), "own\nown\n1\n"), "{error}");
    assert!(error.contains("warning: --hostname is in /etc/hostname"), "{error}");
}

#[test]
fn nothing_is_left_of_a_container_whose_supervisor_was_killed() {
    let Some(kitchen) = with_image() else { return };
    let script = "echo kept > /data/f; (sleep 5544334 &); exec sleep 5544334";
    let (code, id, error) = run(&kitchen, &["run", "-d", "--name", "web", "x", "sh", "-c", script]);
    assert_eq!(code, Some(0), "{error}");
    super::crash::wait_for("both", || sleeping(5_544_334) == 2);
    assert_eq!(run(&kitchen, &["exec", "web", "cat", "/data/f"]).1, "kept\n");
    signal(supervisor(id.trim()), Signal::KILL);
    super::crash::wait_for("the end of all", || sleeping(5_544_334) == 0);
    let folder = kitchen.env.store().join("containers").join(id.trim());
    assert!(folder.join("root/dev/null").exists(), "nobody has cleaned up yet");
    assert_eq!(run(&kitchen, &["start", "web"]).0, Some(0));
    assert_eq!(run(&kitchen, &["exec", "web", "sh", "-c", "cat /data/f; cat /dev/null"]).1, "kept\n");
    assert_eq!(run(&kitchen, &["stop", "web"]).0, Some(0));
    assert!(!folder.join("root/dev/null").exists() && !folder.join("aside").exists());
    run(&kitchen, &["rm", "web"]);
    super::keep::assert_sound(&kitchen, "after a killed supervisor");
}

/// What the real one does first: it looks for its folder.
const GO: &str = r#"#!/bin/sh
[ -n "$GOROOT" ] || /bin/busybox readlink /proc/self/exe || { echo "go: cannot find GOROOT directory: 'go' binary is trimmed and GOROOT is not set"; exit 2; }
"#;

#[test]
fn go_is_told_where_it_is() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.env.write("go", GO);
    kitchen.env.write("secret", "tops3cret");
    let with_go = "FROM busybox\nCOPY --chmod=755 go /usr/local/go/bin/\nWORKDIR /usr/local/go/pkg/tool\n";
    kitchen.dockerfile(&format!("{with_go}RUN /usr/local/go/bin/go && echo works > /file\n"));
    let (pod, root) = (built(&kitchen, "pod", true), built(&kitchen, "root", false));
    let Some((pod, root)) = pod.zip(root) else { return };
    assert_eq!(pod.0, root.0);
    assert!(pod.1 == root.1, "the images differ");
    kitchen.dockerfile("FROM busybox\nCOPY --chmod=755 go /elsewhere/\nRUN /elsewhere/go\n");
    let output =
        in_pod(&kitchen, &kitchen.build_command(&["--progress=plain", "."])).unwrap().output().unwrap();
    assert!(!output.status.success());
    assert!(text(&output).contains("`ENV GOROOT=/usr/local/go` before this RUN"), "{}", text(&output));
}

#[test]
fn a_killed_build_leaves_neither_processes_nor_its_root() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM busybox\nRUN (sleep 5544332 &); sleep 5544332; true\n");
    if !killed(&kitchen, 5_544_332) {
        return;
    }
    kitchen.dockerfile("FROM busybox\nRUN echo works > /file\n");
    let output = in_pod(&kitchen, &kitchen.build_command(&["."])).unwrap().output().unwrap();
    assert_eq!(counts(&succeeded(output)).executed, 1);
    super::keep::assert_sound(&kitchen, "after a killed build");
    assert_eq!(fs::read_dir(kitchen.env.store().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_cache_outlives_a_killed_build() {
    let Some(kitchen) = Kitchen::new() else { return };
    let cache = "RUN --mount=type=cache,target=/old/cache";
    let step =
        "echo kept > /old/cache/file; /bin/busybox mv /old /moved; (sleep 5544333 &); sleep 5544333; true";
    kitchen.dockerfile(&format!("FROM busybox\n{cache} {step}\n"));
    if !killed(&kitchen, 5_544_333) {
        return;
    }
    kitchen.dockerfile(&format!("FROM busybox\n{cache} /bin/busybox grep kept /old/cache/file\n"));
    succeeded(in_pod(&kitchen, &kitchen.build_command(&["."])).unwrap().output().unwrap());
    super::keep::assert_sound(&kitchen, "after a killed build");
}

#[test]
fn a_step_that_waits_for_what_was_killed_says_so_and_can_be_ended() {
    let Some(kitchen) = Kitchen::new() else { return };
    let cache = "FROM busybox\nRUN --mount=type=cache,id=mine,target=/cache";
    kitchen.dockerfile(&format!("{cache} exec sleep 5544335\n"));
    let Some(mut command) = in_pod(&kitchen, &kitchen.build_command(&["."])) else { return };
    let null = std::process::Stdio::null;
    let mut build = command.stdout(null()).stderr(null()).spawn().unwrap();
    super::crash::wait_for("the step", || sleeping(5_544_335) == 1);
    let guard = guard_of(5_544_335);
    signal(guard, Signal::STOP);
    build.kill().unwrap();
    build.wait().unwrap();

    kitchen.dockerfile(&format!("{cache} echo works > /file\n"));
    let said = kitchen.path("said");
    let mut command = in_pod(&kitchen, &kitchen.build_command(&["--progress=plain", "."])).unwrap();
    let file = fs::File::create(&said).unwrap().into_file();
    let waiting = RefCell::new(command.stdout(null()).stderr(file).spawn().unwrap());
    let told = super::crash::comes(|| fs::read_to_string(&said).unwrap().contains("the cache mount mine"));
    signal(Pid::from_child(&waiting.borrow()), Signal::INT);
    let ended = super::crash::comes(|| waiting.borrow_mut().try_wait().unwrap().is_some());
    signal(guard, Signal::CONT);
    let (code, said) = (waiting.borrow_mut().wait().unwrap().code(), fs::read_to_string(&said).unwrap());
    assert!(told && ended && code == Some(130), "{told} {ended} {code:?}: {said}");
    super::crash::wait_for("the end of the guard", || sessions_are_free(&kitchen));
    succeeded(in_pod(&kitchen, &kitchen.build_command(&["."])).unwrap().output().unwrap());
    super::keep::assert_sound(&kitchen, "after a killed build");
}

#[test]
fn the_root_of_a_container_is_its_own_until_its_processes_have_ended() {
    let Some(kitchen) = with_image() else { return };
    let (code, id, error) = run(&kitchen, &["run", "-d", "--name", "web", "x", "sleep", "5544336"]);
    assert_eq!(code, Some(0), "{error}");
    super::crash::wait_for("the program", || sleeping(5_544_336) == 1);
    let guard = guard_of(5_544_336);
    signal(guard, Signal::STOP);
    let supervisor = supervisor(id.trim());
    signal(supervisor, Signal::KILL);
    let cmdline = format!("/proc/{}/cmdline", supervisor.as_raw_nonzero());
    super::crash::wait_for("the end of the supervisor", || {
        fs::read(&cmdline).map_or(true, |line| line.is_empty())
    });
    let lock = kitchen.env.store().join("containers").join(id.trim()).join("lock");
    let is_free = || {
        let file = fs::File::open(&lock).unwrap();
        rustix::fs::flock(file.file(), rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
    };
    let early = is_free();
    signal(guard, Signal::CONT);
    assert!(!early, "its root was free while its program ran");
    // Whoever asks waits for that.
    assert_eq!(run(&kitchen, &["inspect", "-f", "{{.State.Status}}", "web"]).1, "exited\n");
    assert_eq!(sleeping(5_544_336), 0);
    let (code, _, error) = run(&kitchen, &["start", "web"]);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(run(&kitchen, &["inspect", "-f", "{{.State.Status}}", "web"]).1, "running\n");
    assert_eq!(run(&kitchen, &["rm", "-f", "web"]).0, Some(0));
    super::keep::assert_sound(&kitchen, "after a killed supervisor");
}

/// What watches the one program that sleeps that long.
fn guard_of(seconds: u32) -> Pid {
    let seconds = seconds.to_string();
    let is_it = |entry: &fs::DirEntry| {
        let line = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        line.starts_with("sleep\0") && line.contains(&seconds)
    };
    let program = fs::read_dir("/proc").unwrap().flatten().find(is_it).unwrap();
    let stat = fs::read_to_string(program.path().join("stat")).unwrap();
    let parent = stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap();
    Pid::from_raw(parent.parse().unwrap()).unwrap()
}

fn signal(process: Pid, signal: Signal) {
    rustix::process::kill_process(process, signal).unwrap();
}

/// Kills a build in a pod when two processes sleep that long, and waits for their end; `false` where there is no pod.
fn killed(kitchen: &Kitchen, seconds: u32) -> bool {
    let Some(mut command) = in_pod(kitchen, &kitchen.build_command(&["."])) else { return false };
    let null = std::process::Stdio::null;
    let mut build = command.stdout(null()).stderr(null()).spawn().unwrap();
    let both = super::crash::comes(|| sleeping(seconds) == 2);
    build.kill().unwrap();
    build.wait().unwrap();
    assert!(both, "the step does not run");
    // Its folder is its own as long as anything of the step is there.
    super::crash::wait_for("the end of the guard", || sessions_are_free(kitchen));
    assert_eq!(sleeping(seconds), 0, "the locks of the build are free before the end of its step");
    true
}

/// Whether nobody has a lock of a process.
fn sessions_are_free(kitchen: &Kitchen) -> bool {
    let entries = fs::read_dir(kitchen.env.store().join("tmp")).unwrap().flatten();
    let locks =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "lock"));
    let is_free = |lock: fs::File| {
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
    };
    locks.filter_map(|lock| fs::File::open(lock).ok()).all(is_free)
}

fn supervisor(id: &str) -> Pid {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let is_it = |line: &String| line.contains("\0__supervise\0") && line.contains(id);
    let found =
        entries.filter(|entry| fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|it| is_it(&it)));
    let numbers = found.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(Pid::from_raw).next().expect("there is a supervisor")
}

fn sleeping(seconds: u32) -> usize {
    let seconds = seconds.to_string();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let commands = entries.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    commands.filter(|command| command.starts_with("sleep\0") && command.contains(&seconds)).count()
}
