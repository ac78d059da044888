//! A cgroup of its own for each sandbox that asks for one, below a parent that the person names.
//!
//! The helper process makes it, because it outlives both the sandbox and galley; the child enters it, and makes its
//! cgroup namespace only then, so that it sees it as `/`. Nothing is limited here: limits are the parent's.

mod hierarchy;
mod parent;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;

use crate::error::{SetupError, SetupStep};
use crate::setup::step::Step as _;

use self::hierarchy::Hierarchy;
pub use self::parent::CgroupParent;
pub(crate) use self::parent::PATH_MAX;

/// The kernel may still be busy with a process that was waited for already.
const REMOVAL_TRIES: u32 = 50;
const REMOVAL_PAUSE: Duration = Duration::from_millis(2);
/// A file of a cgroup that is read here is a line.
const FILE_MAX: usize = 4096;

/// The cgroup of one sandbox, one directory in each hierarchy; dropping it removes them.
#[derive(Debug)]
pub(crate) struct Placement {
    leaves: Vec<PathBuf>,
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
        Ok(Self { leaves: leaves? })
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
        self.leaves.iter().for_each(|leaf| remove(leaf));
    }
}

fn unique_name() -> Result<String, SetupError> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty()).step(SetupStep::MakeCgroup)?;
    Ok(format!("galley-{:016x}", u64::from_ne_bytes(bytes)))
}

/// Makes `path` with all that leads to it, and notes what was not there.
fn make_below(hierarchy: &Hierarchy, path: &Path, made: &mut Vec<PathBuf>) -> Result<PathBuf, SetupError> {
    let mut dir = hierarchy.point.clone();
    for name in path {
        let above = dir.clone();
        dir.push(name);
        match rustix::fs::mkdir(&dir, Mode::from_raw_mode(0o755)) {
            Ok(()) => made.push(dir.clone()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error).step_at(SetupStep::MakeCgroup, &dir),
        }
        if hierarchy.legacy {
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
        let hierarchy = Hierarchy { point: dir.path().to_owned(), legacy: true };
        let mut made = Vec::new();
        let leaf = make_below(&hierarchy, Path::new("there/new/leaf"), &mut made).unwrap();
        assert_eq!(leaf, dir.path().join("there/new/leaf"));
        assert_eq!(made, [dir.path().join("there/new"), leaf]);
        made.iter().rev().for_each(|dir| remove(dir));
        assert_eq!(below(&dir.path().join("there")), Vec::<PathBuf>::new());
        assert_eq!(below(dir.path()), [dir.path().join("there")]);
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
