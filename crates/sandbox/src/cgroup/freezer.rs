//! Stopping all processes of a sandbox at once, without any of them knowing: a cgroup that freezes.
//!
//! In version 1 the freezer has a tree of its own, in version 2 every cgroup can. A sandbox that is to stop for the first
//! time gets one then; its processes are moved there. They cannot run from it: what is moved is frozen at once, and so
//! makes no others.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::hierarchy;
use super::plan::{Leaf, Machine, Plan};
use super::{CgroupParent, Placement, read, unique_name, write};
use crate::error::{Error, Refusal, SetupError, SetupStep};
use crate::processes;
use crate::setup::step::Step as _;

/// How long the kernel may take to stop a process that is deep in it.
const FREEZE_TIME_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);
/// How often the processes of a sandbox are looked through for such that came meanwhile.
const ROUNDS_MAX: u32 = 100;

/// The cgroup in which a sandbox is frozen; dropping it lets the sandbox go on, and removes it.
#[derive(Debug)]
pub struct Freezer {
    dir: PathBuf,
    legacy: bool,
    /// Removes it; none when it is the one that the sandbox has for its limits.
    own: Option<Placement>,
}

impl Freezer {
    /// Makes one for a sandbox that runs in the cgroup of `plan`, if it has any.
    pub fn make(plan: Option<&Plan>, parent: Option<&CgroupParent>) -> Result<Self, Error> {
        let limited = plan.into_iter().flat_map(|plan| &plan.leaves).find(|leaf| !leaf.legacy);
        if let Some(leaf) = limited {
            return Ok(Self { dir: leaf.dir.clone(), legacy: false, own: None });
        }
        let machine = Machine::this()?;
        let name = unique_name()?;
        let leaf = machine.freezer(parent, &name)?;
        let (dir, legacy) = (leaf.dir.clone(), leaf.legacy);
        let own = Placement::carry_out(&Plan { enable: Vec::new(), leaves: vec![leaf] })?;
        Ok(Self { dir, legacy, own: Some(own) })
    }

    /// The directory, for whoever finds it when this process has been killed: [`thaw`].
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether a sandbox in the cgroup of `plan` cannot be in this one, too: in version 2 a process is in one alone.
    #[must_use]
    pub fn contradicts(&self, plan: &Plan) -> bool {
        !self.legacy && plan.leaves.iter().any(|leaf| !leaf.legacy && leaf.dir != self.dir)
    }

    /// Stops all processes of the sandbox whose first one this is. Where that fails they go on.
    pub fn freeze(&self, first: u32) -> Result<(), Error> {
        let frozen = self.set(true).and_then(|()| gather(&self.dir, first)).and_then(|()| self.wait());
        Ok(frozen.inspect_err(|_| drop(self.set(false)))?)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), Error> {
        Ok(self.set(false)?)
    }

    fn set(&self, frozen: bool) -> Result<(), SetupError> {
        let (file, value) = switch(&self.dir, self.legacy, frozen);
        write(&file, value).step_at(SetupStep::Freeze, &file)
    }

    fn wait(&self) -> Result<(), SetupError> {
        let until = Instant::now() + FREEZE_TIME_MAX;
        while !is_frozen(&self.dir, self.legacy) {
            if Instant::now() > until {
                return Err(Errno::TIMEDOUT).step_at(SetupStep::Freeze, &self.dir);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = self.set(false);
        drop(self.own.take());
    }
}

/// Moves all processes of a sandbox to a cgroup, until there are none elsewhere.
pub(super) fn gather(dir: &Path, first: u32) -> Result<(), SetupError> {
    let file = dir.join("cgroup.procs");
    for _ in 0..ROUNDS_MAX {
        let here = members(dir);
        // Version 2 does not name those that have ended, whose parents cannot ask for them while they are frozen.
        let mut elsewhere =
            processes::inside(first).into_iter().filter(|one| !one.ended && !here.contains(&one.pid));
        let Some(one) = elsewhere.next() else { return Ok(()) };
        for pid in std::iter::once(one).chain(elsewhere).map(|one| one.pid) {
            match write(&file, pid.to_string().as_bytes()) {
                // One that has ended meanwhile.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error).step_at(SetupStep::EnterCgroup, dir),
            }
        }
    }
    Err(Errno::AGAIN).step_at(SetupStep::EnterCgroup, dir)
}

/// Lets what a killed process has left frozen go on, and so end; and removes the cgroup.
pub fn thaw(dir: &Path) {
    for legacy in [true, false] {
        let (file, value) = switch(dir, legacy, false);
        let _ = write(&file, value);
    }
    super::remove(dir);
}

fn switch(dir: &Path, legacy: bool, frozen: bool) -> (PathBuf, &'static [u8]) {
    match (legacy, frozen) {
        (true, true) => (dir.join("freezer.state"), b"FROZEN"),
        (true, false) => (dir.join("freezer.state"), b"THAWED"),
        (false, true) => (dir.join("cgroup.freeze"), b"1"),
        (false, false) => (dir.join("cgroup.freeze"), b"0"),
    }
}

fn is_frozen(dir: &Path, legacy: bool) -> bool {
    let (file, wanted): (_, &[u8]) =
        if legacy { ("freezer.state", b"FROZEN") } else { ("cgroup.events", b"frozen 1") };
    let text = read(&dir.join(file)).unwrap_or_default();
    text.split(|&byte| byte == b'\n').any(|line| line == wanted)
}

pub(super) fn members(dir: &Path) -> Vec<u32> {
    let text = fs_err::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

impl Machine {
    /// This machine, as this process sees it.
    pub(super) fn this() -> Result<Self, Refusal> {
        let hierarchies = hierarchy::writable().map_err(|_| Refusal::NoHierarchy)?;
        let membership = fs_err::read_to_string("/proc/self/cgroup").map_err(|_| Refusal::NoHierarchy)?;
        Ok(Self {
            hierarchies,
            membership: super::plan::parse_membership(&membership),
            at_top: !crate::userns::in_user_namespace(),
        })
    }

    /// Where a sandbox can be frozen.
    fn freezer(&self, parent: Option<&CgroupParent>, name: &str) -> Result<Leaf, Refusal> {
        const CONTROLLER: &str = "freezer";
        let leaf = |dir: PathBuf, legacy| Leaf { dir, legacy, controllers: Vec::new(), writes: Vec::new() };
        if let Some(hierarchy) = self.legacy(CONTROLLER) {
            let base = match parent {
                Some(parent) => hierarchy.point.join(parent.path()),
                None => self.own(hierarchy).ok_or(Refusal::Elsewhere { controller: CONTROLLER })?,
            };
            super::plan::check_writable(&base)?;
            return Ok(leaf(base.join(name), true));
        }
        let hierarchy = self.unified().ok_or(Refusal::NoController { controller: CONTROLLER })?;
        Ok(leaf(self.place(hierarchy, &[], parent)?.join(name), false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_both_versions_are_read() {
        let dir = tempfile::tempdir().unwrap();
        for (legacy, file, text, expected) in [
            (true, "freezer.state", "FREEZING\n", false),
            (true, "freezer.state", "FROZEN\n", true),
            (false, "cgroup.events", "populated 1\nfrozen 0\n", false),
            (false, "cgroup.events", "populated 1\nfrozen 1\n", true),
        ] {
            fs_err::write(dir.path().join(file), text).unwrap();
            assert_eq!(is_frozen(dir.path(), legacy), expected, "{text}");
        }
    }
}
