//! What `make bench` measures galley against, where no tool of the system does the same work and nothing more:
//!
//! * `limits walk DIR` looks at every entry below DIR with statx, from open directories, on one thread;
//! * `limits sandbox COUNT` starts COUNT bare sandboxes, one after another.
//!
//! And what it measures with: `limits time FILE COMMAND...` runs a command, ends as that does, and writes to FILE when it began
//! and ended (monotonic nanoseconds), its processor time (microseconds) and the peak memory of its largest process (KiB). A
//! process inherits the peak of who started it: that of this program is small.

#[path = "../benches/bare/mod.rs"]
mod bare;

use std::env;
use std::ffi::{OsStr, OsString};
use std::mem::zeroed;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, StatxFlags, openat, statx};
use rustix::time::{ClockId, clock_gettime};

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    let [verb, first, rest @ ..] = &words[..] else { return ExitCode::from(2) };
    match (verb.to_str(), rest) {
        (Some("walk"), []) => walk(CWD, first).expect("a readable folder"),
        (Some("sandbox"), []) => {
            sandboxes(first.to_str().and_then(|count| count.parse().ok()).expect("a number"))
        }
        (Some("time"), [program, arguments @ ..]) => return time(first, program, arguments),
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}

#[expect(clippy::zombie_processes, reason = "wait4 waits, and says what was used")]
fn time(file: &OsStr, program: &OsStr, arguments: &[OsString]) -> ExitCode {
    let begin = nanoseconds();
    let child = Command::new(program).args(arguments).spawn().expect("a program to run");
    let (mut status, mut usage) = (0, nothing_used());
    // SAFETY: both are live and of the types that the call writes.
    let waited = unsafe { libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut usage) };
    let end = nanoseconds();
    assert_eq!(waited, child.id() as i32);
    let cpu = microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
    fs_err::write(file, format!("{begin} {end} {cpu} {}", usage.ru_maxrss)).expect("a place for the figures");
    let code = ExitStatus::from_raw(status).code().unwrap_or(255);
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}

fn nothing_used() -> libc::rusage {
    // SAFETY: a rusage of zeroes is one.
    unsafe { zeroed() }
}

fn nanoseconds() -> i128 {
    let now = clock_gettime(ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}

fn microseconds(time: libc::timeval) -> i64 {
    time.tv_sec * 1_000_000 + time.tv_usec
}

fn walk<P: rustix::path::Arg>(parent: impl AsFd, name: P) -> rustix::io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let directory = openat(parent, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        statx(&directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
        if entry.file_type() == FileType::Directory {
            walk(&directory, name)?;
        }
    }
    Ok(())
}

fn sandboxes(count: usize) {
    bare::private_mounts();
    let kitchen = bare::kitchen();
    for _ in 0..count {
        bare::bare(kitchen.path(), true);
    }
}
