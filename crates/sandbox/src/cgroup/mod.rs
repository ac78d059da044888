//! A cgroup of its own for each sandbox that asks for one: below a parent that the person names, or with [`Limits`].
//!
//! The helper process makes it, because it outlives both the sandbox and galley; the child enters it, and makes its
//! cgroup namespace only then, so that it sees it as `/`. Where one with limits is made is decided before, by galley:
//! see [`Plan`].

mod freezer;
mod hierarchy;
mod limits;
mod memory;
mod parent;
mod plan;
mod undo;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;

use crate::error::{SetupError, SetupStep};
use crate::setup::step::Step as _;

pub use self::freezer::{Freezer, thaw};
use self::hierarchy::Hierarchy;
pub use self::limits::Limits;
use self::limits::Write;
pub use self::memory::Memory;
pub use self::parent::CgroupParent;
use self::plan::Leaf;
pub(crate) use self::plan::PLAN_MAX;
pub use self::plan::Plan;
pub use self::undo::Former;

/// The kernel may still be busy with a process that was waited for already.
const REMOVAL_TRIES: u32 = 50;
const REMOVAL_PAUSE: Duration = Duration::from_millis(2);
/// A file of a cgroup that is read here is a line.
const FILE_MAX: usize = 4096;

/// The cgroup of one sandbox, one directory in each hierarchy; dropping it removes them.
#[derive(Debug, Default)]
pub(crate) struct Placement {
    leaves: Vec<PathBuf>,
    /// Was taken away again while somebody was still there: nobody enters it, and it goes at the end.
    left: Vec<PathBuf>,
}

impl Placement {
    /// Makes a cgroup below `parent`, which is made too where it is not there. What a failure leaves is removed.
    pub(crate) fn make(parent: &CgroupParent) -> Result<Self, SetupError> {
        let path = parent.path().join(unique_name()?);
        let hierarchies = hierarchy::writable()?;
        let mut made = Vec::new();
        let leaves: Result<Vec<_>, _> =
            hierarchies.iter().map(|hierarchy| make_below(hierarchy, &path, &mut made)).collect();
        if leaves.is_err() {
            made.iter().rev().for_each(|dir| remove(dir));
        }
        Ok(Self { leaves: leaves?, left: Vec::new() })
    }

    /// Makes what `plan` says. What a failure leaves is removed, but for what others may share.
    pub(crate) fn carry_out(plan: &Plan) -> Result<Self, SetupError> {
        for (file, controllers) in &plan.enable {
            let dir = file.parent().unwrap_or(file);
            make_all(dir, false, &mut Vec::new())?;
            write(file, controllers.as_bytes()).step_at(SetupStep::EnableControllers, file)?;
        }
        let mut made = Self::default();
        for leaf in &plan.leaves {
            make_all(&leaf.dir, leaf.legacy, &mut Vec::new())?;
            made.leaves.push(leaf.dir.clone());
            limit(leaf)?;
        }
        Ok(made)
    }

    /// Takes those of `more` that it lacks.
    pub(crate) fn extend(&mut self, mut more: Self) {
        more.leaves.retain(|leaf| !self.leaves.contains(leaf));
        self.leaves.append(&mut more.leaves);
    }

    /// Removes those that `plan` made.
    pub(crate) fn displace(&mut self, plan: &Plan) {
        let (gone, rest): (Vec<_>, Vec<_>) =
            self.leaves.drain(..).partition(|leaf| plan.leaves.iter().any(|made| made.dir == *leaf));
        self.leaves = rest;
        gone.iter().for_each(|dir| remove(dir));
        self.left.extend(gone.into_iter().filter(|dir| rustix::fs::stat(dir).is_ok()));
    }

    /// As it is sent to the guard of a sandbox.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.leaves.iter().map(|leaf| leaf.as_os_str().as_bytes()).collect::<Vec<_>>().join(&0)
    }

    /// What was sent. Whoever has it must not drop it: the directories are the sender's.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let names = bytes.split(|&byte| byte == 0).filter(|name| !name.is_empty());
        Self { leaves: names.map(|name| OsStr::from_bytes(name).into()).collect(), left: Vec::new() }
    }

    /// Whether the kernel has ended a process here because there was no memory left.
    pub(crate) fn oom_killed(&self) -> bool {
        let killed = |text: &[u8]| {
            let text = String::from_utf8_lossy(text);
            let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
            count.is_some_and(|count| count.trim() != "0")
        };
        let files =
            self.leaves.iter().flat_map(|leaf| [leaf.join("memory.oom_control"), leaf.join("memory.events")]);
        files.filter_map(|file| read(&file).ok()).any(|text| killed(&text))
    }

    /// Moves the calling process there.
    pub(crate) fn enter(&self) -> Result<(), SetupError> {
        self.leaves.iter().try_for_each(|leaf| {
            // Zero is the writer, whatever its number is in which pid namespace.
            write(&leaf.join("cgroup.procs"), b"0").step_at(SetupStep::EnterCgroup, leaf)
        })
    }
}

impl Drop for Placement {
    fn drop(&mut self) {
        self.leaves.iter().chain(&self.left).for_each(|leaf| remove(leaf));
    }
}

fn unique_name() -> Result<String, SetupError> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty()).step(SetupStep::MakeCgroup)?;
    Ok(format!("galley-{:016x}", u64::from_ne_bytes(bytes)))
}

/// Whether it is a name of that kind. Neither galley's own cgroup has one, nor one that somebody else called after galley.
fn is_unique_name(name: &str) -> bool {
    name.strip_prefix("galley-")
        .is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Writes the limits of a new cgroup.
fn limit(leaf: &Leaf) -> Result<(), SetupError> {
    for wanted in &leaf.writes {
        let file = leaf.dir.join(&wanted.file);
        match write(&file, wanted.value.as_bytes()) {
            Err(_) if wanted.optional => {}
            written => {
                written.step_at(SetupStep::LimitCgroup, format!("{}={}", wanted.file, wanted.value))?
            }
        }
    }
    Ok(())
}

/// Writes other limits. Some hold each other (memory, and memory with swap, in version 1): what is refused at first is
/// tried again when the others stand.
fn relimit(leaf: &Leaf) -> Result<(), SetupError> {
    let again: Vec<Write> = leaf
        .writes
        .iter()
        .filter(|wanted| write(&leaf.dir.join(&wanted.file), wanted.value.as_bytes()).is_err())
        .cloned()
        .collect();
    limit(&Leaf { writes: again, ..leaf.clone() })
}

/// Makes `dir` with all that leads to it, below the first directory that is there.
fn make_all(dir: &Path, legacy: bool, made: &mut Vec<PathBuf>) -> Result<(), SetupError> {
    let there = |dir: &&Path| rustix::fs::stat(*dir).is_ok();
    let point = dir.ancestors().find(there).unwrap_or(Path::new("/")).to_owned();
    let Ok(path) = dir.strip_prefix(&point) else { return Ok(()) };
    make_in(&point, legacy, path, made).map(drop)
}

/// Makes `path` with all that leads to it, and notes what was not there.
fn make_below(hierarchy: &Hierarchy, path: &Path, made: &mut Vec<PathBuf>) -> Result<PathBuf, SetupError> {
    make_in(&hierarchy.point, hierarchy.legacy, path, made)
}

fn make_in(point: &Path, legacy: bool, path: &Path, made: &mut Vec<PathBuf>) -> Result<PathBuf, SetupError> {
    let mut dir = point.to_owned();
    for name in path {
        let above = dir.clone();
        dir.push(name);
        match rustix::fs::mkdir(&dir, Mode::from_raw_mode(0o755)) {
            Ok(()) => made.push(dir.clone()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error).step_at(SetupStep::MakeCgroup, &dir),
        }
        if legacy {
            inherit_cpuset(&above, &dir).step_at(SetupStep::MakeCgroup, &dir)?;
        }
    }
    Ok(dir)
}

/// In version 1 a new cpuset has no processors and no memory, and takes no process until it has.
fn inherit_cpuset(above: &Path, dir: &Path) -> Result<(), Errno> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let own = match read(&dir.join(name)) {
            Err(Errno::NOENT) => return Ok(()),
            own => own?,
        };
        if own.trim_ascii().is_empty() {
            write(&dir.join(name), read(&above.join(name))?.trim_ascii())?;
        }
    }
    Ok(())
}

/// Removes a cgroup and those that a sandbox made in it. Its processes are gone: those of the sandbox died with their
/// pid namespace. Where somebody else put a process of theirs, it stays.
fn remove(dir: &Path) {
    for _ in 0..REMOVAL_TRIES {
        if removed(dir) {
            return;
        }
        std::thread::sleep(REMOVAL_PAUSE);
    }
}

/// Whether nothing of it is left that could go.
fn removed(dir: &Path) -> bool {
    let busy = || rustix::fs::rmdir(dir) == Err(Errno::BUSY);
    !busy() || (below(dir).iter().all(|dir| removed(dir)) && !busy())
}

/// The cgroups in a cgroup.
fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn read(path: &Path) -> Result<Vec<u8>, Errno> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = vec![0; FILE_MAX];
    let length = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut text))?;
    text.truncate(length);
    Ok(text)
}

/// In one call, as the files of cgroups need it.
fn write(path: &Path, text: &[u8]) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::retry_on_intr(|| rustix::io::write(&file, text)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not a cgroup file system, but directories all the same: what is asked for, and what a failure leaves.
    #[test]
    fn what_leads_there_is_made_and_noted() {
        let dir = tempfile::tempdir().unwrap();
        rustix::fs::mkdir(dir.path().join("there"), Mode::RWXU).unwrap();
        let point = dir.path().to_owned();
        let hierarchy = Hierarchy { point, root: "/".into(), legacy: true, options: Vec::new() };
        let mut made = Vec::new();
        let leaf = make_below(&hierarchy, Path::new("there/new/leaf"), &mut made).unwrap();
        assert_eq!(leaf, dir.path().join("there/new/leaf"));
        assert_eq!(made, [dir.path().join("there/new"), leaf]);
        made.iter().rev().for_each(|dir| remove(dir));
        assert_eq!(below(&dir.path().join("there")), Vec::<PathBuf>::new());
        assert_eq!(below(dir.path()), [dir.path().join("there")]);
    }

    #[test]
    fn what_cannot_be_taken_away_yet_goes_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let leaf = |name: &str| Leaf {
            dir: dir.path().join(name),
            legacy: false,
            controllers: Vec::new(),
            writes: Vec::new(),
        };
        let plan = |names: &[&str]| Plan {
            enable: Vec::new(),
            leaves: names.iter().map(|name| leaf(name)).collect(),
        };
        let mut placement = Placement::carry_out(&plan(&["first", "empty", "full"])).unwrap();
        let somebody = dir.path().join("full/somebody");
        fs_err::write(&somebody, "").unwrap();
        placement.displace(&plan(&["empty", "full"]));
        assert_eq!(
            placement.to_bytes(),
            dir.path().join("first").as_os_str().as_bytes(),
            "nobody enters the others"
        );
        let there = || ["first", "empty", "full"].map(|name| dir.path().join(name).exists());
        assert_eq!(there(), [true, false, true]);
        fs_err::remove_file(somebody).unwrap();
        drop(placement);
        assert_eq!(there(), [false; 3]);
    }

    #[test]
    fn the_kernels_count_of_ended_processes_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let placement = Placement { leaves: vec![dir.path().to_owned()], left: Vec::new() };
        assert!(!placement.oom_killed());
        for (file, text, expected) in [
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", false),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", true),
            ("memory.oom_control", "", false),
            ("memory.events", "max 3\noom 1\noom_kill 1\noom_group_kill 0\n", true),
        ] {
            fs_err::write(dir.path().join(file), text).unwrap();
            assert_eq!(placement.oom_killed(), expected, "{text}");
        }
    }

    #[test]
    fn a_cpuset_gets_what_the_one_above_has() {
        let dir = tempfile::tempdir().unwrap();
        let (above, own) = (dir.path().join("above"), dir.path().join("own"));
        for (set, cpus, mems) in [(&above, "0-3\n", "0\n"), (&own, "\n", "1\n")] {
            rustix::fs::mkdir(set, Mode::RWXU).unwrap();
            fs_err::write(set.join("cpuset.cpus"), cpus).unwrap();
            fs_err::write(set.join("cpuset.mems"), mems).unwrap();
        }
        inherit_cpuset(&above, &own).unwrap();
        assert_eq!(read(&own.join("cpuset.cpus")).unwrap(), b"0-3");
        assert_eq!(read(&own.join("cpuset.mems")).unwrap(), b"1\n", "what is set stays");
    }
}
