//! Volumes: directories that outlive the containers which write to them.
//!
//! ```text
//! volumes/<name>   the directory: the same one, with the same inode, from its making to its removal, for containers that
//!                  run have it mounted
//! filling/<name>   what is on its way into it: whole, and gone from here when the last of it has arrived
//! ```
//!
//! Volumes come and go under one lock, `locks/volumes`. Whoever makes a container holds it from the making of its volumes until
//! the container's config says that it needs them, and whoever removes volumes looks at all configs and puts what none of
//! them names out of sight before letting go. It is taken before the lock on names, never after it; a container's own lock
//! may be held. Files are removed without it, which may take long.

use std::{
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use fs_err as fs;
use galley_oci::{Meta, Time};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::{
    Store, StoreError, TempDir,
    error::{Absent, At},
    files::{attributes, owner, xattrs},
    images::names_in,
    lock::{FileLock, LockMode},
    mounts::check_name,
    remove_tree,
    temp::rename_new,
};

/// The folder of what is on its way into volumes.
const FILLING: &str = "filling";

/// While this is there no volume comes or goes.
#[derive(Debug)]
pub struct Volumes<'a> {
    store: &'a Store,
    _lock: FileLock,
}

/// A volume that nobody sees any more. Dropped, it is removed; what cannot be removed stays for the next process.
#[derive(Debug)]
pub struct RemovedVolume {
    store: Store,
    temp: TempDir,
}

/// An empty volume for which somebody makes what it is to hold; nobody else fills it meanwhile.
#[derive(Debug)]
pub struct Filling<'a> {
    store: &'a Store,
    name: String,
    temp: TempDir,
    _lock: FileLock,
}

impl Store {
    /// The directory of the volume `name`, if there is one.
    pub fn volume(&self, name: &str) -> Result<Option<PathBuf>, StoreError> {
        check_name(name)?;
        let path = self.volume_path(name);
        let found = rustix::fs::stat(&path).absent().at("examine the volume", &path)?;
        Ok(found.map(|_| path))
    }

    /// The names of all volumes, sorted.
    pub fn volumes(&self) -> Result<Vec<String>, StoreError> {
        names_in(&self.root().join("volumes"))
    }

    /// Waits until nobody else makes or removes volumes.
    pub fn lock_volumes(&self) -> Result<Volumes<'_>, StoreError> {
        let lock = self.root().join("locks").join("volumes");
        let lock = FileLock::wait(&lock, LockMode::Exclusive)?.removed_on_drop(&lock);
        Ok(Volumes { store: self, _lock: lock })
    }

    /// Waits until nobody else fills the volume `name`; none when it is not empty, or is now, because what somebody had begun
    /// to fill it with is all there. A container must need the volume, which keeps it from being removed.
    pub fn begin_filling(&self, name: &str) -> Result<Option<Filling<'_>>, StoreError> {
        check_name(name)?;
        let (path, stage) = (self.volume_path(name), self.stage_path(name));
        // In this order: of what is half there, the other half is in the stage, which goes last.
        if !is_empty(&path)? && !exists(&stage)? {
            return Ok(None);
        }
        let lock = self.root().join("locks").join(format!("volume-{name}"));
        let lock = FileLock::wait(&lock, LockMode::Exclusive)?.removed_on_drop(&lock);
        if exists(&stage)? {
            self.move_in(&stage, &path)?;
        }
        if !is_empty(&path)? {
            return Ok(None);
        }
        let temp = self.temp_dir("volume")?;
        Ok(Some(Filling { store: self, name: name.to_owned(), temp, _lock: lock }))
    }

    /// Gives the directory `path` what the directory `stage` has, attributes too, and removes that; what is there already
    /// stays. Killed at any instant, it can be done again.
    fn move_in(&self, stage: &Path, path: &Path) -> Result<(), StoreError> {
        for entry in fs::read_dir(stage).at("list", stage)? {
            let name = entry.at("list", stage)?.file_name();
            self.commit_point("volume-entry", || rename_new(&stage.join(&name), &path.join(&name)))?;
        }
        copy_attributes(stage, path)?;
        self.hide_stage(stage).map(drop)
    }

    /// Out of sight at once, with what may be left in it.
    fn hide_stage(&self, stage: &Path) -> Result<(), StoreError> {
        if !exists(stage)? {
            return Ok(());
        }
        let temp = self.temp_dir("volume")?;
        let gone = temp.path().join("data");
        rustix::fs::rename(stage, &gone).absent().at("remove", stage)?;
        remove_tree(&gone)
    }

    fn volume_path(&self, name: &str) -> PathBuf {
        self.root().join("volumes").join(name)
    }

    fn stage_path(&self, name: &str) -> PathBuf {
        self.root().join(FILLING).join(name)
    }
}

impl Volumes<'_> {
    /// Makes the volume `name` unless it is there; says whether it did.
    pub fn make(&self, name: &str) -> Result<bool, StoreError> {
        check_name(name)?;
        let path = self.store.volume_path(name);
        if rustix::fs::stat(&path).absent().at("examine the volume", &path)?.is_some() {
            return Ok(false);
        }
        // Of one that somebody removed by hand.
        self.store.hide_stage(&self.store.stage_path(name))?;
        fs::create_dir_all(&path).at("create the volume", &path)?;
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o755)).at("set the mode of", &path)?;
        Ok(true)
    }

    /// Takes a volume away, with all in it; none when there is none. Nothing may need it.
    pub fn remove(&self, name: &str) -> Result<Option<RemovedVolume>, StoreError> {
        check_name(name)?;
        let path = self.store.volume_path(name);
        self.store.hide_stage(&self.store.stage_path(name))?;
        let temp = self.store.temp_dir("volume")?;
        let removed = RemovedVolume { store: self.store.clone(), temp };
        match rustix::fs::rename(&path, removed.path()).absent() {
            // The volumes are on a disk of their own: it goes where it is.
            Err(Errno::XDEV) => remove_tree(&path)?,
            renamed if renamed.at("remove", &path)?.is_none() => return Ok(None),
            _ => {}
        }
        Ok(Some(removed))
    }
}

impl RemovedVolume {
    /// How much it holds.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.store.disk_usage(&self.path())
    }

    /// Removes its files.
    pub fn delete(self) -> Result<(), StoreError> {
        remove_tree(&self.path())
    }

    fn path(&self) -> PathBuf {
        self.temp.path().join("data")
    }
}

impl Filling<'_> {
    /// Where to make the directory whose attributes and content the volume is to get; nothing is there yet.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.temp.path().join("data")
    }

    /// Fills the volume with what was made. From the first rename on it will have all of it, whoever is killed: the next one
    /// that needs the volume goes on. What a container that runs has written to it meanwhile keeps it as it is.
    pub fn finish(self) -> Result<(), StoreError> {
        let (path, stage) = (self.store.volume_path(&self.name), self.store.stage_path(&self.name));
        if !is_empty(&path)? {
            return Ok(());
        }
        self.store.later_folder(FILLING)?;
        self.store
            .commit_point("volume-stage", || rustix::fs::rename(self.path(), &stage))
            .at("rename a directory to", &stage)?;
        self.store.move_in(&stage, &path)
    }
}

fn is_empty(directory: &Path) -> Result<bool, StoreError> {
    Ok(fs::read_dir(directory).at("list", directory)?.next().is_none())
}

fn exists(path: &Path) -> Result<bool, StoreError> {
    Ok(rustix::fs::lstat(path).absent().at("examine", path)?.is_some())
}

/// Owner, mode, time and extended attributes of the directory `from`, for `to`.
fn copy_attributes(from: &Path, to: &Path) -> Result<(), StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &Path| rustix::fs::open(path, flags, Mode::empty()).at("open", path);
    let (source, target) = (open(from)?, open(to)?);
    let stat = rustix::fs::fstat(&source).at("examine", from)?;
    let attributes = xattrs::read(source.as_fd()).at("read the attributes of", from)?;
    let (uid, gid) = match owner::is_marked() {
        true => owner::of(&attributes).unwrap_or_default(),
        false => (stat.st_uid, stat.st_gid),
    };
    let mtime = Time { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    let mode = u16::try_from(stat.st_mode & 0o7777).unwrap_or(0);
    let meta = Meta { mode, uid, gid, mtime, xattrs: xattrs::of_image(attributes) };
    attributes::set_open(target.as_fd(), &meta).at("set the attributes of", to)
}
