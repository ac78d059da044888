//! Builds by root of a container that may neither mount nor make namespaces.

use std::process::Command;

use fs_err as fs;

use super::{Kitchen, counts, succeeded, text};

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

#[test]
fn what_needs_mounts_is_refused_by_name() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM busybox\nRUN --network=none true\n");
    let Some(mut command) = in_pod(&kitchen, &kitchen.build_command(&["--progress=plain", "."])) else {
        return;
    };
    let output = command.output().unwrap();
    assert!(
        text(&output).contains("a RUN without a network cannot be had in this container"),
        "{}",
        text(&output)
    );
    kitchen.dockerfile("FROM busybox\nRUN --security=insecure true\n");
    let command = kitchen.build_command(&["--progress=plain", "--allow=security.insecure", "."]);
    let output = in_pod(&kitchen, &command).unwrap().output().unwrap();
    let said = text(&output);
    assert!(said.contains("RUN --security=insecure cannot be had in this container"), "{said}");
    kitchen.dockerfile("FROM busybox\nCMD true\n").build(&["-t", "x", "."]);
    let output = in_pod(&kitchen, &kitchen.command(&["run", "--rm", "x"])).unwrap().output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", text(&output));
    assert!(text(&output).contains("only the RUN steps of builds run"), "{}", text(&output));
    let output = in_pod(&kitchen, &kitchen.command(&["doctor"])).unwrap().output().unwrap();
    assert!(text(&output).contains("by chroot, in a copy of the files"), "{}", text(&output));
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

/// Kills a build in a pod when two processes sleep that long, and waits for their end; `false` where there is no pod.
fn killed(kitchen: &Kitchen, seconds: u32) -> bool {
    let Some(mut command) = in_pod(kitchen, &kitchen.build_command(&["."])) else { return false };
    let null = std::process::Stdio::null;
    let mut build = command.stdout(null()).stderr(null()).spawn().unwrap();
    let both = super::crash::comes(|| sleeping(seconds) == 2);
    build.kill().unwrap();
    build.wait().unwrap();
    assert!(both, "the step does not run");
    super::crash::wait_for("the end of the step", || sleeping(seconds) == 0);
    true
}

fn sleeping(seconds: u32) -> usize {
    let seconds = seconds.to_string();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let commands = entries.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    commands.filter(|command| command.starts_with("sleep\0") && command.contains(&seconds)).count()
}
