//! What a step finds in its root beyond the files of its layers.

use std::{collections::HashSet, ffi::OsStr, io, os::unix::ffi::OsStrExt, path::Path, sync::Arc};

use fs_err as fs;
use galley_sandbox::{After, Furnished};
use galley_store::{Lent, ScanOptions, Store, TempDir};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT};

use super::{devices, failed};
use crate::{
    Error, ErrorKind, Snapshot,
    ports::{MountSource, ResolvedMount, RunRequest},
    runner::stubs,
    steps::{
        attributes,
        files::{Files, store_error},
    },
};

/// Where the kernel's own file systems would be, and how those of them are called that are empty here.
const EMPTY: [(&str, &str); 2] = [("/proc", "proc"), ("/sys", "sys")];
const DEV: &str = "/dev";

/// Things in a root, and where they are kept before and after.
pub(super) struct Furniture {
    furnished: Furnished,
    streams: Option<[devices::Pipe; 2]>,
    // Behind what is in its place: it looks for what did not come back, in the root and here.
    lent: Vec<Lent>,
    temp: TempDir,
}

impl Furniture {
    /// Puts everything in its place.
    pub(super) fn new(store: &Store, root: &Path, request: &RunRequest<'_>) -> Result<Self, Error> {
        let temp = store.temp_dir("furniture").map_err(store_error)?;
        let aside = temp.path().join("aside");
        let begin = || {
            fs::create_dir(&aside)?;
            let owner = (request.user.uid, request.user.gid);
            let streams = devices::make(&temp.path().join("dev"), owner, devices::Streams::Empty)?;
            Ok((Furnished::new(root, &aside)?, streams))
        };
        let (furnished, streams) = begin().map_err(failed("prepare", &aside))?;
        let mut furniture = Self { furnished, streams, lent: Vec::new(), temp };
        furniture.lay_devices().map_err(failed("put devices in", Path::new(DEV)))?;
        furniture.lay_mounts(store, &request.mounts)?;
        Ok(furniture)
    }

    /// The pipes that the step writes to; to be asked for once.
    pub(super) fn streams(&mut self) -> Result<[devices::Pipe; 2], Error> {
        self.streams.take().ok_or_else(|| Error::new(ErrorKind::Internal, "a step was started twice"))
    }

    /// Takes everything away, and the places that were made for it.
    pub(super) fn clear(mut self, root: &Path, request: &RunRequest<'_>) -> Result<(), Error> {
        let root = root.to_owned();
        self.furnished.clear().map_err(failed("take away what the step had mounted in", &root))?;
        let shm = request.operation.surroundings.shm_size.map(|_| Path::new("/dev/shm"));
        let asked = request.mounts.iter().map(|mount| path_of(&mount.target)).chain(shm);
        let mut stubs = stubs::empty(&root, self.furnished.made(), asked);
        // What is below goes first.
        stubs.sort_by_key(|path| std::cmp::Reverse(path.len()));
        stubs.iter().try_for_each(|path| remove(&root.join(path_of(path)))).map_err(failed("clean up", &root))
    }

    fn lay_devices(&mut self) -> io::Result<()> {
        // Of their own, so that nothing of what a step writes there gets into a layer.
        for (target, name) in EMPTY {
            let thing = self.temp.path().join(name);
            fs::create_dir(&thing)?;
            devices::set_mode(&thing, 0o555)?;
            self.furnished.lay(&thing, Path::new(target), After::Discard)?;
        }
        self.furnished.lay(&self.temp.path().join("dev"), Path::new(DEV), After::Discard)
    }

    fn lay_mounts(&mut self, store: &Store, mounts: &[ResolvedMount]) -> Result<(), Error> {
        let mut moved = HashSet::new();
        for (number, mount) in mounts.iter().enumerate() {
            let target = path_of(&mount.target).to_owned();
            let (thing, after) = match &mount.source {
                MountSource::Host { path, writable: true, discard: false } => {
                    if !moved.insert(path) {
                        return Err(twice(&target));
                    }
                    self.lent.extend(store.lend(path).map_err(store_error)?);
                    (path.clone(), After::Return)
                }
                source => {
                    let thing = self.temp.path().join(format!("thing-{number}"));
                    make(store, source, &thing, &target)?;
                    (thing, After::Discard)
                }
            };
            let laid = self.furnished.lay(&thing, &target, after);
            laid.map_err(failed("put what is mounted there in", &target))?;
        }
        Ok(())
    }
}

fn twice(target: &Path) -> Error {
    let message = format!(
        "the mount at {} shows a directory that another mount of this RUN shows already, which needs mounts",
        target.display()
    );
    Error::new(ErrorKind::Machine, message).help("give one of them another id")
}

/// Makes `thing`, for one step alone.
fn make(store: &Store, source: &MountSource, thing: &Path, target: &Path) -> Result<(), Error> {
    match source {
        MountSource::Snapshot { snapshot, path, .. } => copy_shown(store, snapshot, path, thing, target),
        MountSource::Host { path, .. } => {
            let tree = store.scan(path, &ScanOptions::default()).map_err(store_error)?;
            Files::of_directory(path, Arc::new(tree)).copy_directory(store, b"", thing)
        }
        MountSource::Tmpfs { .. } => fs::create_dir(thing)
            .and_then(|()| devices::set_mode(thing, 0o1777))
            .map_err(failed("make a directory for", target)),
        MountSource::File { content, mode, uid, gid } => {
            write(thing, content, *mode, (*uid, *gid)).map_err(failed("write the file for", target))
        }
    }
}

/// Writes a file that nobody else may read meanwhile.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32, (uid, gid): (u32, u32)) -> io::Result<()> {
    use fs::os::unix::fs::OpenOptionsExt;
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)?.write_all(content)?;
    fs::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    devices::set_mode(path, mode)
}

/// Copies what a snapshot has at `path`.
fn copy_shown(
    store: &Store,
    snapshot: &Snapshot,
    path: &[u8],
    thing: &Path,
    target: &Path,
) -> Result<(), Error> {
    let files = Files::of_snapshot(snapshot)?;
    if files.is_directory(path) {
        return files.copy_directory(store, path, thing);
    }
    let missing = || {
        let message = format!("cannot mount /{}: it is not there", String::from_utf8_lossy(path));
        Error::new(ErrorKind::Input, message)
    };
    let found = files.stack().get(path).ok_or_else(missing)?;
    let content = files.open(store, found)?;
    let copy = || {
        let mut file = fs::File::create_new(thing)?.into_file();
        content.copy_to(&mut file)?;
        attributes::set(thing, &found.entry.meta)
    };
    copy().map_err(failed("copy the file for", target))
}

/// Removes a place that was made for a mount; the directory above it looks as if it had never been there.
fn remove(path: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap_or(path);
    let before = rustix::fs::stat(parent)?;
    galley_store::remove_tree(path).map_err(io::Error::other)?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: before.st_mtime as i64, tv_nsec: before.st_mtime_nsec as i64 },
    };
    Ok(rustix::fs::utimensat(CWD, parent, &times, AtFlags::empty())?)
}

fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
