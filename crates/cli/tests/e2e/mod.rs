//! The whole program on real files and real processes, on a base image made of busybox.

mod archives;
mod build;
mod cache;
mod cgroup;
mod commits;
mod contexts;
mod copies;
mod crash;
mod daily;
mod errors;
mod escape;
mod faults;
mod filter;
mod keep;
mod lock;
mod looks;
mod network;
mod oracle;
mod outputs;
mod packed;
mod platforms;
mod pod;
mod questions;
mod registry;
mod remote;
mod report;
mod reproducible;
mod run;
mod server;
mod service;
mod shared_cache;
mod single_id;
mod ssh;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::Read,
    path::PathBuf,
    process::{Command, Output},
};

use fs_err as fs;
use galley_testkit::{TestEnv, busybox_rootfs, write_layout};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities};

/// A test's own store and work folder, with the image `busybox` at hand.
pub(crate) struct Kitchen {
    pub(crate) env: TestEnv,
}

/// What a build did, counted from its events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) executed: usize,
    pub(crate) cached: usize,
}

/// One file of an image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) content: Vec<u8>,
    pub(crate) link: Option<String>,
}

impl Kitchen {
    /// `None`, said loudly, where busybox-static is not installed; `make test` installs it.
    pub(crate) fn new() -> Option<Self> {
        let Some(rootfs) = busybox_rootfs() else {
            eprintln!("SKIPPED: busybox-static is not installed; `make test` installs it");
            return None;
        };
        let env = TestEnv::new();
        let config = serde_json::json!({"Env": ["PATH=/bin"], "Cmd": ["sh"]});
        write_layout(&env.path().join("busybox"), "latest", &[rootfs], &config);
        Some(Self { env })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.env.path().join(name)
    }

    pub(crate) fn dockerfile(&self, text: &str) -> &Self {
        self.env.write("Dockerfile", text);
        self
    }

    /// The program under test, in the test's own environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.env.command(program());
        command.args(arguments);
        command
    }

    /// `galley build`, with the busybox image as a named context; `arguments` end with the context.
    pub(crate) fn build_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&["build", "--progress=rawjson"]);
        let layout = format!("busybox=oci-layout://{}", self.path("busybox").display());
        command.args(["--build-context", &layout]).args(arguments);
        command
    }

    /// A build that must succeed.
    pub(crate) fn build(&self, arguments: &[&str]) -> Counts {
        counts(&succeeded(self.build_command(arguments).output().unwrap()))
    }

    /// A build that must fail: its exit code and what it said.
    pub(crate) fn build_fails(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.build_command(&[&["--progress=plain"], arguments].concat()).output().unwrap();
        assert!(!output.status.success(), "the build succeeded: {}", text(&output));
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Any command that must succeed: its standard output.
    pub(crate) fn galley(&self, arguments: &[&str]) -> String {
        let output = succeeded(self.command(arguments).output().unwrap());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The files of what the Dockerfile builds.
    pub(crate) fn files(&self, arguments: &[&str]) -> BTreeMap<String, File> {
        let archive = self.path("files.tar");
        let output = format!("type=tar,dest={}", archive.display());
        self.build(&[&["-o", &output], arguments].concat());
        read_tar(&fs::read(archive).unwrap())
    }
}

/// The program under test: the one that was built with the tests, or a copy that another user may execute.
fn program() -> OsString {
    std::env::var_os("GALLEY_UNDER_TEST").unwrap_or_else(|| env!("CARGO_BIN_EXE_galley").into())
}

/// Whether this is the rung of one id, where the kernel knows every process of a sandbox as its root, and by one filter
/// more: asked for, or because this user has no ranges (e2e/rungs.sh).
pub(crate) fn one_id() -> bool {
    let asked = std::env::var_os("GALLEY_RUNG").is_some_and(|rung| rung == "single-id");
    let alone = || galley_sandbox::userns::IdMaps::best().is_ok_and(|maps| maps.is_alone());
    !rustix::process::geteuid().is_root() && (asked || alone())
}

/// Whether this is the rung of root that may neither mount nor make namespaces.
pub(crate) fn by_chroot() -> bool {
    let may_mount = |set: CapabilitySets| set.effective.contains(CapabilitySet::SYS_ADMIN);
    rustix::process::geteuid().is_root() && !capabilities(None).is_ok_and(may_mount)
}

/// The flag of a container that needs no network: as little of it as there is.
pub(crate) fn offline() -> &'static str {
    if by_chroot() { "--network=host" } else { "--network=none" }
}

pub(crate) fn text(output: &Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", output.status)
}

pub(crate) fn succeeded(output: Output) -> Output {
    assert!(output.status.success(), "{}", text(&output));
    output
}

fn counts(output: &Output) -> Counts {
    let mut counts = Counts::default();
    for line in String::from_utf8_lossy(&output.stderr).lines().filter(|line| line.starts_with('{')) {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        match event["event"].as_str() {
            Some("finished") => counts.executed += 1,
            Some("cached") => counts.cached += 1,
            _ => {}
        }
    }
    counts
}

pub(crate) fn read_tar(bytes: &[u8]) -> BTreeMap<String, File> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        let kind = match header.entry_type() {
            tar::EntryType::Directory => 'd',
            tar::EntryType::Symlink => 'l',
            tar::EntryType::Link => 'h',
            tar::EntryType::Regular => 'f',
            other => panic!("unexpected kind of entry: {other:?}"),
        };
        let file = File {
            kind,
            mode: header.mode().unwrap() & 0o7777,
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            content,
            link: entry.link_name().unwrap().map(|link| link.display().to_string()),
        };
        let path = String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/').to_owned();
        files.insert(path, file);
    }
    files
}
