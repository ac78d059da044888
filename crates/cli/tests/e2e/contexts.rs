//! Where a context and a Dockerfile come from.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
    thread,
};

use fs_err as fs;
use galley_testkit::{TarEntry, rootfs_tar};

use super::{Kitchen, errors::assert_says, read_tar, succeeded, text};

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
