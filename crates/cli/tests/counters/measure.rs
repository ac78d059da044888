//! Runs a command under a tool and reads the tool's answer.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use fs_err as fs;

use super::below;
use crate::e2e::succeeded;

/// What was counted, by name.
pub(super) type Figures = BTreeMap<&'static str, u64>;

/// What threads do to wait for each other depends on who is first; and `strace` makes some calls start anew.
const BY_CHANCE: [&str; 5] = ["futex", "sched_yield", "restart_syscall", "poll", "ppoll"];

/// Which system calls make up which counter.
const KINDS: [(&str, &[&str]); 7] = [
    ("opens", &["open", "openat", "openat2", "creat"]),
    (
        "looks",
        &[
            "stat",
            "lstat",
            "fstat",
            "newfstatat",
            "statx",
            "access",
            "faccessat",
            "faccessat2",
            "readlink",
            "readlinkat",
        ],
    ),
    ("reads", &READS),
    ("writes", &WRITES),
    ("flushes", &["fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"]),
    ("programs", &["execve", "execveat"]),
    (
        "mounts",
        &["mount", "mount_setattr", "move_mount", "umount2", "fsmount", "unshare", "setns", "pivot_root"],
    ),
];
const READS: [&str; 7] = ["read", "pread64", "readv", "preadv", "preadv2", "recvfrom", "recvmsg"];
const WRITES: [&str; 7] = ["write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg"];
/// Bytes that move inside of the kernel are read and written.
const MOVES: [&str; 3] = ["copy_file_range", "sendfile", "splice"];
const STARTS: [&str; 4] = ["clone", "clone3", "fork", "vfork"];

pub(super) fn are_installed() -> bool {
    let runs = |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|it| it.status.success());
    ["strace", "valgrind", "python3"].into_iter().all(runs)
}

/// The tools, and where they write.
pub(super) struct Tools {
    folder: PathBuf,
    /// Goes at the end; `None` when the person wants the folder.
    _temporary: Option<tempfile::TempDir>,
}

impl Tools {
    pub(super) fn of(scenario: &str) -> Self {
        if let Some(kept) = std::env::var_os("GALLEY_COUNTERS") {
            let folder = Path::new(&kept).join(scenario);
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            return Self { folder, _temporary: None };
        }
        let temporary = tempfile::tempdir().unwrap();
        Self { folder: temporary.path().to_owned(), _temporary: Some(temporary) }
    }

    /// System calls of the command and all its children.
    pub(super) fn calls(&self, command: &Command, figures: &mut Figures) {
        let trace = self.folder.join("strace");
        let output = format!("--output={}", trace.display());
        let tool = ["strace", "-f", "-qqq", "--signal=none", "--string-limit=0", &output];
        succeeded(below(&tool, command).output().unwrap());
        read_trace(&fs::read_to_string(trace).unwrap(), figures);
    }

    /// Instructions of the command and of what it forks. Programs that it starts are not looked at.
    pub(super) fn instructions(&self, command: &Command, figures: &mut Figures) {
        let output = format!("--callgrind-out-file={}/callgrind.%p", self.folder.display());
        // The kernel tells by prctl where its functions for the clock are, and valgrind has taken those away; when it does
        // not tell, the program asks as it does on older kernels.
        let deaf =
            ["strace", "-f", "-qqq", "--output=/dev/null", "--trace=prctl", "--inject=prctl:error=EINVAL"];
        let tool = ["valgrind", "--quiet", "--tool=callgrind", &output];
        succeeded(below(&[&deaf[..], &tool].concat(), command).output().unwrap());
        let files = fs::read_dir(&self.folder).unwrap().map(|file| file.unwrap().path());
        let profiles = files.filter(|file| file.file_stem().is_some_and(|name| name == "callgrind"));
        figures.insert(instructions(), profiles.map(|profile| total(&profile)).sum());
    }

    /// The most memory that the command, or one of its children, had at a time. What the tool has itself is the least
    /// that it can see.
    pub(super) fn memory(&self, command: &Command, figures: &mut Figures) {
        let report = self.folder.join("memory");
        let script = "import os,sys\n\
            pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)\n\
            _, status, usage = os.wait4(pid, 0)\n\
            open(sys.argv[1], 'w').write(str(usage.ru_maxrss))\n\
            sys.exit(os.waitstatus_to_exitcode(status))";
        let report_name = report.display().to_string();
        succeeded(below(&["python3", "-SIc", script, &report_name], command).output().unwrap());
        figures.insert("memory-kib", fs::read_to_string(report).unwrap().parse().unwrap());
    }
}

/// Optimised programs have pins of their own.
const fn instructions() -> &'static str {
    if cfg!(debug_assertions) { "instructions-debug" } else { "instructions" }
}

fn total(profile: &Path) -> u64 {
    let text = String::from_utf8_lossy(&fs::read(profile).unwrap()).into_owned();
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
    total.trim().parse().unwrap()
}

fn read_trace(trace: &str, figures: &mut Figures) {
    let zeros = KINDS.iter().map(|(kind, _)| *kind);
    figures.extend(
        zeros.chain(["calls", "processes", "threads", "bytes-read", "bytes-written"]).map(|it| (it, 0)),
    );
    let mut add = |counter: &'static str, value: u64| *figures.entry(counter).or_default() += value;
    for line in trace.lines() {
        // Each line begins with the number of its process.
        let line = line.split_once(' ').map_or("", |(_, rest)| rest.trim_start());
        let begun = line.split('(').next().unwrap_or_default();
        if STARTS.contains(&begun) {
            add(if line.contains("CLONE_THREAD") { "threads" } else { "processes" }, 1);
        }
        if line.ends_with("<unfinished ...>") {
            continue;
        }
        let name = line.strip_prefix("<... ").and_then(|rest| rest.split(' ').next()).unwrap_or(begun);
        if BY_CHANCE.contains(&name) || name.starts_with(['+', '-']) {
            continue;
        }
        add("calls", 1);
        for (kind, _) in KINDS.iter().filter(|(_, names)| names.contains(&name)) {
            add(kind, 1);
        }
        let result = line.rsplit_once(" = ").and_then(|(_, result)| result.split(' ').next()?.parse().ok());
        let moved = result.unwrap_or(0);
        if READS.contains(&name) || MOVES.contains(&name) {
            add("bytes-read", moved);
        }
        if WRITES.contains(&name) || MOVES.contains(&name) {
            add("bytes-written", moved);
        }
    }
}

#[test]
fn traces_are_read() {
    let mut figures = Figures::new();
    let trace = "7 openat(AT_FDCWD, \"\"..., O_RDONLY) = 3\n\
        7 read(3, \"\"..., 32) = 31\n\
        7 read(3,  <unfinished ...>\n\
        8 futex(0x7f, FUTEX_WAIT) = 0\n\
        7 <... read resumed>\"\"..., 32) = 11\n\
        7 clone3({flags=CLONE_VM|CLONE_THREAD}, 88 <unfinished ...>\n\
        7 <... clone3 resumed> => {parent_tid=[9]}, 88) = 9\n\
        7 fork() = 12\n\
        12 write(1, \"\"..., 4) = -1 EPIPE (Broken pipe)\n\
        12 exit_group(0) = ?\n\
        12 +++ exited with 0 +++\n";
    read_trace(trace, &mut figures);
    let seen = |counter| figures[counter];
    assert_eq!(["calls", "opens", "reads", "writes"].map(seen), [7, 1, 2, 1]);
    assert_eq!(["processes", "threads", "bytes-read", "bytes-written"].map(seen), [1, 1, 42, 0]);
}
