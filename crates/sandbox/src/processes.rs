//! The processes of a sandbox, as the machine sees them: all that are in the pid namespace of its first process, or come of
//! one that is.
//!
//! Everything is read from /proc, so it works without cgroups, for whoever may look at them.

use std::collections::HashSet;
use std::path::PathBuf;

/// The longest file of /proc that is read here.
const FILE_MAX: u64 = 1 << 20;
/// What the kernel counts processor time in, for programs.
const TICKS: u64 = 100;

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// That of its parent.
    pub parent: u32,
    /// Who it runs as, in the machine's numbers.
    pub uid: u32,
    /// The number of its terminal, zero for none.
    pub terminal: u32,
    /// It has ended, and only waits to be asked for.
    pub ended: bool,
    /// Threads.
    pub threads: u64,
    /// Milliseconds of processor time, its own and that of children it waited for.
    pub cpu_milliseconds: u64,
    /// The part of it that is its own.
    pub own_milliseconds: u64,
    /// Seconds after the machine's start.
    pub started: u64,
    /// Bytes of memory, shared ones too.
    pub resident: u64,
    /// Its arguments, or its name in brackets.
    pub command: String,
}

/// Those of the sandbox whose first process this is, by number. Empty when that is gone.
#[must_use]
pub fn inside(first: u32) -> Vec<Process> {
    let namespace = |pid: &str| fs_err::read_link(format!("/proc/{pid}/ns/pid")).ok();
    // In a chroot its namespace is galley's own, which says nothing.
    let wanted = namespace(&first.to_string()).filter(|found| Some(found) != namespace("self").as_ref());
    let mut all = all();
    let is_inside = |one: &&Process| wanted.is_some() && namespace(&one.pid.to_string()) == wanted;
    let mut known: HashSet<u32> = all.iter().filter(is_inside).map(|one| one.pid).collect();
    let guard = all.iter().find(|one| one.pid == first && wanted.is_none()).map(|one| one.parent);
    known.insert(first);
    // There all of the sandbox is below its guard, which is none of it. Without its guard the first process is dead within
    // an instant: it asked the kernel for that, and the helper process kills whatever comes to it.
    known.extend(guard);
    // Children are mostly younger, and so behind their parents; numbers begin anew at times.
    let mut before = 0;
    while before != known.len() {
        before = known.len();
        let more = all.iter().filter(|one| known.contains(&one.parent)).map(|one| one.pid);
        known.extend(more.collect::<Vec<_>>());
    }
    all.retain(|one| known.contains(&one.pid) && Some(one.pid) != guard);
    if all.iter().all(|one| one.pid != first) {
        return Vec::new();
    }
    all
}

fn all() -> Vec<Process> {
    let entries = fs_err::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut all: Vec<Process> = pids.filter_map(process).collect();
    all.sort_by_key(|one| one.pid);
    all
}

/// None when it has ended meanwhile, or was never there.
fn process(pid: u32) -> Option<Process> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let mut process = parse_stat(&read(&folder.join("stat"))?)?;
    process.pid = pid;
    process.uid = rustix::fs::stat(&folder).ok()?.st_uid;
    process.resident = resident(&read(&folder.join("status"))?);
    let arguments = read(&folder.join("cmdline")).unwrap_or_default();
    let typed: Vec<_> = arguments.split(|&byte| byte == 0).map(String::from_utf8_lossy).collect();
    let typed = typed.join(" ");
    if !typed.trim().is_empty() {
        process.command = typed.trim_end().to_owned();
    }
    Some(process)
}

fn read(path: &std::path::Path) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    fs_err::File::open(path).ok()?.take(FILE_MAX).read_to_end(&mut text).ok()?;
    Some(text)
}

/// `VmRSS:    1234 kB`; the kernel's own processes have none.
fn resident(status: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(status);
    let row = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = row.and_then(|row| row.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default().saturating_mul(1024)
}

/// `pid (name) state ppid …`, where a name may have anything in it.
fn parse_stat(text: &[u8]) -> Option<Process> {
    let text = String::from_utf8_lossy(text);
    let (head, fields) = text.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // The first of them is the third of proc(5).
    let number = |index: usize| fields.get(index - 3).and_then(|field| field.parse::<i64>().ok());
    let count = |index| number(index).and_then(|number| u64::try_from(number).ok()).unwrap_or_default();
    let milliseconds = |ticks: u64| ticks.saturating_mul(1000 / TICKS);
    let own = count(14).saturating_add(count(15));
    // The first thread of a program may end before the others.
    let ended = matches!(fields.first(), Some(&("Z" | "X"))) && count(20) <= 1;
    Some(Process {
        parent: u32::try_from(number(4)?).ok()?,
        ended,
        terminal: u32::try_from(count(7)).unwrap_or_default(),
        own_milliseconds: milliseconds(own),
        cpu_milliseconds: milliseconds(own.saturating_add(count(16)).saturating_add(count(17))),
        threads: count(20),
        started: count(22) / TICKS,
        command: format!("[{name}]"),
        ..Process::default()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_may_have_anything_in_it() {
        let line =
            b"42 (a) b (c) S 7 42 42 34816 42 0 0 0 0 0 150 50 20 10 20 0 3 0 12345 1000 25 1 2 3 4 5\n";
        let found = parse_stat(line).unwrap();
        assert_eq!((found.parent, found.terminal, found.threads), (7, 34816, 3));
        assert!(!found.ended && parse_stat(b"42 (a) Z 7 42").unwrap().ended);
        let threads = |count| format!("42 (a) Z 7 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 {count} 0 0");
        let ended = |count| parse_stat(threads(count).as_bytes()).unwrap().ended;
        assert_eq!([0, 1, 2].map(ended), [true, true, false]);
        assert_eq!((found.own_milliseconds, found.cpu_milliseconds), (2000, 2300));
        assert_eq!(found.started, 123);
        assert_eq!(resident(b"Name:\tx\nVmRSS:\t    25 kB\n"), 25 << 10);
        assert_eq!(found.command, "[a) b (c]");
    }

    #[test]
    fn children_belong_to_it() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let found = inside(std::process::id());
        let sleep = found.iter().find(|one| one.pid == child.id()).cloned();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(sleep.unwrap().parent, std::process::id());
        assert!(found.iter().any(|one| one.pid == std::process::id() && one.resident > 0));
        assert_eq!(inside(0), Vec::new());
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_a_panic(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_stat(&line);
            let _ = resident(&line);
        }
    }
}
