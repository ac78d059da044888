//! Where a context and a Dockerfile come from.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
    thread,
};

use fs_err as fs;
use galley_testkit::{TarEntry, rootfs_tar};
use rustix::process::{Pid, Signal, kill_process};

use super::{Kitchen, archives::ends, errors::assert_says, read_tar, server::serve, succeeded, text};

/// Runs it with these bytes on standard input, which it may leave unread.
pub(crate) fn with_input(command: &mut Command, bytes: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    thread::scope(|scope| {
        let writing = scope.spawn(move || pipe.write_all(bytes));
        let output = child.wait_with_output().unwrap();
        drop(writing.join().unwrap());
        output
    })
}

/// Runs `galley build` that must fail; its exit code and what it said.
fn refused(kitchen: &Kitchen, arguments: &[&str], input: &[u8]) -> (Option<i32>, String) {
    let mut command = kitchen.command(&["build", "--progress=plain"]);
    let output = with_input(command.args(arguments), input);
    assert!(!output.status.success(), "{}", text(&output));
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The names of the files that `galley build` with these arguments makes.
fn made(kitchen: &Kitchen, arguments: &[&str], input: &[u8]) -> Vec<String> {
    let mut command = kitchen.command(&["build", "--progress=plain", "-o", "type=tar,dest=-"]);
    let output = succeeded(with_input(command.args(arguments), input));
    read_tar(&output.stdout).into_keys().collect()
}

fn archive() -> Vec<u8> {
    rootfs_tar(&[
        TarEntry::Directory("in", 0o755),
        TarEntry::File("in/Dockerfile", 0o644, b"FROM scratch\nCOPY in/f /f\n"),
        TarEntry::File("in/f", 0o600, b"f"),
        TarEntry::File("g", 0o600, b"g"),
    ])
}

#[test]
fn standard_input_is_an_archive_a_dockerfile_or_an_error() {
    let Some(kitchen) = Kitchen::new() else { return };
    assert_eq!(made(&kitchen, &["-f", "in/Dockerfile", "-"], &archive()), ["f"]);
    // As in BuildKit, paths stop at the top of the archive.
    assert_eq!(made(&kitchen, &["-f", "/../in/./Dockerfile", "-"], &archive()), ["f"]);
    assert_eq!(made(&kitchen, &["-"], b"FROM scratch\nWORKDIR /w\n"), ["w"]);
    let cases: [(&[&str], &[u8], i32, &str); 7] = [
        (&["-"], b"", 1, "error: standard input is empty"),
        (&["-f", "x", "-"], b"FROM scratch\n", 125, "--file and standard input both give a Dockerfile"),
        (
            &["-f", "-", "-"],
            b"FROM scratch\n",
            125,
            "--file - and the context - cannot both be standard input",
        ),
        (&["-"], &archive(), 1, "there is no Dockerfile in the context on standard input"),
        (&["-f", "in/f2", "-"], &archive(), 1, "did you mean -f in/f?"),
        (&["-f", "in", "-"], &archive(), 1, "in in the context on standard input is no regular file"),
        (&["-"], b"\x1f\x8b\x08no archive", 1, "cannot unpack the context on standard input"),
    ];
    for (arguments, input, code, said) in cases {
        let (found, stderr) = refused(&kitchen, arguments, input);
        assert_says(&stderr, &[said]);
        assert_eq!(found, Some(code), "{arguments:?}: {stderr}");
    }
    let folder = rootfs_tar(&[TarEntry::File("project/Dockerfile", 0o644, b"FROM scratch\n")]);
    assert_says(&refused(&kitchen, &["-"], &folder).1, &["all of it is below project/"]);
}

#[test]
fn an_archive_leaves_nothing_behind() {
    let Some(kitchen) = Kitchen::new() else { return };
    made(&kitchen, &["-f", "in/Dockerfile", "-"], &archive());
    refused(&kitchen, &["-f", "no", "-"], &archive());
    let left = fs::read_dir(kitchen.env.store().join("tmp")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_equal_archive_is_known() {
    let Some(kitchen) = Kitchen::new() else { return };
    let build = || {
        let mut command = kitchen.command(&["build", "--progress=rawjson", "-f", "in/Dockerfile", "-"]);
        super::counts(&succeeded(with_input(&mut command, &archive())))
    };
    assert_eq!((build().executed, build()), (1, super::Counts { executed: 0, cached: 1 }));
}

#[test]
fn dockerfiles_are_found_as_docker_finds_them() {
    let Some(kitchen) = Kitchen::new() else { return };
    let write = |name: &str, text: &str| kitchen.env.write(name, text);
    write("low/dockerfile", "FROM scratch\nCOPY f .\n");
    write("low/f", "");
    write("other/Dockerfile", "FROM scratch\nCOPY g .\n");
    write("other/Dockerfile.dockerignore", "f\n");
    write("low/g", "");
    write("empty/Dockerfile", "");
    write("plain", "FROM scratch\n");
    fs::create_dir_all(kitchen.env.work().join("dir/Dockerfile")).unwrap();
    fs_err::os::unix::fs::symlink("../low/dockerfile", kitchen.env.work().join("low/Linked")).unwrap();
    assert_eq!(made(&kitchen, &["low"], b""), ["f"]);
    assert_eq!(made(&kitchen, &["-f", "low/Dockerfile", "low"], b""), ["f"]);
    assert_eq!(made(&kitchen, &["-f", "low/Linked", "low"], b""), ["f"]);
    assert_eq!(made(&kitchen, &["-f", "other/Dockerfile", "low"], b""), ["g"]);
    assert_eq!(made(&kitchen, &["-f", "-", "low"], b"FROM scratch\nCOPY f .\n"), ["f"]);
    let cases: [(&[&str], &str); 8] = [
        (&["-f", "low/DOCKERFILE", "low"], "there is no Dockerfile at low/DOCKERFILE"),
        (&["-f", "-", "low"], "the Dockerfile"),
        (&["empty"], "empty/Dockerfile"),
        (&["dir"], "cannot read dir/Dockerfile"),
        (&["plain"], "the build context plain is not a directory"),
        (&["none"], "the build context none does not exist"),
        (&[""], "the build context is empty text"),
        (&["-f", "plain/x", "low"], "cannot read plain/x"),
    ];
    for (arguments, said) in cases {
        assert_says(&refused(&kitchen, arguments, b"").1, &[said]);
    }
}

#[test]
fn a_url_is_an_archive_or_a_dockerfile() {
    let Some(kitchen) = Kitchen::new() else { return };
    let (packed, plain) = (serve(archive()), serve(b"FROM scratch\nCOPY context /c\n".to_vec()));
    let local = kitchen.env.work().join("Local");
    kitchen.env.write("Local", "FROM scratch\nCOPY g /local\n");
    kitchen.env.write("context", "");
    assert_eq!(made(&kitchen, &["-f", "in/Dockerfile", &packed], b""), ["f"]);
    assert_eq!(made(&kitchen, &["-f", local.to_str().unwrap(), &packed], b""), ["local"]);
    assert_eq!(made(&kitchen, &["-f", "-", &packed], b"FROM scratch\nCOPY g /input\n"), ["input"]);
    assert_eq!(made(&kitchen, &[&plain], b""), ["c"]);
    assert_eq!(made(&kitchen, &["-f", &plain, "."], b""), ["c"]);
    let none = plain.replace("/context", "/none");
    let cases: [(&[&str], &str); 5] = [
        (&[&packed], "there is no Dockerfile in the context at http://127.0.0.1:"),
        (&["-f", &packed, "."], "is no Dockerfile"),
        (&[&none], "404"),
        (
            &["--locked", "-f", "in/Dockerfile", &packed],
            "--locked needs a Dockerfile with a galley.lock beside it",
        ),
        (&["--offline", &none], "--offline forbids to fetch it"),
    ];
    for (arguments, said) in cases {
        assert_says(&refused(&kitchen, arguments, b"").1, &[said]);
    }
    // What an address meant last is enough when nobody may be asked.
    assert_eq!(made(&kitchen, &["--offline", "-f", "in/Dockerfile", &packed], b""), ["f"]);
    let left: Vec<_> = fs::read_dir(kitchen.env.store().join("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_context_is_shown_with_its_rules_its_use_and_its_secrets() {
    let Some(kitchen) = Kitchen::new() else { return };
    let write = |name: &str, text: &str| kitchen.env.write(name, text);
    write("Dockerfile", "FROM busybox AS one\nCOPY src .env /\nFROM elsewhere:7\nCOPY --from=one / /\n");
    write(".dockerignore", "node_modules\n*.log\n!keep.log\nnone\n");
    write("src/a", &"x".repeat(3000));
    write("src/b/c", &"x".repeat(1000));
    write("docs/page", &"x".repeat(2000));
    write("node_modules/m/index.js", &"x".repeat(5000));
    write("big.log", "12345");
    write("keep.log", "1");
    write(".env", "PASSWORD=hunter2\n");
    let expected = "\
the context . has 7 files, 6.13kB
       4kB       2 files  src/
       3kB                  a
       1kB        1 file    b/
       1kB                    c
       2kB        1 file  docs/
       2kB                  page
       73B                Dockerfile
       34B                .dockerignore
       17B                .env
        1B                keep.log

.dockerignore drops 2 files, 5.01kB
       5kB        1 file  line 1: node_modules
        5B        1 file  line 2: *.log
  decide nothing: line 4: none

instructions take
    4.02kB       3 files  Dockerfile:2 COPY src .env /

no instruction uses 2 files, 2kB
       2kB        1 file  docs/
       2kB                  page
        1B                keep.log

these may be secrets
  .env: settings, which often are passwords; taken by Dockerfile:2
  a step gets a secret with RUN --mount=type=secret; name these in .dockerignore

note: bases that are not in the store, whose ENV and ONBUILD do not count: busybox:latest, elsewhere:7
";
    assert_eq!(kitchen.galley(&["context"]), expected);
    let all = kitchen.galley(&["context", "--all", "."]);
    for line in [
        "-      5kB  node_modules/ (1 file)  (.dockerignore:1 node_modules)\n",
        "+       1B  keep.log  (.dockerignore:3 !keep.log; unused)\n",
        "+      3kB  src/a  (used by Dockerfile:2)\n",
        "+      17B  .env  (used by Dockerfile:2; may be a secret: settings, which often are passwords)\n",
    ] {
        assert!(all.contains(line), "{line}{all}");
    }
    let text = kitchen.galley(&["context", "--format=json", "--target=1", "."]);
    assert!(!text.contains("hunter2"));
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown["dropped"], serde_json::json!({"files": 2, "bytes": 5005}));
    assert_eq!(shown["instructions"][0]["place"], "Dockerfile:2");
    let file =
        |path: &str| shown["files"].as_array().unwrap().iter().find(|file| file["path"] == path).unwrap();
    assert_eq!(file("keep.log")["rule"], 3);
    assert_eq!(file("src/b/c")["used"], serde_json::json!(["Dockerfile:2"]));
    assert_eq!(file("node_modules")["kind"], "folder");
}

#[test]
fn a_context_without_a_dockerfile_is_shown_all_the_same() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.env.write("f", "1");
    let shown = kitchen.galley(&["context"]);
    assert_says(
        &shown,
        &["the context . has 1 file, 1B", "cannot tell what is used: there is no Dockerfile"],
    );
    kitchen.env.write("Dockerfile", "FROM scratch\nCOPPY a b\n");
    assert_says(
        &kitchen.galley(&["context"]),
        &["cannot tell what is used: Dockerfile:2:1: unknown instruction"],
    );
    let fails = |arguments: &[&str]| {
        let output = kitchen.command(arguments).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert_says(&fails(&["context", "none"]), &["the build context none does not exist"]);
    assert_says(&fails(&["context", "f"]), &["the build context f is not a directory"]);
    assert_says(&fails(&["context", "-f", "none"]), &["there is no Dockerfile at none"]);
    let shown = |arguments: &[&str], input: &[u8]| {
        let mut command = kitchen.command(&[&["context", "--all"], arguments].concat());
        String::from_utf8(succeeded(with_input(&mut command, input)).stdout).unwrap()
    };
    let archive = archive();
    let expected = "+       1B  g  (unused)\n+      26B  in/Dockerfile  (read by the build)\n+       1B  in/f  (used by in/Dockerfile:2)\n";
    assert_eq!(shown(&["-f", "in/Dockerfile", "-"], &archive), expected);
    assert_eq!(shown(&["-f", "in/Dockerfile", &serve(archive)], b""), expected);
    kitchen.env.write("Dockerfile", "FROM scratch\nRUN --network=host --mount=target=/m true\n");
    assert_says(&kitchen.galley(&["context", "--all"]), &["f  (used by Dockerfile:2)"]);
    assert_says(&kitchen.galley(&["context", "--target=none"]), &["cannot tell what is used: ", "none"]);
}

#[test]
fn ctrl_c_ends_a_build_that_waits_for_its_input() {
    let Some(kitchen) = Kitchen::new() else { return };
    let large = vec![b'x'; 1 << 20];
    let archive = rootfs_tar(&[TarEntry::File("large", 0o644, &large)]);
    let text = [b"#", &large[..]].concat();
    for (arguments, bytes) in
        [(&["-"][..], &archive[..large.len()]), (&["-"], &text), (&["-f", "-", "."], &text)]
    {
        let mut command = kitchen.build_command(arguments);
        let mut build =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // More than a pipe holds: when it is written, it is being read.
        let mut pipe = build.stdin.take().unwrap();
        pipe.write_all(bytes).unwrap();
        kill_process(Pid::from_child(&build), Signal::INT).unwrap();
        assert_eq!(ends(&mut build), Some(130), "{arguments:?}");
        drop(pipe);
    }
    assert_eq!(fs::read_dir(kitchen.env.store().join("tmp")).unwrap().count(), 0);
}
