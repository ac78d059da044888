//! `RUN --mount=type=ssh`, asked by OpenSSH's own program.

use std::{path::Path, process::Command};

use fs_err as fs;
use galley_testkit::FakeAgent;

use super::{Kitchen, one_id, succeeded, text};

/// A kitchen whose context has `ssh-add` with all that it needs, below `tools`.
fn kitchen() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    let Ok(found) =
        Command::new("sh").args(["-c", "command -v ssh-add && ldd $(command -v ssh-add)"]).output()
    else {
        return None;
    };
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    let files: Vec<&str> = said.split_whitespace().filter(|word| word.starts_with('/')).collect();
    if !found.status.success() || files.len() < 2 {
        eprintln!("SKIPPED: openssh-client is not installed; `make test` installs it");
        return None;
    }
    for file in files {
        let to = kitchen.env.work().join("tools").join(file.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    }
    Some(kitchen)
}

const TOOLS: &str = "FROM busybox AS tools\nENV PATH=/bin:/usr/bin\nCOPY tools /\nRUN mkdir -p /etc /out && echo root:x:0:0::/:/bin/sh > /etc/passwd && echo cook:x:5:5::/:/bin/sh >> /etc/passwd\nFROM tools AS asked\n";

fn asked(kitchen: &Kitchen, line: &str, flags: &[&str]) -> String {
    kitchen.dockerfile(&format!("{TOOLS}{line}\nFROM scratch\nCOPY --from=asked /out /\n"));
    let files = kitchen.files(&[flags, &["."]].concat());
    files.values().map(|file| String::from_utf8_lossy(&file.content).into_owned()).collect()
}

#[test]
fn an_agent_is_lent() {
    let Some(kitchen) = kitchen() else { return };
    let socket = kitchen.path("agent");
    let agent = FakeAgent::start(&socket);
    let flag = format!("--ssh=default={}", socket.display());
    let said = asked(&kitchen, "RUN --mount=type=ssh ssh-add -l > /out/o", &[&flag]);
    assert!(said.contains(FakeAgent::COMMENT), "{said}");
    // Nothing can be taken away, and another user has no right to ask.
    let line = "RUN --mount=type=ssh ssh-add -D > /out/o 2>&1 && exit 1; ssh-add -L >> /out/o";
    let said = asked(&kitchen, line, &[&flag]);
    assert!(said.contains("Failed to remove all identities") && said.contains(FakeAgent::COMMENT), "{said}");
    let line = "RUN mkdir -m 777 /out/d\nUSER cook\nRUN --mount=type=ssh ssh-add -l > /out/d/o 2>&1; true";
    let said = asked(&kitchen, line, &[&flag]);
    // With one id permissions are root's.
    let expected = if one_id() { FakeAgent::COMMENT } else { "Permission denied" };
    assert!(said.contains(expected), "{said}");
    let said = asked(&kitchen, &line.replace("type=ssh", "type=ssh,uid=5"), &[&flag]);
    assert!(said.contains(FakeAgent::COMMENT), "{said}");
    assert!(!agent.asked().contains(&19), "the agent never heard of the wish to remove keys");
}

#[test]
fn key_files_are_served() {
    let Some(kitchen) = kitchen() else { return };
    let key = kitchen.path("key");
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&key).output();
    succeeded(made.unwrap());
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    // Two agents, one with the key, and a signature that OpenSSH checks.
    let line = "RUN --mount=type=ssh,id=none --mount=type=ssh,id=git SSH_AUTH_SOCK=/run/buildkit/ssh_agent.1 ssh-add -L > /out/o; SSH_AUTH_SOCK=/run/buildkit/ssh_agent.1 ssh-add -T /tools.pub";
    let line = format!("COPY key.pub /tools.pub\n{line}");
    kitchen.env.write("key.pub", &public);
    let said = asked(&kitchen, &line, &[&format!("--ssh=git={}", key.display())]);
    assert_eq!(said.trim(), public.trim());
    let private = fs::read_to_string(&key).unwrap();
    let secret = private.lines().nth(2).unwrap();
    assert_nowhere(&kitchen.env.store(), secret);
}

fn assert_nowhere(folder: &Path, secret: &str) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            assert_nowhere(&path, secret);
        } else if path.is_file() {
            let content = fs::read(&path).unwrap();
            assert!(
                !content.windows(secret.len()).any(|part| part == secret.as_bytes()),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn an_agent_that_is_not_there() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM busybox\nRUN --mount=type=ssh,required,id=git true\n");
    let (code, said) = kitchen.build_fails(&["."]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Dockerfile:2") && said.contains("pass --ssh git"), "{said}");
    let output = kitchen.build_command(&["--ssh=git", "."]).env_remove("SSH_AUTH_SOCK").output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output).contains("SSH_AUTH_SOCK is not set"), "{}", text(&output));
    // An agent that hangs up, or was never there, fails what asks it, not the build.
    let socket = kitchen.path("agent");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    kitchen.dockerfile("FROM busybox\nRUN --mount=type=ssh,required,id=git test -S $SSH_AUTH_SOCK\n");
    kitchen.build(&[&format!("--ssh=git={}", socket.display()), "."]);
}
