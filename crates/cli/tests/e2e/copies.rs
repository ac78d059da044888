//! `galley cp` with archives, with owners, and of containers that do not run.

use std::{
    io::Write,
    os::unix::fs::{MetadataExt, symlink},
    process::Stdio,
};

use fs_err as fs;

use super::{Kitchen, by_chroot, read_tar, succeeded, text};

fn kitchen() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    kitchen.dockerfile(
        "FROM busybox\nRUN mkdir -p /data/sub && echo old > /data/old && ln /data/old /data/sub/other && echo x > /data/me && \
         chown 7:8 /data/me && ln -s old /data/link && ln -s /tmp /way\n",
    );
    kitchen.build(&["-t", "app", "."]);
    Some(kitchen)
}

fn refused(kitchen: &Kitchen, arguments: &[&str], expected: &str) {
    let output = kitchen.command(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success() && text(&output).contains(expected), "{arguments:?}: {}", text(&output));
}

/// What a new run of the container says.
fn shell(kitchen: &Kitchen, name: &str) -> String {
    kitchen.galley(&["start", "-a", name])
}

/// With this on standard input.
fn piped(kitchen: &Kitchen, arguments: &[&str], input: &[u8]) -> std::process::Output {
    let mut command = kitchen.command(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that refuses does not read to the end.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn archive(entries: &[(&str, &[u8], u64)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for &(path, content, owner) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o640);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(7);
        builder.append_data(&mut header, path, content).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn files_go_into_a_container_that_does_not_run() {
    let Some(kitchen) = kitchen() else { return };
    let from = kitchen.path("from");
    fs::create_dir_all(from.join("deep")).unwrap();
    fs::write(from.join("deep/file"), "mine\n").unwrap();
    symlink("deep/file", from.join("link")).unwrap();
    let from = from.to_str().unwrap();
    let script =
        "cat /made/deep/file /made/link /data/file /tmp/through; stat -c %u:%g /made/deep/file; ls /vol";
    kitchen.galley(&["create", "--name", "web", "-v", "/vol", "--tmpfs", "/mem", "app", "sh", "-c", script]);
    for (source, target) in
        [("", "/made"), ("/deep/file", "/data"), ("/deep/file", "/way/through"), ("/deep/.", "/vol")]
    {
        kitchen.galley(&["cp", &format!("{from}{source}"), &format!("web:{target}")]);
    }
    // Never started, it is as it was.
    assert!(kitchen.galley(&["ps", "-a", "--format", "{{.Status}}"]).starts_with("Created"));
    let expected = "mine\nmine\nmine\nmine\n0:0\nfile\n";
    assert!(shell(&kitchen, "web").ends_with(expected));
    // Ended, it takes more.
    fs::write(kitchen.path("from/deep/file"), "more\n").unwrap();
    kitchen.galley(&["cp", &format!("{from}/deep/file"), "web:/data/file"]);
    assert!(shell(&kitchen, "web").contains("mine\nmine\nmore\nmine\n"));
    refused(&kitchen, &["cp", from, "web:/data/old"], "is no directory");
    refused(&kitchen, &["cp", from, "web:/none/below"], "cannot copy");
    for path in ["/etc/hosts", "/etc"] {
        let hosts = kitchen.path("hosts");
        fs::write(&hosts, "").unwrap();
        refused(
            &kitchen,
            &["cp", hosts.to_str().unwrap(), &format!("web:{path}")],
            "is made anew at each start",
        );
    }
    if !by_chroot() {
        for path in ["/dev/x", "/proc/x", "/mem/x"] {
            refused(&kitchen, &["cp", &format!("{from}/deep/file"), &format!("web:{path}")], "is made anew");
        }
        kitchen.galley(&["create", "--name", "fixed", "--read-only", "app", "true"]);
        refused(&kitchen, &["cp", from, "fixed:/made"], "Read-only file system");
    }
    assert_eq!(kitchen.galley(&["diff", "web"]).lines().filter(|line| line.contains("/made")).count(), 4);
}

#[test]
fn archives_go_in_and_come_out() {
    let Some(kitchen) = kitchen() else { return };
    let script =
        "cat /data/new/file /data/old; stat -c '%u:%g %a %Y' /data/new/file; stat -c %a /data /data/new";
    kitchen.galley(&["create", "--name", "web", "app", "sh", "-c", script]);
    let bytes = archive(&[("new/file", b"new\n", 5), ("old", b"newer\n", 0)]);
    succeeded(piped(&kitchen, &["cp", "-", "web:/data"], &bytes));
    assert_eq!(shell(&kitchen, "web"), "new\nnewer\n5:5 640 7\n755\n755\n");
    // Compressed, and into one that runs.
    let gzip = galley_oci::compress::Compression::Gzip;
    let mut packed = galley_oci::compress::Compressor::new(Vec::new(), gzip, None, 1).unwrap();
    packed.write_all(&archive(&[("file", b"packed\n", 9)])).unwrap();
    kitchen.galley(&["run", "-d", "--name", "now", "app", "sleep", "1000"]);
    succeeded(piped(&kitchen, &["container", "cp", "-", "now:/way"], &packed.finish().unwrap()));
    assert_eq!(kitchen.galley(&["exec", "now", "cat", "/tmp/file"]), "packed\n");
    kitchen.galley(&["rm", "-f", "now"]);

    let out = |path: &str, flags: &[&str]| {
        let path = format!("web:{path}");
        let arguments = [&["cp"], flags, &[path.as_str(), "-"]].concat();
        read_tar(&succeeded(kitchen.command(&arguments).output().unwrap()).stdout)
    };
    let names =
        |files: std::collections::BTreeMap<String, super::File>| files.into_keys().collect::<Vec<_>>();
    let all = out("/data", &[]);
    assert_eq!(all["data/me"].owner, (7, 8));
    assert_eq!(all["data/new/file"].content, b"new\n");
    assert_eq!((all["data/link"].kind, all["data/link"].link.as_deref()), ('l', Some("old")));
    assert_eq!(names(out("/data/new/.", &[])), ["file"]);
    assert_eq!(
        names(out("/data/sub", &[])),
        ["data/sub"]
            .map(|_| "sub".to_owned())
            .into_iter()
            .chain(["sub/other".to_owned()])
            .collect::<Vec<_>>()
    );
    assert_eq!(out("/data/sub/other", &[])["other"].kind, 'f');
    assert_eq!(out("/data/link", &[])["link"].kind, 'l');
    assert_eq!(out("/data/link", &["-L"])["old"].content, b"newer\n");
    refused(&kitchen, &["cp", "web:/nothing", "-"], "has no /nothing");
    refused(&kitchen, &["cp", "web:/data/old/.", "-"], "is no directory");
    refused(&kitchen, &["cp", "-", "web:/data/old"], "is no directory that is there");
    refused(&kitchen, &["cp", "-", "web:/none"], "is no directory that is there");
    refused(&kitchen, &["cp", "-", "-"], "one of the two has to be CONTAINER:PATH");
    let nonsense = piped(&kitchen, &["cp", "-", "web:/data"], &[b'x'; 2000]);
    assert!(text(&nonsense).contains("no tar archive"), "{}", text(&nonsense));
}

/// A mount that is only there for the copy takes nothing with it.
#[test]
fn nothing_is_copied_to_where_it_would_be_lost() {
    let Some(kitchen) = kitchen() else { return };
    let all =
        ["create", "--name", "web", "-v", "/vol", "--tmpfs", "/mem", "-v", "kept:/mem/kept", "app", "true"];
    kitchen.galley(&all);
    let mounted = ["dev/x", "dev/shm/x", "dev/new/x", "proc/x", "mem/x", "mem/new/x"];
    let mounted = if by_chroot() { &[][..] } else { &mounted[..] };
    for path in mounted.iter().chain(&["etc/hosts"]) {
        let expected = format!("/{path} is made anew at each start").replace("new/x is", "new is");
        let entries: &[(&str, &[u8], u64)] = &[("before", b"1", 0), (path, b"2", 0)];
        let output = piped(&kitchen, &["cp", "-", "web:/"], &archive(entries));
        assert!(!output.status.success() && text(&output).contains(&expected), "{path}: {}", text(&output));
        let from = kitchen.path("tree");
        fs::create_dir_all(from.join(path).parent().unwrap()).unwrap();
        fs::write(from.join(path), "2").unwrap();
        refused(&kitchen, &["cp", &format!("{}/.", from.display()), "web:/"], &expected);
        fs::remove_dir_all(from).unwrap();
    }
    // Directories that are there lose nothing; volumes and what runs keep what they get.
    let entries: &[(&str, &[u8], u64)] = &[("etc/own", b"1", 0), ("vol/x", b"2", 0), ("mem/kept/x", b"3", 0)];
    if !by_chroot() {
        succeeded(piped(&kitchen, &["cp", "-", "web:/"], &archive(entries)));
        assert_eq!(kitchen.galley(&["run", "--rm", "-v", "kept:/kept", "app", "cat", "/kept/x"]), "3");
        kitchen.galley(&["run", "-d", "--name", "now", "app", "sleep", "1000"]);
        succeeded(piped(&kitchen, &["cp", "-", "now:/"], &archive(&[("dev/x", b"now\n", 0)])));
        assert_eq!(kitchen.galley(&["exec", "now", "cat", "/dev/x"]), "now\n");
        kitchen.galley(&["rm", "-f", "now"]);
    }
}

#[test]
fn what_is_copied_into_does_not_start_meanwhile() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["create", "--name", "web", "app", "true"]);
    let mut command = kitchen.command(&["cp", "-", "web:/data"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = archive(&[("first", b"1", 0), ("second", b"2", 0)]);
    // More than a pipe takes: what follows runs when the copy has begun.
    let begun = vec![0; 1 << 20];
    let mut large = archive(&[("large", &begun, 0)]);
    large.truncate(large.len() - 1024);
    stdin.write_all(&large).unwrap();
    // Each waits for a while, and all of them at once.
    let attempts = [&["start", "web"][..], &["start", "-a", "web"], &["cp", "/dev/null", "web:/data"]];
    let waiting = attempts.map(|arguments| {
        let mut command = kitchen.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for (arguments, child) in attempts.into_iter().zip(waiting) {
        let output = child.wait_with_output().unwrap();
        let said = text(&output);
        assert!(
            !output.status.success() && said.contains("is in use, and does not run"),
            "{arguments:?}: {said}"
        );
    }
    stdin.write_all(&bytes).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    kitchen.galley(&["start", "-a", "web"]);
}

#[test]
fn a_hostile_archive_stays_in_the_container() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["create", "--name", "web", "app", "true"]);
    let outside = kitchen.path("outside");
    fs::create_dir(&outside).unwrap();
    let link = |name: &str, target: &str| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, name, target).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_mode(0o644);
        builder.append_data(&mut header, format!("{name}/evil"), &b"evil"[..]).unwrap();
        builder.into_inner().unwrap()
    };
    let path = outside.to_str().unwrap();
    for target in
        [path.to_owned(), format!("../../../../../../../..{path}"), "/proc/1/root".to_owned() + path]
    {
        // There is no such path inside; where there is one, it is the container's.
        piped(&kitchen, &["cp", "-", "web:/data"], &link("away", &target));
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{target}");
    }
    let mut climbing = archive(&[("aa/aa/evil", b"evil", 0)]);
    climbing[..5].copy_from_slice(b"../..");
    let sum: u32 = climbing[..512]
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    climbing[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let output = piped(&kitchen, &["cp", "-", "web:/data"], &climbing);
    assert!(!output.status.success() && text(&output).contains("is refused"), "{}", text(&output));
}

#[test]
fn owners_are_kept_when_asked_for() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["create", "--name", "web", "app", "stat", "-c", "%u:%g", "/tmp/file"]);
    let out = kitchen.path("out");
    let out = out.to_str().unwrap();
    let owner = |path: &str| fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
    kitchen.galley(&["cp", "web:/data/me", out]);
    let own = owner(out);
    assert_eq!(own.0, rustix::process::geteuid().as_raw());
    fs::remove_file(out).unwrap();
    if super::one_id() {
        refused(&kitchen, &["cp", "-a", "web:/data/me", out], "cannot be given to 7:8");
    } else {
        kitchen.galley(&["cp", "-a", "web:/data/me", out]);
        // An ordinary user's is that of its range.
        assert!(if own.0 == 0 { owner(out) == (7, 8) } else { owner(out) != own });
        kitchen.galley(&["cp", "-a", out, "web:/tmp/file"]);
        assert_eq!(shell(&kitchen, "web"), "7:8\n");
    }
    // Without, it is root's.
    let file = kitchen.path("file");
    fs::write(&file, "").unwrap();
    kitchen.galley(&["cp", file.to_str().unwrap(), "web:/tmp/file"]);
    assert_eq!(shell(&kitchen, "web"), "0:0\n");
}
