//! What survives a power cut: stamps, and the one barrier at the end of a build that wrote something.
//!
//! A process that is killed costs nothing, because renames decide. A power cut can lose what the kernel had not written
//! yet, even behind a rename. So what is written carries a stamp: the id of the boot and the clock since then. Under
//! the same boot a stamp is always good; under another only when a barrier of its boot came after it.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, atomic::Ordering},
};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::{Store, StoreError, error::At, store::read_small, temp::rename_durably};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const BOOT_ID_BYTES_MAX: usize = 256;
const BARRIER_BYTES_MAX: usize = 64;

/// When something was written: under which boot, and how long after it began.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Stamp {
    pub(crate) boot: String,
    pub(crate) nanoseconds: u64,
}

/// The barriers known so far, by boot.
#[derive(Debug)]
pub(crate) struct Durability {
    folder: PathBuf,
    barriers: Mutex<HashMap<String, u64>>,
}

impl Durability {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, barriers: Mutex::default() }
    }

    /// When the last barrier of `boot` began; zero when there was none.
    fn barrier(&self, boot: &str) -> u64 {
        let mut barriers = self.barriers.lock().unwrap_or_else(PoisonError::into_inner);
        *barriers.entry(boot.to_owned()).or_insert_with(|| self.read(boot).unwrap_or(0))
    }

    /// A boot id from a record is foreign bytes: what is no plain id names no file.
    fn read(&self, boot: &str) -> Option<u64> {
        let plain = !boot.is_empty() && boot.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        let bytes = read_small(&self.folder.join(plain.then_some(boot)?), BARRIER_BYTES_MAX).ok()??;
        std::str::from_utf8(&bytes).ok()?.trim_end().parse().ok()
    }

    fn remember(&self, stamp: &Stamp) {
        let mut barriers = self.barriers.lock().unwrap_or_else(PoisonError::into_inner);
        barriers.insert(stamp.boot.clone(), stamp.nanoseconds);
    }
}

impl Store {
    /// Makes everything written so far survive a power cut; does nothing when nothing was written or used that is
    /// younger than the last barrier. Made once, at the end of a build, before the name of its first tag.
    pub fn barrier(&self) -> Result<(), StoreError> {
        self.write_back().map(drop)
    }

    /// The same; `false` when it did nothing.
    pub(crate) fn write_back(&self) -> Result<bool, StoreError> {
        if !self.inner.dirty.swap(false, Ordering::AcqRel) {
            return Ok(false);
        }
        let stamp = self.stamp();
        self.raise_barrier(&stamp).inspect_err(|_| self.mark_dirty())?;
        self.inner.durability.remember(&stamp);
        Ok(true)
    }

    /// Has the kernel write back on a thread of its own what the next barrier would wait for. It promises nothing: only
    /// the barrier does.
    pub fn begin_barrier(&self) {
        let Ok(folder) = self.open_root() else { return };
        let write_back = move || {
            let _ = rustix::fs::syncfs(folder);
        };
        // Without a thread the barrier takes longer.
        drop(std::thread::Builder::new().name("write-back".to_owned()).spawn(write_back));
    }

    /// The barrier's own bytes are written back with everything else, so that only its name is left to be.
    fn raise_barrier(&self, stamp: &Stamp) -> Result<(), StoreError> {
        let temp = self.write_temp(format!("{}\n", stamp.nanoseconds).as_bytes(), false)?;
        self.sync_all()?;
        let path = self.inner.durability.folder.join(&stamp.boot);
        self.commit_point("barrier", || rename_durably(&temp, &path))
    }

    /// Asks by the one file that has been open since this process began to write: the kernel tells each open file once of what could
    /// not be written since it was opened, also when that was met earlier, by whoever asked for something to be written back.
    pub(crate) fn sync_all(&self) -> Result<(), StoreError> {
        let file = self.session_file().at("write back", self.root())?;
        let file = file.map_or_else(|| self.open_root(), Ok)?;
        rustix::fs::syncfs(file).at("write back", self.root())
    }

    fn open_root(&self) -> Result<OwnedFd, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(self.root(), flags, Mode::empty()).at("open", self.root())
    }

    /// What is written now gets this.
    pub(crate) fn stamp(&self) -> Stamp {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanoseconds = seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0);
        Stamp { boot: self.boot().to_owned(), nanoseconds }
    }

    /// Whether what carries `stamp` is all there. What only this boot vouches for makes the next barrier necessary.
    pub(crate) fn is_whole(&self, stamp: &Stamp) -> bool {
        if stamp.nanoseconds <= self.inner.durability.barrier(&stamp.boot) && stamp.nanoseconds > 0 {
            return true;
        }
        let ours = !stamp.boot.is_empty() && stamp.boot == self.boot();
        if ours {
            self.mark_dirty();
        }
        ours
    }

    pub(crate) fn mark_dirty(&self) {
        self.inner.dirty.store(true, Ordering::Release);
    }

    /// Without /proc no stamp ever matches, which costs records but is never wrong.
    fn boot(&self) -> &str {
        let read = || read_small(Path::new(BOOT_ID), BOOT_ID_BYTES_MAX).ok().flatten().unwrap_or_default();
        self.inner.boot.get_or_init(|| String::from_utf8_lossy(&read()).trim_end().to_owned())
    }
}
