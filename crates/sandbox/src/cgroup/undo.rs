//! What takes a refused change of limits back: where the processes of a sandbox were, and what its cgroups had.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::freezer::members;
use super::limits::Write;
use super::plan::{Leaf, Machine, Plan, located, parse_membership};
use super::{Limits, read, relimit, write};
use crate::processes;

/// How often the processes in a cgroup are looked through for such that came meanwhile.
const ROUNDS_MAX: u32 = 100;
const PAUSE: Duration = Duration::from_millis(2);

/// What was before a change.
#[derive(Debug, Default)]
pub struct Former {
    ways: Vec<Way>,
    limits: Vec<Leaf>,
}

/// The way out of a cgroup that the sandbox gets.
#[derive(Debug)]
struct Way {
    from: PathBuf,
    /// Where the processes were that are known, by number.
    known: HashMap<u32, PathBuf>,
    /// Where the first one was: those that came meanwhile descend from it, or joined it.
    first: Option<PathBuf>,
}

impl Former {
    /// What is so now. The sandbox is about to get the cgroups of `new`, if it has not, and other `limits` in all of `plan`;
    /// nobody was moved yet.
    #[must_use]
    pub fn of(plan: &Plan, new: &Plan, limits: &Limits, first: u32) -> Self {
        let machine = Machine::this().ok();
        let ways =
            machine.iter().flat_map(|machine| new.leaves.iter().map(|leaf| Way::out(leaf, machine, first)));
        let ways = ways.collect();
        let mut kept = plan.wanted(limits).unwrap_or_default();
        kept.retain(|leaf| new.leaves.iter().all(|made| made.dir != leaf.dir));
        kept.iter_mut().for_each(remember);
        Self { ways, limits: kept }
    }

    /// Makes it so again, as far as that is possible: the failure that led here is what is told.
    pub fn restore(&self) {
        self.ways.iter().for_each(Way::go);
        for leaf in &self.limits {
            let _ = relimit(leaf);
        }
    }
}

/// Puts in the place of what is to be written what the files have.
fn remember(leaf: &mut Leaf) {
    let has = |wanted: &Write| {
        let value = String::from_utf8(read(&leaf.dir.join(&wanted.file)).ok()?).ok()?;
        // One that is refused keeps no other one back.
        Some(Write { value, optional: true, ..wanted.clone() })
    };
    leaf.writes = leaf.writes.iter().filter_map(has).collect();
}

impl Way {
    fn out(leaf: &Leaf, machine: &Machine, first: u32) -> Self {
        let place = |pid: u32| {
            let text = fs_err::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
            let place = located(machine.of(leaf)?, &parse_membership(&text))?;
            // Who joined since it was made is in it already.
            (place != leaf.dir).then_some(place)
        };
        let pids = processes::inside(first).into_iter().map(|one| one.pid);
        let known = pids.filter_map(|pid| Some((pid, place(pid)?))).collect();
        Self { from: leaf.dir.clone(), known, first: place(first) }
    }

    /// Moves all that are there back, until there are none.
    fn go(&self) {
        for _ in 0..ROUNDS_MAX {
            // Zero would be this process.
            let there = members(&self.from).into_iter().filter(|&pid| pid != 0);
            let back = there.filter_map(|pid| Some((pid, self.known.get(&pid).or(self.first.as_ref())?)));
            if back.map(|(pid, dir)| enter(dir, pid)).count() == 0 {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// One that cannot go has ended, or its place is gone.
fn enter(dir: &Path, pid: u32) {
    let _ = write(&dir.join("cgroup.procs"), pid.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_files_had_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let set = |memory: &str, pids: &str| {
            fs_err::write(dir.path().join("memory.max"), memory).unwrap();
            fs_err::write(dir.path().join("pids.max"), pids).unwrap();
        };
        set("1048576\n", "max\n");
        let leaf =
            Leaf { dir: dir.path().to_owned(), legacy: false, controllers: Vec::new(), writes: Vec::new() };
        let plan = Plan { enable: Vec::new(), leaves: vec![leaf] };
        let limits = Limits { memory: Some(2 << 20), pids: Some(5), ..Limits::default() };
        let former = Former::of(&plan, &Plan::default(), &limits, std::process::id());
        set("", "");
        plan.change(&limits).unwrap();
        let has = |file: &str| fs_err::read_to_string(dir.path().join(file)).unwrap();
        assert_eq!((has("memory.max").as_str(), has("pids.max").as_str()), ("2097152", "5"));
        set("", "");
        former.restore();
        assert_eq!((has("memory.max").as_str(), has("pids.max").as_str()), ("1048576\n", "max\n"));
        assert!(!dir.path().join("memory.swap.max").exists(), "what was not there is not made");
    }
}
