//! A small root file system, and sandboxes in it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{PipeReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use galley_sandbox::{Child, Error, Handles, Layers, Outcome, Root, Spawner, Spec, Writable};
use tempfile::TempDir;

/// Where a static busybox is looked for.
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];
const APPLETS: [&str; 29] = [
    "sh", "cat", "ls", "id", "true", "false", "sleep", "mount", "mkdir", "rm", "touch", "chmod", "chown",
    "echo", "env", "stat", "hostname", "mknod", "head", "wc", "kill", "ip", "nc", "tty", "test", "stty",
    "cp", "nslookup", "setsid",
];

/// The spawner of the test binary.
pub(crate) fn spawner() -> &'static Spawner {
    static SPAWNER: OnceLock<Spawner> = OnceLock::new();
    SPAWNER.get_or_init(|| Spawner::start().unwrap())
}

/// A directory with busybox as lower layer, and room for an upper one.
pub(crate) struct Kitchen {
    pub(crate) dir: TempDir,
}

impl Kitchen {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["base/bin", "base/etc", "base/tmp", "upper", "work"] {
            fs_err::create_dir_all(dir.path().join(name)).unwrap();
        }
        let busybox = BUSYBOX.iter().map(Path::new).find(|path| path.exists());
        let busybox = busybox.expect("these tests need a static busybox: apt-get install busybox-static");
        fs_err::copy(busybox, dir.path().join("base/bin/busybox")).unwrap();
        for applet in APPLETS {
            fs_err::os::unix::fs::symlink("busybox", dir.path().join("base/bin").join(applet)).unwrap();
        }
        fs_err::write(dir.path().join("base/etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The base below a writable layer.
    pub(crate) fn root(&self) -> Root {
        let writable = Writable { upper: self.path("upper"), work: self.path("work") };
        Root::Layers(Layers { lowers: vec![self.path("base").into()], writable: Some(writable) })
    }

    pub(crate) fn spec(&self, args: &[&str]) -> Spec {
        let mut spec = Spec::new(self.root(), args.iter().map(OsString::from).collect());
        spec.env = vec!["PATH=/bin".into(), "HOME=/".into()];
        spec
    }

    pub(crate) fn shell(&self, script: &str) -> Spec {
        self.spec(&["/bin/sh", "-c", script])
    }
}

/// A sandbox with its two outputs in one pipe.
pub(crate) fn start(spec: &Spec) -> Result<(Child, PipeReader), Error> {
    let (reader, writer) = std::io::pipe().unwrap();
    let output = Some(writer.as_fd());
    let handles = Handles { stdout: output, stderr: output, ..Handles::default() };
    Ok((spawner().spawn(spec, handles)?, reader))
}

/// Runs a sandbox to its end.
pub(crate) fn run(spec: &Spec) -> (Outcome, String) {
    let (child, mut reader) = start(spec).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    (child.wait().unwrap(), text)
}

/// Runs a sandbox that has to succeed, and gives what it wrote.
pub(crate) fn output(spec: &Spec) -> String {
    let (outcome, text) = run(spec);
    assert!(outcome.exit.success(), "{outcome:?}: {text}");
    text
}

/// How many processes that descend from this one have this in their command line.
pub(crate) fn processes_with(marker: &str) -> usize {
    descendants(std::process::id()).iter().filter(|(_, command)| command.contains(marker)).count()
}

/// Waits until all of these processes are gone.
pub(crate) fn await_gone(processes: &[(u32, String)]) {
    let start = Instant::now();
    let lives = |pid: u32| Path::new(&format!("/proc/{pid}")).exists();
    while let Some(process) = processes.iter().find(|(pid, _)| lives(*pid)) {
        assert!(start.elapsed() < Duration::from_secs(60), "{process:?} still runs");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a process that descends from `ancestor` has this command line.
pub(crate) fn await_descendant(ancestor: u32, words: &str) -> (u32, String) {
    let start = Instant::now();
    loop {
        let found = descendants(ancestor);
        if let Some(process) = found.iter().find(|(_, command)| command == words) {
            return process.clone();
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no {words:?} among {found:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processes that descend from one, with their command lines.
pub(crate) fn descendants(ancestor: u32) -> Vec<(u32, String)> {
    let entries = fs_err::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let parents: HashMap<u32, u32> = pids.into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let descends = |pid: u32| {
        let line = std::iter::successors(parents.get(&pid), |parent| parents.get(parent));
        line.take(64).any(|parent| *parent == ancestor)
    };
    let command = |pid: u32| fs_err::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    parents.keys().filter(|pid| descends(**pid)).map(|&pid| (pid, command(pid))).collect()
}

pub(crate) fn parent(pid: u32) -> Option<u32> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Mounts of this process's namespace that only a sandbox can have made: overlays of open files. Others come and go.
pub(crate) fn leaked_mounts() -> Vec<String> {
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.contains("lowerdir+=/proc/self/fd/")).map(str::to_owned).collect()
}
