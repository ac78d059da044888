//! Cache mounts: directories that steps write to. They are no part of any identity.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use fs_err as fs;
use galley_oci::Digest;

use crate::{
    Store, StoreError,
    error::{Absent, At},
    images::names_in,
    lock::{FileLock, LockMode},
    records::note_use,
    store::read_small,
};

/// The longest id of a cache mount.
pub(crate) const ID_BYTES_MAX: usize = 64 << 10;

/// Who may use a cache mount at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Everybody, at once.
    #[default]
    Shared,
    /// One; others get another directory meanwhile.
    Private,
    /// One; others wait.
    Locked,
}

/// Why a cache mount cannot be had just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Somebody uses it.
    InUse,
    /// Whoever used it was killed, and what they started has not ended yet.
    Left,
}

/// How often a directory that somebody still has is asked for again.
const POLL: Duration = Duration::from_millis(20);

/// A cache mount in use: free for others, as its sharing says, when dropped.
#[derive(Debug)]
pub struct CacheMount {
    path: PathBuf,
    _lock: FileLock,
}

impl CacheMount {
    /// The directory to mount.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Store {
    /// The cache mount `id`. `init` fills the directory (which exists, empty, with mode 0700) when the mount is new;
    /// no one else sees it before that is done.
    pub fn cache_mount<E: From<StoreError>>(
        &self,
        id: &str,
        sharing: Sharing,
        init: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<CacheMount, E> {
        let folder = self.mount_path(id);
        self.describe_mount(&folder, id)?;
        let (number, lock) = lock_mount(&folder, sharing)?;
        let path = folder.join(format!("{number}"));
        if !path.exists() {
            while !self.recall(&path)? {
                std::thread::sleep(POLL);
            }
            self.init_mount(&folder, &path, init)?;
        }
        Ok(CacheMount { path, _lock: lock })
    }

    /// The same, but the reason when this one would have to wait.
    pub fn try_cache_mount<E: From<StoreError>>(
        &self,
        id: &str,
        sharing: Sharing,
        init: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<Result<CacheMount, Taken>, E> {
        let folder = self.mount_path(id);
        self.describe_mount(&folder, id)?;
        let Some((number, lock)) = try_lock_mount(&folder, sharing)? else { return Ok(Err(Taken::InUse)) };
        let path = folder.join(format!("{number}"));
        if !path.exists() {
            if !self.recall(&path)? {
                return Ok(Err(Taken::Left));
            }
            self.init_mount(&folder, &path, init)?;
        }
        Ok(Ok(CacheMount { path, _lock: lock }))
    }

    /// Empties the cache mount `id`, for `--no-cache`; directories in use stay. Says whether all went.
    pub fn remove_cache_mount(&self, id: &str) -> Result<bool, StoreError> {
        let folder = self.mount_path(id);
        if !folder.exists() {
            return Ok(true);
        }
        let mut all = true;
        let names = names_in(&folder)?;
        let numbers = names.iter().filter_map(|name| name.strip_suffix(".lock")?.parse::<u32>().ok());
        for number in numbers {
            match FileLock::attempt_now(&lock_path(&folder, number), LockMode::Exclusive)? {
                // Out of its place first, so that a killed process leaves no half of it.
                Some(_lock) => {
                    let temp = self.temp_dir("mount")?;
                    let path = folder.join(format!("{number}"));
                    if !self.recall(&path)? && !path.exists() {
                        all = false;
                        continue;
                    }
                    // Gone already when another process empties the same one.
                    rustix::fs::rename(&path, temp.path().join("data")).absent().at("remove", &path)?;
                }
                None => all = false,
            }
        }
        Ok(all)
    }

    /// The ids of all cache mounts, sorted.
    pub fn cache_mounts(&self) -> Result<Vec<String>, StoreError> {
        let folder = self.root().join("mounts");
        let id = |name: &String| {
            String::from_utf8(read_small(&folder.join(name).join("id"), ID_BYTES_MAX).ok()??).ok()
        };
        let mut ids: Vec<_> = names_in(&folder)?.iter().filter_map(id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Makes the mount's folder, and notes its id there for people.
    fn describe_mount(&self, folder: &Path, id: &str) -> Result<(), StoreError> {
        if id.len() > ID_BYTES_MAX {
            let (what, limit) = ("the length of the id of a cache mount", ID_BYTES_MAX as u64);
            return Err(StoreError::Limit { what, limit, path: folder.to_owned() });
        }
        if folder.join("id").exists() {
            note_use(&folder.join("id"));
            return Ok(());
        }
        fs::create_dir_all(folder).at("create", folder)?;
        self.write_whole(&folder.join("id"), id.as_bytes())
    }

    /// Fills a new directory beside its place and renames it, so that a killed process leaves no half of it.
    fn init_mount<E: From<StoreError>>(
        &self,
        folder: &Path,
        path: &Path,
        init: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        // Sharers wait here for the first, who fills it.
        let _alone = FileLock::wait(&folder.join("init.lock"), LockMode::Exclusive)?;
        if path.exists() {
            return Ok(());
        }
        let temp = self.temp_dir("mount")?;
        let data = temp.path().join("data");
        fs::create_dir(&data).at("create", &data)?;
        init(&data)?;
        rustix::fs::rename(&data, path).at("rename a directory to", path)?;
        Ok(())
    }

    fn mount_path(&self, id: &str) -> PathBuf {
        self.root().join("mounts").join(Digest::blake3(id.as_bytes()).hex())
    }
}

/// The number of the directory to use, and the lock on it.
fn lock_mount(folder: &Path, sharing: Sharing) -> Result<(u32, FileLock), StoreError> {
    match try_lock_mount(folder, sharing)? {
        Some(locked) => Ok(locked),
        None => Ok((0, FileLock::wait(&lock_path(folder, 0), lock_mode(sharing))?)),
    }
}

fn try_lock_mount(folder: &Path, sharing: Sharing) -> Result<Option<(u32, FileLock)>, StoreError> {
    let mut number = 0;
    loop {
        if let Some(lock) = FileLock::attempt_now(&lock_path(folder, number), lock_mode(sharing))? {
            return Ok(Some((number, lock)));
        }
        if sharing != Sharing::Private {
            return Ok(None);
        }
        number += 1;
    }
}

const fn lock_mode(sharing: Sharing) -> LockMode {
    match sharing {
        Sharing::Shared => LockMode::Shared,
        Sharing::Private | Sharing::Locked => LockMode::Exclusive,
    }
}

fn lock_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number}.lock"))
}

/// The longest name that is taken.
const NAME_BYTES_MAX: usize = 128;

/// Names of volumes and containers, by docker's rule: they become file names, and nothing else may.
pub(crate) fn check_name(name: &str) -> Result<(), StoreError> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if first && rest && name.len() <= NAME_BYTES_MAX {
        Ok(())
    } else {
        Err(StoreError::BadName { name: name.to_owned() })
    }
}
