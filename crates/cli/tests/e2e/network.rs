//! Steps that run before their network is there.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use fs_err as fs;
use galley_testkit::install_script;

use super::{Kitchen, succeeded, text};

const FELL_BACK: &str = "RUN uses the network of this machine: pasta failed";

/// A build that finds a `pasta` which leaves a file, does nothing until there is a file `go`, and fails then.
fn build_command(kitchen: &Kitchen) -> Command {
    let programs = kitchen.path("programs");
    fs::create_dir_all(&programs).unwrap();
    let go = kitchen.path("go");
    let script = format!(
        "#!/bin/sh\n: > {0}.asked\nwhile [ ! -e {0} ]; do sleep 0.01; done\necho no luck >&2\nexit 1\n",
        go.display()
    );
    install_script(&script, &programs.join("pasta"));
    let mut command = kitchen.build_command(&["--progress=plain", "."]);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", programs.display()));
    command
}

/// Says, loudly, where no network can be made at all.
fn can_have_networks() -> bool {
    let can = fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").is_ok();
    if !can {
        eprintln!("SKIPPED: /dev/net/tun cannot be opened");
    }
    can
}

#[test]
fn a_step_without_sockets_does_not_wait_for_its_network() {
    let Some(kitchen) = Kitchen::new().filter(|_| can_have_networks()) else { return };
    kitchen.dockerfile("FROM busybox\nRUN echo one > /one\nRUN cat /one\n");
    let output = succeeded(build_command(&kitchen).output().unwrap());
    assert!(!kitchen.path("go.asked").exists());
    assert!(!text(&output).contains("warning"), "{}", text(&output));
}

#[test]
fn a_step_begins_anew_when_its_network_cannot_be_had() {
    let Some(kitchen) = Kitchen::new().filter(|_| can_have_networks()) else { return };
    kitchen.dockerfile(
        "FROM busybox\nRUN echo before; echo x >> /once; ip link > /links\nRUN test $(wc -l < /once) = 1\n",
    );
    let mut build = build_command(&kitchen).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(build.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains(" before\n") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
    }
    fs::write(kitchen.path("go"), "").unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert!(build.wait().unwrap().success(), "{said}");
    assert!(said.contains("RUN begins anew") && said.contains(FELL_BACK), "{said}");
    assert_eq!(said.matches(" before\n").count(), 2, "{said}");
}

#[test]
fn the_first_socket_of_a_step_finds_its_network() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM busybox\nRUN ip route | grep ^default\n");
    let output = kitchen.build_command(&["--progress=plain", "."]).output().unwrap();
    if text(&output).contains("RUN uses the network of this machine") {
        eprintln!("SKIPPED: no private network here");
        return;
    }
    succeeded(output);
}
