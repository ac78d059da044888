//! Roots and mounts.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use galley_sandbox::{
    Handles, Layers, Lower, Mount, MountPointKind, Network, Root, Source, Spec, TtySize, Writable,
};

use crate::fixture::{Kitchen, leaked_mounts, output, run, spawner, start};

crate::tests![
    privileged_changes_go_to_the_upper_directory,
    privileged_roots_of_every_kind,
    privileged_three_hundred_lowers,
    privileged_packed_lowers,
    privileged_long_and_strange_paths,
    privileged_made_mount_points_are_told,
    privileged_mounts_of_every_kind,
    privileged_readonly_root,
    privileged_links_in_targets_stay_inside,
    privileged_dev_is_complete_and_harmless,
    privileged_masked_and_readonly_paths,
    privileged_networks,
    privileged_terminal,
    privileged_host_sees_no_mount,
    privileged_nothing_of_the_host_is_in_reach,
    privileged_directories_can_be_used_again,
];

fn layers(lowers: Vec<PathBuf>, writable: Option<Writable>) -> Root {
    Root::Layers(Layers { lowers: lowers.into_iter().map(Into::into).collect(), writable })
}

fn privileged_changes_go_to_the_upper_directory() {
    let kitchen = Kitchen::new();
    output(&kitchen.shell("echo new > /etc/new; rm /etc/passwd; mkdir /d; chown 7:8 /d"));
    let upper = kitchen.path("upper");
    assert_eq!(fs_err::read_to_string(upper.join("etc/new")).unwrap(), "new\n");
    assert_eq!(fs_err::symlink_metadata(upper.join("etc/passwd")).unwrap().rdev(), 0, "a whiteout");
    let directory = fs_err::metadata(upper.join("d")).unwrap();
    if galley_sandbox::userns::has_one_id() {
        let mut owner = [0; 8];
        let length = rustix::fs::getxattr(upper.join("d"), "user.galley.owner", &mut owner[..]).unwrap();
        assert_eq!(owner[..length], *b"7:8");
    } else {
        assert_eq!((directory.uid(), directory.gid()), (7, 8));
    }
    assert_eq!(directory.mode() & 0o7777, 0o755);
    assert!(kitchen.path("base/etc/passwd").exists());
}

fn privileged_roots_of_every_kind() {
    let kitchen = Kitchen::new();
    fs_err::create_dir_all(kitchen.path("top/etc")).unwrap();
    fs_err::write(kitchen.path("top/etc/passwd"), "top").unwrap();
    for directory in ["proc", "dev", "sys"] {
        fs_err::create_dir(kitchen.path("base").join(directory)).unwrap();
    }
    let mut spec = kitchen.spec(&["cat", "/etc/passwd"]);
    spec.root = layers(vec![kitchen.path("top"), kitchen.path("base")], None);
    assert_eq!(output(&spec), "top", "the first is on top");
    spec.root = layers(vec![kitchen.path("base")], None);
    assert!(output(&spec).starts_with("root:"));
    let mut spec = kitchen.shell("echo x > /new");
    spec.root = layers(vec![kitchen.path("base")], None);
    assert!(run(&spec).1.contains("Read-only file system"));
    spec.root = Root::Directory(kitchen.path("base"));
    output(&spec);
    assert!(kitchen.path("base/new").exists());
    // Without lowers the writable directory is the root.
    let writable = Writable { upper: kitchen.path("base"), work: kitchen.path("work") };
    spec.root = layers(vec![], Some(writable));
    output(&spec);
}

fn privileged_three_hundred_lowers() {
    let kitchen = Kitchen::new();
    let mut lowers: Vec<PathBuf> = (0..300).map(|number| kitchen.path(&format!("layer{number}"))).collect();
    for (number, lower) in lowers.iter().enumerate() {
        fs_err::create_dir(lower).unwrap();
        fs_err::write(lower.join(format!("file{number}")), "").unwrap();
    }
    lowers.push(kitchen.path("base"));
    let mut spec = kitchen.shell("ls -d /file* | wc -l");
    let writable = Writable { upper: kitchen.path("upper"), work: kitchen.path("work") };
    spec.root = layers(lowers, Some(writable));
    assert_eq!(output(&spec), "300\n");
}

/// Layers that are a file each, above and below one that is a directory.
fn privileged_packed_lowers() {
    let kitchen = Kitchen::new();
    for (layer, file) in [("low", "who"), ("low", "low"), ("high", "who")] {
        fs_err::create_dir_all(kitchen.path(layer)).unwrap();
        fs_err::write(kitchen.path(layer).join(file), format!("{layer}\n")).unwrap();
    }
    for directory in ["proc", "dev", "sys"] {
        fs_err::create_dir(kitchen.path("low").join(directory)).unwrap();
    }
    let pack = |name: &str| {
        let packed = kitchen.path(&format!("{name}.erofs"));
        let made = std::process::Command::new("mkfs.erofs").arg(&packed).arg(kitchen.path(name)).output();
        made.is_ok_and(|made| made.status.success()).then_some(packed)
    };
    let (Some(low), Some(high)) = (pack("low"), pack("high")) else {
        println!("SKIPPED: mkfs.erofs is not installed; `make test` installs it");
        return;
    };
    if let Err(error) = galley_sandbox::probe::mounts_packed(&low) {
        println!("SKIPPED: this machine does not mount packed layers: {error}");
        return;
    }
    let lowers =
        || vec![Lower::Packed(high.clone()), kitchen.path("base").into(), Lower::Packed(low.clone())];
    let writable = || Some(Writable { upper: kitchen.path("upper"), work: kitchen.path("work") });
    // Twice, as a container that starts again: nothing is left of the first time.
    for (number, script) in ["cat /who /low; rm /who; echo new >/low", "cat /low; ls /who"].iter().enumerate()
    {
        let mut spec = kitchen.shell(script);
        spec.root = Root::Layers(Layers { lowers: lowers(), writable: writable() });
        let said = run(&spec).1;
        let expected = ["high\nlow\n", "new\nls: /who: No such file or directory\n"];
        assert_eq!(said, expected[number]);
    }
    // One file system to whoever asks, and one layer alone is a root too.
    let mut spec = kitchen.shell("stat -c %d /low /bin/busybox /who; stat -c %d /");
    spec.root = Root::Layers(Layers { lowers: lowers(), writable: None });
    let devices = output(&spec);
    assert!(devices.lines().all(|device| Some(device) == devices.lines().next()), "{devices}");
    spec.root = Root::Layers(Layers { lowers: vec![Lower::Packed(low.clone())], writable: None });
    spec.args = vec!["/who".into()];
    let error = start(&spec).unwrap_err().to_string();
    assert!(error.contains("permission denied") || error.contains("not executable"), "{error}");
    assert_eq!(leaked_mounts(), Vec::<String>::new());
}

fn privileged_long_and_strange_paths() {
    let kitchen = Kitchen::new();
    let strange = kitchen.path(&format!("{}/a:b,c\\d é\n", "x".repeat(200).as_str()));
    let strange = strange.join("y".repeat(200));
    fs_err::create_dir_all(strange.join("upper")).unwrap();
    fs_err::create_dir_all(strange.join("work")).unwrap();
    fs_err::rename(kitchen.path("base"), strange.join("base")).unwrap();
    let mut spec = kitchen.shell("echo x > /new");
    let writable = Writable { upper: strange.join("upper"), work: strange.join("work") };
    spec.root = layers(vec![strange.join("base")], Some(writable));
    output(&spec);
    assert!(strange.join("upper/new").exists());
}

fn bind(path: PathBuf, target: &str) -> Mount {
    let source = Source::Bind { path, subpath: PathBuf::new(), recursive: false };
    Mount { target: target.into(), source, readonly: false }
}

fn file(content: &[u8], target: &str) -> Mount {
    let source = Source::File { content: content.to_vec(), mode: 0o440, uid: 3, gid: 4 };
    Mount { target: target.into(), source, readonly: true }
}

fn privileged_made_mount_points_are_told() {
    let kitchen = Kitchen::new();
    let mut spec = kitchen.spec(&["true"]);
    spec.mounts = vec![
        bind(kitchen.path("base"), "/a/b"),
        file(b"x", "/etc/resolv.conf"),
        bind(kitchen.path("base"), "/tmp"),
    ];
    let (child, _reader) = start(&spec).unwrap();
    let made: Vec<(String, MountPointKind)> = child
        .made_mount_points()
        .iter()
        .map(|point| (point.path.display().to_string(), point.kind))
        .collect();
    let directory = |path: &str| (path.to_owned(), MountPointKind::Directory);
    assert_eq!(
        made,
        [
            directory("/proc"),
            directory("/dev"),
            directory("/sys"),
            directory("/a"),
            directory("/a/b"),
            ("/etc/resolv.conf".to_owned(), MountPointKind::File)
        ]
    );
    let etc = child.made_mount_points()[5].parent_mtime;
    let base = fs_err::metadata(kitchen.path("base/etc")).unwrap();
    assert_eq!(etc, (base.mtime(), base.mtime_nsec() as u32));
    let upper = fs_err::metadata(kitchen.path("upper/etc")).unwrap();
    assert_eq!(etc, (upper.mtime(), upper.mtime_nsec() as u32));
}

fn privileged_mounts_of_every_kind() {
    let kitchen = Kitchen::new();
    fs_err::create_dir_all(kitchen.path("other/deep")).unwrap();
    fs_err::write(kitchen.path("other/deep/f"), "deep\n").unwrap();
    fs_err::os::unix::fs::symlink("../../../../deep", kitchen.path("other/link")).unwrap();
    for name in ["discard", "discard-work"] {
        fs_err::create_dir(kitchen.path(name)).unwrap();
    }
    let tmpfs = Source::Tmpfs { size: Some(1 << 20), mode: Some(0o1777), noexec: true };
    let discard = Writable { upper: kitchen.path("discard"), work: kitchen.path("discard-work") };
    let view = Layers { lowers: vec![kitchen.path("other").into()], writable: Some(discard) };
    let part = Source::Bind { path: kitchen.path("other"), subpath: "link/f".into(), recursive: false };
    let mut spec = kitchen.shell(
        "cat /part /secret /view/f; stat -c '%a %u %g' /secret; stat -c %a /t; echo changed > /view/f;
         (echo x > /secret) 2>&1; (echo x > /ro/deep/f) 2>&1; echo y > /rw/deep/y; head -c 2000000 /dev/zero > /t/big",
    );
    spec.mounts = vec![
        Mount { target: "/t".into(), source: tmpfs, readonly: false },
        Mount { target: "/part".into(), source: part, readonly: false },
        Mount {
            target: "/view".into(),
            source: Source::Layers { layers: view, subpath: "link".into() },
            readonly: false,
        },
        file(b"top secret\n", "/secret"),
        bind(kitchen.path("other"), "/rw"),
        Mount { readonly: true, ..bind(kitchen.path("other"), "/ro") },
    ];
    let text = run(&spec).1;
    let expected = "deep\ntop secret\ndeep\n440 3 4\n1777\n/bin/sh: can't create /secret: Read-only file system\n\
                    /bin/sh: can't create /ro/deep/f: Read-only file system\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains("head: standard output"), "{text}");
    assert_eq!(fs_err::read_to_string(kitchen.path("other/deep/f")).unwrap(), "deep\n");
    assert_eq!(fs_err::read_to_string(kitchen.path("discard/deep/f")).unwrap(), "changed\n");
    assert!(kitchen.path("other/deep/y").exists());
}

fn privileged_readonly_root() {
    let kitchen = Kitchen::new();
    let mut spec = kitchen.shell("(echo x > /x) 2>&1; echo y > /t/y; cat /t/y");
    spec.readonly_root = true;
    let tmpfs = Source::Tmpfs { size: None, mode: Some(0o755), noexec: false };
    spec.mounts = vec![Mount { target: "/t".into(), source: tmpfs, readonly: false }];
    assert_eq!(output(&spec), "/bin/sh: can't create /x: Read-only file system\ny\n");
}

fn privileged_links_in_targets_stay_inside() {
    let kitchen = Kitchen::new();
    let outside = kitchen.path("outside");
    fs_err::create_dir(&outside).unwrap();
    fs_err::os::unix::fs::symlink(&outside, kitchen.path("base/link")).unwrap();
    fs_err::os::unix::fs::symlink("../run/resolv.conf", kitchen.path("base/etc/resolv.conf")).unwrap();
    let mut spec = kitchen.shell("cat /link/secret /run/resolv.conf /etc/resolv.conf");
    spec.mounts = vec![file(b"one\n", "/link/secret"), file(b"two\n", "/etc/resolv.conf")];
    assert_eq!(output(&spec), "one\ntwo\ntwo\n");
    assert_eq!(fs_err::read_dir(&outside).unwrap().count(), 0);
}

fn privileged_dev_is_complete_and_harmless() {
    let kitchen = Kitchen::new();
    let text = output(&kitchen.shell("ls /dev | grep -v core; echo x > /dev/null; head -c 3 /dev/zero | wc -c; head -c 1 /dev/urandom | wc -c; stat -c %a /dev/null /dev/shm"));
    assert_eq!(
        text,
        "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n3\n1\n666\n1777\n"
    );
    // Nodes can be made, as in Docker, but not opened, wherever they are.
    for place in ["/dev/mine", "/mine", "/dev/shm/mine"] {
        let text =
            output(&kitchen.shell(&format!("mknod {place} c 1 5 && (head -c 1 {place}) 2>&1 || true")));
        // In a user namespace they cannot even be made; with one id they are empty files.
        let refused = (text.is_empty() && galley_sandbox::userns::has_one_id())
            || text.contains("Permission denied")
            || text.contains("Operation not permitted");
        assert!(refused, "{place}: {text}");
    }
    // What a step does to its devices, the host's do not feel.
    let before = fs_err::metadata("/dev/null").unwrap().permissions().mode();
    run(&kitchen.shell("chmod 600 /dev/null; chown 5:5 /dev/null"));
    assert_eq!(fs_err::metadata("/dev/null").unwrap().permissions().mode(), before);
}

fn privileged_masked_and_readonly_paths() {
    let kitchen = Kitchen::new();
    let text = output(
        &kitchen
            .shell("cat /proc/kcore /proc/timer_list /proc/keys; ls /sys/firmware; ls /proc/scsi; echo end"),
    );
    assert!(text.ends_with("end\n") && !text.contains("now at"), "{text}");
    let text = run(&kitchen.shell("echo 1 > /proc/sys/vm/drop_caches")).1;
    assert!(text.contains("Read-only file system"), "{text}");
    let mounts = output(&kitchen.spec(&["cat", "/proc/self/mountinfo"]));
    assert!(mounts.contains(" /sys ro,nosuid,nodev,noexec,"), "{mounts}");
}

fn privileged_networks() {
    let kitchen = Kitchen::new();
    let mut spec = kitchen.shell("ip -o link | wc -l; ip -o addr show lo | head -n 1");
    let text = output(&spec);
    assert!(text.starts_with("1\n") && text.contains("127.0.0.1/8"), "{text}");
    spec.network = Network::Host;
    output(&spec);
    spec.network = Network::Shared;
    assert!(spawner().spawn(&spec, Handles::default()).is_err());
}

fn privileged_terminal() {
    let kitchen = Kitchen::new();
    let mut spec = kitchen
        .shell("tty; stty size; stat -c %u /dev/pts/0; read line; echo got $line > /dev/console; stty size");
    spec.tty = Some(TtySize { rows: 11, cols: 22 });
    spec.user.uid = 9;
    let mut child = spawner().spawn(&spec, Handles::default()).unwrap();
    let pty = child.take_pty().unwrap();
    let mut text = Vec::new();
    let mut buffer = [0; 512];
    while !text.ends_with(b"9\r\n") {
        let length = pty.read(&mut buffer).unwrap();
        text.extend_from_slice(&buffer[..length]);
    }
    pty.resize(TtySize { rows: 33, cols: 44 }).unwrap();
    pty.write(b"word\n").unwrap();
    loop {
        match pty.read(&mut buffer).unwrap() {
            0 => break,
            length => text.extend_from_slice(&buffer[..length]),
        }
    }
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text, "/dev/pts/0\r\n11 22\r\n9\r\nword\r\ngot word\r\n33 44\r\n");
    assert!(child.wait().unwrap().exit.success());
}

fn privileged_host_sees_no_mount() {
    let kitchen = Kitchen::new();
    let (child, reader) = start(&kitchen.shell("cat /proc/self/mountinfo; echo on; sleep 60")).unwrap();
    let lines: Vec<String> =
        BufReader::new(reader).lines().map(Result::unwrap).take_while(|line| line != "on").collect();
    assert!(lines[0].contains("lowerdir+=/proc/self/fd/"), "{lines:?}");
    assert!(leaked_mounts().is_empty());
    child.kill_tree().unwrap();
    assert!(leaked_mounts().is_empty());
}

fn privileged_nothing_of_the_host_is_in_reach() {
    let kitchen = Kitchen::new();
    let mut spec = kitchen.shell("stat -c %i / /.. /../..; cat /proc/self/mountinfo");
    spec.masked_paths = vec![];
    spec.readonly_paths = vec![];
    let text = output(&spec);
    let mut lines = text.lines();
    let root = lines.next().unwrap();
    assert!(text.contains(" / / rw,nodev,relatime - overlay overlay rw,"), "{text}");
    assert_eq!((lines.next().unwrap(), lines.next().unwrap()), (root, root));
    let points = lines.map(|line| line.split(' ').nth(4).unwrap());
    // Where the host has cgroup v2 alone, the sandbox's own part of it is there as well.
    let points: Vec<&str> = points.filter(|point| *point != "/sys/fs/cgroup").collect();
    let devices = ["null", "zero", "full", "random", "urandom", "tty"].map(|name| format!("/dev/{name}"));
    let mut expected = vec!["/", "/proc", "/dev"];
    expected.extend(devices.iter().map(String::as_str));
    expected.extend(["/dev/shm", "/dev/mqueue", "/dev/pts", "/sys"]);
    assert_eq!(points, expected);
}

fn privileged_directories_can_be_used_again() {
    let kitchen = Kitchen::new();
    for number in 1..4 {
        assert_eq!(output(&kitchen.shell("echo x >> /count; wc -l < /count")), format!("{number}\n"));
    }
    let _: OsString = Spec::new(kitchen.root(), vec!["x".into()]).args.remove(0);
}
