//! What is remembered of sizes, so that nobody counts 300,000 files at the end of each build. It can be lost: then it is
//! counted anew.

use std::{collections::BTreeMap, path::Path, sync::PoisonError};

use galley_oci::Time;
use rustix::fs::{FileType, StatVfs};
use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError,
    error::At,
    files::listing,
    images::names_in,
    store::{json, read_small},
};

const SIZES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What was counted this long ago is counted again by the next build that writes: a day.
const TRUSTED_SECONDS: i64 = 24 * 60 * 60;
/// Directories below this depth are not counted; nobody has them.
const DEPTH_MAX: usize = 256;

/// The most that a store has by itself: 50 GB, or a fifth of the file system.
const LIMIT_MAX: u64 = 50_000_000_000;
const LIMIT_PART: u64 = 5;

/// What was counted, and when.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Sizes {
    /// All that could be collected, and what keeps it.
    pub(crate) bytes: u64,
    /// What was used on the file system then, by everybody.
    pub(crate) disk: u64,
    /// When that was.
    pub(crate) counted: (i64, u32),
    /// Cache mounts: when each was used last, and its size then.
    #[serde(default)]
    mounts: BTreeMap<String, ((i64, u32), u64)>,
}

/// Sizes of the file system that a store is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// All of it.
    pub bytes: u64,
    /// What is in use.
    pub used: u64,
    /// What this process could write.
    pub available: u64,
}

impl Store {
    /// What the files below a directory take on disk: a container's, a volume's.
    #[must_use]
    pub fn disk_usage(&self, path: &Path) -> u64 {
        disk_usage(path)
    }

    /// Whether this process has written to the store.
    #[must_use]
    pub fn was_written(&self) -> bool {
        self.inner.session.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Sizes of the file system.
    pub fn disk(&self) -> Result<Disk, StoreError> {
        let StatVfs { f_frsize, f_blocks, f_bfree, f_bavail, .. } =
            rustix::fs::statvfs(self.root()).at("examine the file system of", self.root())?;
        let bytes = |blocks: u64| blocks.saturating_mul(f_frsize);
        let used = bytes(f_blocks.saturating_sub(f_bfree));
        Ok(Disk { bytes: bytes(f_blocks), used, available: bytes(f_bavail) })
    }

    /// The size that a store is kept to when nobody says another.
    pub fn default_limit(&self) -> Result<u64, StoreError> {
        Ok(LIMIT_MAX.min(self.disk()?.bytes / LIMIT_PART))
    }

    /// Whether the store may have grown over `limit`. Reads one small file and asks the file system; nothing is counted.
    pub fn may_exceed(&self, limit: u64) -> Result<bool, StoreError> {
        let Some(sizes) = Sizes::read(self)? else { return Ok(true) };
        let age = now().seconds - sizes.counted.0;
        if !(0..TRUSTED_SECONDS).contains(&age) {
            return Ok(true);
        }
        // Who else writes to the disk counts too: it only makes us count too early. Who else removes something hides what was
        // written here: when much less is in use than then, nothing is known.
        let used = self.disk()?.used;
        if sizes.disk.saturating_sub(used) > limit / 10 {
            return Ok(true);
        }
        let grown = used.saturating_sub(sizes.disk);
        // What could not go last time will not go now.
        let stuck = if sizes.bytes > limit { sizes.bytes + limit / 10 } else { limit };
        Ok(sizes.bytes.saturating_add(grown) > stuck)
    }
}

impl Sizes {
    fn read(store: &Store) -> Result<Option<Self>, StoreError> {
        let bytes = read_small(&store.root().join("collector/sizes"), SIZES_BYTES_MAX)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    pub(crate) fn load(store: &Store) -> Result<Self, StoreError> {
        Ok(Self::read(store)?.unwrap_or_default())
    }

    /// Remembers that there are `bytes` now.
    pub(crate) fn store(mut self, store: &Store, bytes: u64) -> Result<(), StoreError> {
        store.later_folder("collector")?;
        let Time { seconds, nanoseconds } = now();
        (self.bytes, self.disk, self.counted) = (bytes, store.disk()?.used, (seconds, nanoseconds));
        store.write_whole(&store.root().join("collector/sizes"), &json(&self))
    }

    /// The size of the cache mount at `path`, counted unless it was not used since; none when it has no files.
    pub(crate) fn mount(&mut self, path: &Path, name: &str, used: Time) -> Result<Option<u64>, StoreError> {
        let mut directories = names_in(path)?;
        directories.retain(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        if directories.is_empty() {
            self.mounts.remove(name);
            return Ok(None);
        }
        let used = (used.seconds, used.nanoseconds);
        if let Some((_, bytes)) = self.mounts.get(name).filter(|(known, _)| *known == used) {
            return Ok(Some(*bytes));
        }
        let bytes = directories.iter().map(|directory| disk_usage(&path.join(directory))).sum();
        // One that is in use may grow on: it is touched again when it is used an hour later, and counted then.
        self.mounts.insert(name.to_owned(), (used, bytes));
        Ok(Some(bytes))
    }
}

/// The bytes of all blocks of all files below `path`; what cannot be looked at counts nothing.
#[must_use]
pub(crate) fn disk_usage(path: &Path) -> u64 {
    let flags = rustix::fs::OFlags::RDONLY
        | rustix::fs::OFlags::DIRECTORY
        | rustix::fs::OFlags::NOFOLLOW
        | rustix::fs::OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, rustix::fs::Mode::empty()) {
        Ok(directory) => usage_below(&directory, 0),
        Err(_) => 0,
    }
}

fn usage_below(directory: &rustix::fd::OwnedFd, depth: usize) -> u64 {
    use std::os::fd::AsFd;
    let flags = rustix::fs::OFlags::RDONLY
        | rustix::fs::OFlags::DIRECTORY
        | rustix::fs::OFlags::NOFOLLOW
        | rustix::fs::OFlags::CLOEXEC;
    let mut bytes = 0;
    for (name, _) in listing::names(directory.as_fd()).unwrap_or_default().iter() {
        let stat = rustix::fs::statat(directory, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        let Ok(stat) = stat else { continue };
        // Each of several names has its part.
        bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512 / stat.st_nlink.max(1);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && depth < DEPTH_MAX {
            let below = rustix::fs::openat(directory, name, flags, rustix::fs::Mode::empty());
            bytes += below.map_or(0, |below| usage_below(&below, depth + 1));
        }
    }
    bytes
}

fn now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Time { seconds: now.tv_sec, nanoseconds: u32::try_from(now.tv_nsec).unwrap_or(0) }
}
