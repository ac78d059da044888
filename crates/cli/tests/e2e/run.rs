//! Containers: `run` and its companions.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Stdio,
    time::{Duration, Instant},
};

use super::{Kitchen, by_chroot, succeeded, text};

fn kitchen() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    kitchen.dockerfile(
        "FROM busybox\nENV FROM_IMAGE=yes\nWORKDIR /w\nCMD [\"sh\", \"-c\", \"echo hello; exit 3\"]\n",
    );
    kitchen.build(&["-t", "app", "."]);
    Some(kitchen)
}

#[test]
fn exit_codes_are_dockers() {
    let Some(kitchen) = kitchen() else { return };
    let code = |arguments: &[&str]| {
        kitchen.command(&[&["run", "--rm"], arguments].concat()).output().unwrap().status.code()
    };
    assert_eq!(code(&["app"]), Some(3));
    assert_eq!(code(&["app", "no-such-program"]), Some(127));
    assert_eq!(code(&["app", "/etc/passwd"]), Some(126));
    // The kernel keeps a first process from killing itself; it can be killed from outside alone.
    kitchen.galley(&["run", "-d", "--name", "killed", "app", "sleep", "1000"]);
    kitchen.galley(&["stop", "-t", "0", "killed"]);
    let code_of_killed = kitchen.galley(&["inspect", "-f", "{{.State.ExitCode}}", "killed"]);
    // By chroot it is no first process, and the signal to stop may end it.
    assert!(code_of_killed == "137\n" || (by_chroot() && code_of_killed == "143\n"), "{code_of_killed}");
    assert_eq!(code(&["no-such-image"]), Some(125));
    assert_eq!(code(&["--no-such-flag", "app"]), Some(125));
}

/// `galley run … | head -1` ends when `head` has its line.
#[test]
fn output_that_nobody_reads_ends_the_container() {
    let Some(kitchen) = kitchen() else { return };
    let mut run = kitchen.command(&["run", "--rm", "app", "busybox", "yes"]);
    let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = [0; 2];
    run.stdout.take().unwrap().read_exact(&mut line).unwrap();
    let output = run.wait_with_output().unwrap();
    assert_eq!((line, output.status.code(), text(&output).contains("error")), (*b"y\n", Some(0), false));
    assert_eq!(kitchen.galley(&["ps", "-aq"]), "");
}

#[test]
fn one_that_was_killed_has_ended() {
    let Some(kitchen) = kitchen() else { return };
    for after in [&["rm", "web"][..], &["start", "web"]] {
        kitchen.galley(&["run", "-d", "--name", "web", "app", "sleep", "1000"]);
        kitchen.galley(&["kill", "web"]);
        kitchen.galley(after);
    }
    assert_eq!(kitchen.galley(&["inspect", "-f", "{{.State.Status}}", "web"]), "running\n");
    kitchen.galley(&["rm", "-f", "web"]);
}

#[test]
fn a_terminal_that_is_none_is_not_started_into() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["create", "-it", "--name", "shell", "app", "sh"]);
    let output = kitchen.command(&["start", "-ai", "shell"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output).contains("standard input is no terminal"), "{}", text(&output));
    kitchen.galley(&["rm", "shell"]);
}

/// No Dockerfile is involved.
#[test]
fn a_user_that_is_not_there_is_told_with_what_to_type() {
    let Some(kitchen) = kitchen() else { return };
    let output = kitchen.command(&["run", "--rm", "-u", "nosuch", "app"]).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("--user nosuch: ") && said.contains("or give a number: --user 1000"), "{said}");
    assert!(!said.contains("RUN"), "{said}");
}

#[test]
fn hosts_limits_and_shared_memory() {
    let Some(kitchen) = kitchen() else { return };
    let size =
        if by_chroot() { "echo 2048" } else { "busybox df -k /dev/shm | busybox awk 'END {print $2}'" };
    let script = &format!("busybox tail -n 2 /etc/hosts; ulimit -n; {size}");
    let flags =
        ["--add-host", "DB:10.0.0.1", "--add-host=six:[fe80::1]", "--ulimit", "nofile=100", "--shm-size=2m"];
    let said = kitchen.galley(&[&["run", "--rm"], &flags[..], &["app", "sh", "-c", script]].concat());
    assert_eq!(said, "10.0.0.1\tdb\nfe80::1\tsix\n100\n2048\n");
    let network = if by_chroot() { "--network=bridge" } else { "--network=none" };
    let arguments = ["run", "--rm", network, "--add-host=me:host-gateway", "app", "true"];
    let output = kitchen.command(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output).contains("--network=host it is 127.0.0.1"), "{}", text(&output));
}

#[test]
fn flags_mean_what_they_mean_in_docker() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.env.write("shared/f", "from the host");
    let protected = if by_chroot() { ":ro" } else { "" };
    let volume = format!("{}:/v{protected}", kitchen.env.work().join("shared").display());
    let said = kitchen.galley(&[
        "run",
        "--rm",
        "-e",
        "A=1",
        "-v",
        &volume,
        "-w",
        "/tmp",
        "-u",
        "65534",
        "--entrypoint",
        "sh",
        "app",
        "-c",
        "echo $A $FROM_IMAGE $PWD $(id -u) $(cat /v/f); [ -e /.dockerenv ] && echo a container",
    ]);
    assert_eq!(said, "1 yes /tmp 65534 from the host\na container\n");
    assert_eq!(kitchen.galley(&["ps", "-aq"]), "", "--rm left a container");
}

#[test]
fn standard_input_goes_in() {
    let Some(kitchen) = kitchen() else { return };
    let mut child = kitchen.command(&["run", "--rm", "-i", "app", "cat"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"through").unwrap();
    let output = succeeded(child.wait_with_output().unwrap());
    assert_eq!(output.stdout, b"through");
}

#[test]
fn named_volumes_outlive_containers() {
    let Some(kitchen) = kitchen() else { return };
    if by_chroot() {
        let refused = kitchen.command(&["run", "--rm", "-v", "data:/d", "app", "true"]).output().unwrap();
        assert_eq!(refused.status.code(), Some(125), "{}", text(&refused));
        assert!(text(&refused).contains("-v data:/d cannot be had in this container"), "{}", text(&refused));
        return;
    }
    kitchen.galley(&["run", "--rm", "-v", "data:/d", "app", "sh", "-c", "echo kept > /d/f"]);
    assert_eq!(kitchen.galley(&["run", "--rm", "-v", "data:/d", "app", "cat", "/d/f"]), "kept\n");
}

#[test]
fn a_new_volume_starts_with_what_the_image_has_there() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile(
        "FROM busybox\nRUN mkdir -p /data/d && echo image > /data/d/f && chown 5:6 /data && chmod 750 /data\n\
         VOLUME /data\n",
    );
    kitchen.build(&["-t", "app", "."]);
    let run = |volume: &[&str], script: &str| {
        kitchen.galley(&[&["run", "--rm"], volume, &["app", "sh", "-c", script]].concat())
    };
    let look = "stat -c '%a %u:%g' /data; cat /data/d/f";
    assert_eq!(run(&[], look), "750 5:6\nimage\n");
    if by_chroot() {
        // There are no named ones.
        assert_eq!(run(&["-v", "/none"], "ls /none"), "");
        return;
    }
    assert_eq!(
        run(&["-v", "v:/data"], &format!("{look}; rm -r /data/d; echo mine > /data/f")),
        "750 5:6\nimage\n"
    );
    assert_eq!(run(&["-v", "v:/data"], "ls /data; cat /data/f"), "f\nmine\n");
    // An image without such a directory leaves the volume empty.
    assert_eq!(run(&["-v", "w:/none"], "ls /none"), "");
}

/// The second one finds it empty, and the first has it mounted.
#[test]
fn a_volume_that_is_shared_is_the_same_for_all() {
    let Some(kitchen) = Kitchen::new() else { return };
    if by_chroot() {
        eprintln!("SKIPPED: by chroot there are no volumes that can be shared");
        return;
    }
    kitchen.dockerfile("FROM busybox\nRUN mkdir /empty && chmod 700 /empty\n");
    kitchen.build(&["-t", "app", "."]);
    kitchen.galley(&["run", "-d", "--name", "first", "-v", "v:/empty", "app", "sleep", "1000"]);
    let run = |script: &str| kitchen.galley(&["run", "--rm", "-v", "v:/empty", "app", "sh", "-c", script]);
    assert_eq!(run("ls /empty; stat -c %a /empty"), "700\n");
    let written = kitchen.command(&["exec", "first", "sh", "-c", "echo first > /empty/f"]).output().unwrap();
    let found = run("cat /empty/f; echo second > /empty/f");
    let seen = kitchen.command(&["exec", "first", "cat", "/empty/f"]).output().unwrap();
    kitchen.galley(&["rm", "-f", "first"]);
    assert!(written.status.success(), "{}", text(&written));
    assert_eq!(found, "first\n");
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "second\n", "{}", text(&seen));
}

#[test]
fn a_detached_container_is_listed_logged_and_stopped() {
    let Some(kitchen) = kitchen() else { return };
    let script = "echo started; trap 'echo stopped; exit 0' TERM; while true; do sleep 0.1; done";
    let id = kitchen.galley(&["run", "-d", "--name", "web", "app", "sh", "-c", script]);
    assert_eq!(id.trim().len(), 64);
    wait_for(|| kitchen.galley(&["logs", "web"]) == "started\n");
    assert_eq!(kitchen.galley(&["ps", "--format", "{{.Names}} {{.Image}}"]), "web app\n");
    kitchen.galley(&["stop", "web"]);
    assert_eq!(kitchen.galley(&["logs", "web"]), "started\nstopped\n");
    assert_eq!(kitchen.galley(&["ps", "-q"]), "");
    assert_eq!(kitchen.galley(&["ps", "-a", "--format", "{{.Status}}"]).split(' ').next(), Some("Exited"));
    let again = kitchen.command(&["run", "--name", "web", "app"]).output().unwrap();
    assert_eq!(again.status.code(), Some(125), "{}", text(&again));
    kitchen.galley(&["rm", "web"]);
    assert_eq!(kitchen.galley(&["ps", "-aq"]), "");
}

#[test]
fn a_published_port_answers() {
    let Some(kitchen) = kitchen() else { return };
    let serve = "while true; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nPONG' | nc -l -p 8080; done";
    kitchen.dockerfile("FROM busybox\nRUN ln -s busybox /bin/nc; ln -s busybox /bin/printf\n");
    kitchen.build(&["-t", "pong", "."]);
    let port = free_port();
    let publish = format!("127.0.0.1:{port}:8080");
    kitchen.galley(&["run", "-d", "--name", "pong", "-p", &publish, "pong", "sh", "-c", serve]);
    let mut answer = String::new();
    wait_for(|| {
        answer.clear();
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let asked = stream.write_all(b"GET /ping HTTP/1.0\r\n\r\n");
        asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.ends_with("PONG")
    });
    kitchen.galley(&["stop", "-t", "0", "pong"]);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the port is still open");
    kitchen.galley(&["rm", "pong"]);
}

#[test]
fn a_container_is_created_exported_and_removed() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["create", "--name", "temp", "app"]);
    let output = succeeded(kitchen.command(&["export", "temp"]).output().unwrap());
    let files = super::read_tar(&output.stdout);
    assert!(files.contains_key("bin/busybox") && files.contains_key("w"));
    kitchen.galley(&["rm", "temp"]);
    kitchen.env.write("taken", "");
    let refused = kitchen.command(&["create", "--cidfile", "taken", "app"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(125), "{}", text(&refused));
    assert_eq!(kitchen.galley(&["ps", "-aq"]), "");
}

#[test]
fn images_are_listed_tagged_and_removed() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["tag", "app", "other:v1"]);
    let mut listed: Vec<_> = kitchen
        .galley(&["images", "--format", "{{.Repository}}:{{.Tag}}"])
        .lines()
        .map(str::to_owned)
        .collect();
    listed.sort();
    assert_eq!(listed, ["app:latest", "other:v1"]);
    assert!(kitchen.galley(&["history", "app"]).contains("CMD [\"sh\" \"-c\" \"echo hello; exit 3\"]"));
    assert!(kitchen.galley(&["rmi", "other:v1"]).contains("Untagged: other:v1"));
    // As in scripts that clean up.
    let again = |flags: &[&str]| kitchen.command(&[flags, &["other:v1"]].concat()).output().unwrap();
    assert_eq!(again(&["rmi"]).status.code(), Some(5));
    assert_eq!(again(&["rmi", "-f"]).status.code(), Some(0));
    assert!(text(&again(&["rmi", "-f"])).contains("no such image: other:v1"));
    assert_eq!(kitchen.galley(&["images", "--format", "{{.Repository}}"]), "app\n");
}

/// A port that nobody gets who takes any: it is below those.
fn free_port() -> u16 {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    (first..32_000).find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

fn wait_for(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(120), "waited 120 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}
