//! The files of a container as its programs see them, open to be changed, whether it runs or not.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use galley_sandbox::{Child, Handles, Spawner};
use galley_store::{FileLock, Store};
use rustix::fs::{Mode, OFlags};

use super::{
    Container,
    anchor::{Anchor, Passing},
    ask,
    changes::FILES,
    chroot,
    list::{no_such, note_killed, unless_gone},
    snapshot_of, spec, store_failed,
    turn::in_turn,
};
use crate::{Error, ErrorKind, runner};

/// Where every container has mounts that are made with it.
const MADE_ANEW: [&str; 6] = ["/dev", "/dev/shm", "/dev/mqueue", "/dev/pts", "/proc", "/sys"];

/// The root of a container, and what keeps it there.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) root: Anchor,
    /// For one that does not run; in this order they go.
    _held: Option<(Option<Child>, Spawner, FileLock)>,
}

impl Access {
    /// Opens it. What does not run is kept from running for as long as this is there.
    pub(super) fn open(store: &Store, container: &Container) -> Result<Self, Error> {
        let opened = in_turn(container, |now| match now.is_running() {
            true => unless_gone(now, Self::of_running(now)).map(Some),
            false => Self::of_ended(store, now),
        })?;
        opened.ok_or_else(|| no_such(&container.name))
    }

    /// None while somebody else is at it.
    fn of_ended(store: &Store, container: &Container) -> Result<Option<Self>, Error> {
        let Some(lock) = container.folder.try_lock().map_err(store_failed)? else { return Ok(None) };
        note_killed(container)?;
        let spawner = runner::start_spawner(store.root())?;
        let (root, child) = match spawner.makes_chroots() {
            true => {
                let path = chroot::root(store, container, &snapshot_of(store, &container.config)?)?;
                chroot::recover(&container.folder)?;
                (open(&path)?, None)
            }
            false => mounted(store, container, &spawner)?,
        };
        let root = Anchor::of_container(root);
        let mounts = child.iter().flat_map(|_| passing_mounts(&root, container)).collect();
        let root = root.without(Passing { mounts, files: &FILES });
        Ok(Some(Self { root, _held: Some((child, spawner, lock)) }))
    }

    fn of_running(container: &Container) -> Result<Self, Error> {
        let mut files = Vec::new();
        ask::ask(container, &ask::Ask::Root, &[], &mut files).map_err(|(_, error)| error)?;
        let root = files.pop().ok_or_else(|| ask::lost(rustix::io::Errno::PROTO))?;
        Ok(Self { root: Anchor::of_container(root), _held: None })
    }
}

/// What galley mounts in every container, and what is mounted in memory: there only as long as this sandbox is. A volume that is
/// mounted there lasts.
fn passing_mounts(root: &Anchor, container: &Container) -> Vec<u64> {
    let mounts = |paths: &mut dyn Iterator<Item = &str>| -> Vec<u64> {
        paths.filter_map(|path| root.mount_of(Path::new(path))).collect()
    };
    let config = &container.config;
    let lasting = mounts(&mut config.mounts.iter().map(|mount| mount.target.as_str()).chain(["/"]));
    let tmpfs = config.service.tmpfs.iter().map(|tmpfs| tmpfs.target.as_str());
    let mut passing = mounts(&mut MADE_ANEW.into_iter().chain(tmpfs));
    passing.retain(|mount| !lasting.contains(mount));
    passing
}

/// A sandbox of the container's files in which nothing runs.
fn mounted(
    store: &Store,
    container: &Container,
    spawner: &Spawner,
) -> Result<(OwnedFd, Option<Child>), Error> {
    let failed = |error: galley_sandbox::Error| {
        let help = error.help();
        let failed = Error::new(ErrorKind::Machine, "cannot mount the container's files").because(error);
        help.into_iter().fold(failed, Error::help)
    };
    let child = spawner.spawn(&spec::idle(store, container)?, Handles::default()).map_err(failed)?;
    let ended = || Error::new(ErrorKind::Machine, "the sandbox of the container's files has ended");
    let pid = child.id().ok_or_else(ended)?;
    let root = open(&PathBuf::from(format!("/proc/{pid}/root")))?;
    // Not somebody else's by now.
    if child.id() != Some(pid) {
        return Err(ended());
    }
    Ok((root, Some(child)))
}

fn open(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| {
        Error::new(ErrorKind::Machine, "cannot look into the container").because(std::io::Error::from(errno))
    })
}
