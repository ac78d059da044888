//! Ways out that begin with how a sandbox is set up: its image, its mounts, its working directory, its streams.
//!
//! What a program inside may try afterwards is in crates/cli/tests/e2e/escape.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use fs_err::os::unix::fs::symlink;
use galley_sandbox::{Handles, Mount, Network, Source};

use crate::fixture::{Kitchen, output, spawner, start};

crate::tests![
    privileged_proc_is_restricted_wherever_the_image_has_it,
    privileged_no_working_directory_is_outside,
    privileged_no_program_is_outside,
    privileged_nothing_outside_is_open_to_who_joins,
    privileged_a_directory_is_no_stream,
    privileged_parts_of_a_mount_stay_in_it_while_links_change,
];

/// More numbers than a child has files open while it is set up.
const OPEN_FILES: i32 = 48;
const SECRET: &str = "of the host";

/// A kitchen with a file beside the layers that nobody inside may see.
fn kitchen() -> Kitchen {
    let kitchen = Kitchen::new();
    fs_err::write(kitchen.path("canary"), SECRET).unwrap();
    kitchen
}

fn bind(path: PathBuf, subpath: &str, target: &str) -> Mount {
    let source = Source::Bind { path, subpath: subpath.into(), recursive: false };
    Mount { target: target.into(), source, readonly: true }
}

/// Where /proc of the image leads, what else is in the image, and whether a mount changes it.
fn with_proc(link: &str, directories: &[&str], links: &[(&str, &str)], mount: bool) {
    let kitchen = Kitchen::new();
    let base = kitchen.path("base");
    directories.iter().for_each(|name| fs_err::create_dir_all(base.join(name)).unwrap());
    links.iter().for_each(|(name, target)| symlink(target, base.join(name)).unwrap());
    symlink(link, base.join("proc")).unwrap();
    fs_err::create_dir_all(kitchen.path("mount")).unwrap();
    symlink("../c", kitchen.path("mount/l")).unwrap();
    let mut spec = kitchen.shell(
        "(: >> /b/proc/sys/vm/drop_caches) 2>&1; (: >> /b/proc/sys/kernel/core_pattern) 2>&1; \
         awk '$5 == \"/b/proc/sys\" { split($6, how, \",\"); print \"mounted\", how[1] }' /b/proc/self/mountinfo; \
         ls -d /b/proc/self; cat /b/proc/timer_list /b/proc/kpageflags; echo end",
    );
    if mount {
        spec.mounts = vec![bind(kitchen.path("mount"), "", "/a")];
    }
    let text = output(&spec);
    // Who is not root of the host may be refused by the files' permissions, before the mount says no.
    let refusals: &[&str] = if galley_sandbox::userns::in_user_namespace() {
        &["Read-only file system", "Permission denied"]
    } else {
        &["Read-only file system"]
    };
    let refused: usize = refusals.iter().map(|refusal| text.matches(refusal).count()).sum();
    assert!(
        refused == 2 && !text.contains("mounted rw") && text.ends_with("\nmounted ro\n/b/proc/self\nend\n"),
        "{link}: {text}"
    );
}

/// A process that may write there as root of the host has the host (`core_pattern`).
fn privileged_proc_is_restricted_wherever_the_image_has_it() {
    with_proc("/b/proc", &["b/proc"], &[], false);
    // A mount changes what the link means.
    with_proc("/a/l/proc", &["a", "b/proc", "c/proc"], &[("a/l", "../b")], true);
    // So does the new /dev.
    with_proc("/dev/q/../../b/proc", &["dev/q", "b/proc"], &[], false);
    with_proc("/sys/q/../../b/proc", &["sys/q", "b/proc"], &[], false);
}

/// CVE-2024-21626 in runc: a directory of the host that the set-up has open is no place to begin in.
fn privileged_no_working_directory_is_outside() {
    let kitchen = kitchen();
    let path = kitchen.path("canary");
    let look = format!("cat ./{0} ../../../../../../../..{0}; ls -a . ..", path.display());
    for number in 0..OPEN_FILES {
        for link in ["self/fd", "1/fd", "thread-self/fd"] {
            let mut spec = kitchen.shell(&look);
            spec.cwd = format!("/proc/{link}/{number}").into();
            let Ok((child, mut reader)) = start(&spec) else { continue };
            let text = std::io::read_to_string(&mut reader).unwrap();
            child.wait().unwrap();
            panic!("{} is a directory: {text}", spec.cwd.display());
        }
    }
}

fn privileged_no_program_is_outside() {
    let kitchen = kitchen();
    for number in 0..OPEN_FILES {
        for below in ["", "/bin/busybox", "/../bin/busybox", "/base/bin/busybox"] {
            let spec = kitchen.spec(&[&format!("/proc/self/fd/{number}{below}"), "cat", "/proc/self/exe"]);
            assert!(start(&spec).is_err(), "{:?}", spec.args);
        }
    }
}

/// The same two for another process of a sandbox, which is set up while the sandbox's own can look at it.
fn privileged_nothing_outside_is_open_to_who_joins() {
    let kitchen = kitchen();
    let (host, _reader) = start(&kitchen.spec(&["sleep", "60"])).unwrap();
    for number in 0..OPEN_FILES {
        let link = format!("/proc/self/fd/{number}");
        let mut spec = kitchen.spec(&["true"]);
        spec.cwd = link.clone().into();
        assert!(spawner().join(&host, &spec, Handles::default()).is_err(), "{link} is a directory");
        for below in ["", "/bin/busybox"] {
            let spec = kitchen.spec(&[&format!("{link}{below}"), "true"]);
            assert!(spawner().join(&host, &spec, Handles::default()).is_err(), "{:?}", spec.args);
        }
    }
}

/// From a directory of the host, `..` leads to all of it.
fn privileged_a_directory_is_no_stream() {
    let kitchen = kitchen();
    let directory = fs_err::File::open(kitchen.path("upper")).unwrap();
    let spec = kitchen.shell("cat /proc/self/fd/0/../canary");
    let handles = Handles { stdin: Some(directory.as_fd()), ..Handles::default() };
    let error = spawner().spawn(&spec, handles).unwrap_err().to_string();
    assert!(error.contains("Is a directory"), "{error}");
}

/// CVE-2024-23651 in BuildKit: what a mount shows is a part of its source, also while somebody changes links there.
fn privileged_parts_of_a_mount_stay_in_it_while_links_change() {
    let kitchen = kitchen();
    let source = kitchen.path("source");
    fs_err::create_dir_all(source.join("real/deep")).unwrap();
    fs_err::write(source.join("real/deep/canary"), "inside").unwrap();
    let outside = kitchen.path("outside/deep");
    fs_err::create_dir_all(&outside).unwrap();
    fs_err::write(outside.join("canary"), SECRET).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| swap(&source, kitchen.path("outside").as_path(), &done));
        for _ in 0..60 {
            let mut spec = kitchen.shell("cat /m/canary");
            spec.mounts = vec![bind(source.clone(), "part/deep", "/m")];
            spec.network = Network::Host;
            if let Ok((child, mut reader)) = start(&spec) {
                let text = std::io::read_to_string(&mut reader).unwrap();
                child.wait().unwrap();
                assert!(!text.contains(SECRET), "a link has led outside");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Makes `part` a directory and a link to outside by turns.
fn swap(source: &Path, outside: &Path, done: &AtomicBool) {
    let (part, next) = (source.join("part"), source.join("next"));
    while !done.load(Ordering::Relaxed) {
        for target in [outside, Path::new("real")] {
            symlink(target, &next).unwrap();
            fs_err::rename(&next, &part).unwrap();
        }
    }
}
