//! What goes wrong around the program: full disks, kills, Ctrl-C, many at once, images made to do harm, moving tags, broken
//! files with passwords. Each time: the documented exit code, a message that names the image, and nothing half-visible.

mod corpus;
mod disk;
mod hostile;
mod interrupts;
mod kills;
mod lost;
mod memory;
mod odd;
mod power;
mod secrets;
mod soak;
mod together;
mod writes;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use fs_err as fs;
use galley_testkit::{
    TarEntry,
    registry::{Fault, Registry, Rule, TestImage},
    rootfs_tar,
};

use super::{Kitchen, succeeded, text};

const BLOBS: &str = "/v2/*/blobs/sha256:*";

/// Exit code and all that was said of a command that must fail.
fn failed(output: Output) -> (Option<i32>, String) {
    assert!(!output.status.success(), "it succeeded: {}", text(&output));
    (output.status.code(), text(&output))
}

/// Bytes that no compressor makes smaller, different for each seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}

/// The image `team/app:1`: busybox, and so many layers of so many bytes, in the files `/data0`, `/data1`, ….
fn put_app(registry: &Registry, layers: u64, bytes: usize) -> TestImage {
    let mut all = vec![galley_testkit::busybox_rootfs().expect("the kitchen has looked")];
    all.extend((0..layers).map(|number| {
        let name = format!("data{number}");
        rootfs_tar(&[TarEntry::File(&name, 0o644, &noise(number + 1, bytes))])
    }));
    let image = registry.put_image("team/app", "1", &all);
    registry.forget_requests();
    image
}

fn app(registry: &Registry) -> String {
    format!("{}/team/app:1", registry.host())
}

/// Each blob a little at a time, so that there is a middle of it.
fn drip(registry: &Registry) {
    let drip = Fault::Drip { bytes: 2000, pause: Duration::from_millis(50) };
    registry.inject(Rule::on("GET", BLOBS, drip).skip(1).always());
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(120), "waited 120 s for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Processes that were started for this test's store, and mounts in it.
fn leftovers(kitchen: &Kitchen) -> Vec<String> {
    let store = kitchen.env.store();
    let needle = [b"GALLEY_ROOT=", store.as_os_str().as_bytes()].concat();
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let ours = processes.filter(|process| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == needle)
    });
    let mut left: Vec<String> = ours.map(|process| command_line(&process)).collect();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let inside = format!("{}/", store.display());
    left.extend(mounts.lines().filter(|line| line.contains(&inside)).map(str::to_owned));
    left
}

fn command_line(process: &Path) -> String {
    let words = fs::read(process.join("cmdline")).unwrap_or_default();
    format!("{}: {}", process.display(), String::from_utf8_lossy(&words).replace('\0', " "))
}

/// What is in `tmp/`, locks of the living aside.
fn temporary(kitchen: &Kitchen) -> BTreeSet<String> {
    let entries = fs::read_dir(kitchen.env.store().join("tmp")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Something new in the store: whoever writes sweeps what the dead left.
fn write_something(kitchen: &Kitchen) {
    let new = format!("FROM scratch\nCOPY Dockerfile /\n# {:?}\n", Instant::now());
    kitchen.env.write("writer/Dockerfile", new);
    kitchen.build(&["-o", "type=cacheonly", "writer"]);
}

/// The program, running without a terminal; what it says is kept.
fn spawn(kitchen: &Kitchen, arguments: &[&str]) -> std::process::Child {
    let mut command = kitchen.command(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// No image has a name, and none is listed.
fn nothing_is_visible(kitchen: &Kitchen, after: &str) {
    assert_eq!(kitchen.galley(&["images", "-aq"]), "", "after {after}");
    assert_eq!(temporary(kitchen), BTreeSet::new(), "after {after}");
}
