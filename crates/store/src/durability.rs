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

use rustix::{
    fs::{Mode, OFlags},
    time::ClockId,
};
use serde::{Deserialize, Serialize};

use crate::{Store, StoreError, blobs::remove_present, error::At, store::read_small};

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
    /// Held by the one thread that raises a barrier.
    turn: Mutex<()>,
}

/// What says that something is all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vouched {
    /// Also after a power cut.
    ByBarrier,
    /// As long as it lasts.
    ByBoot,
}

impl Durability {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, barriers: Mutex::default(), turn: Mutex::default() }
    }

    /// When the last barrier of `boot` began; zero when there was none.
    fn barrier(&self, boot: &str) -> u64 {
        let mut barriers = self.barriers.lock().unwrap_or_else(PoisonError::into_inner);
        *barriers.entry(boot.to_owned()).or_insert_with(|| self.read(boot).unwrap_or(0))
    }

    pub(crate) fn read(&self, boot: &str) -> Option<u64> {
        read_barrier(&self.folder, boot)
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
        // Who comes second may rely on what the first one has begun.
        let _turn = self.inner.durability.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.refuse_after_loss()?;
        if !self.inner.dirty.swap(false, Ordering::AcqRel) {
            return Ok(false);
        }
        let stamp = self.stamp();
        self.raise_barrier(&stamp).inspect_err(|_| self.mark_dirty())?;
        self.inner.durability.remember(&stamp);
        Ok(true)
    }

    /// The barrier's own bytes are written back with everything else, so that only its name is left to be.
    pub(crate) fn raise_barrier(&self, stamp: &Stamp) -> Result<(), StoreError> {
        let temp = self.write_temp(format!("{}\n", stamp.nanoseconds).as_bytes(), false)?;
        let lock = self.sync_all().and_then(|()| self.lock_barriers());
        let named = lock.and_then(|lock| {
            self.check_losses()?;
            self.name_barrier(&temp, stamp)?;
            let _ = lock.unlock();
            let told = lock.write_back().inspect_err(|&error| self.failure().note(&error.into()));
            told.at("write back", &self.inner.durability.folder)
        });
        named.inspect_err(|_| drop(remove_present(&temp)))
    }

    /// To be called with the barriers locked. Who began to ask later may have been told earlier, and covers more.
    fn name_barrier(&self, temp: &Path, stamp: &Stamp) -> Result<(), StoreError> {
        let durability = &self.inner.durability;
        let path = durability.folder.join(&stamp.boot);
        self.commit_point("barrier", || match durability.read(&stamp.boot) {
            Some(later) if later >= stamp.nanoseconds => remove_present(temp).map(drop),
            _ => rustix::fs::rename(temp, &path).at("rename a temporary file to", &path),
        })
    }

    pub(crate) fn open_root(&self) -> Result<OwnedFd, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(self.root(), flags, Mode::empty()).at("open", self.root())
    }

    /// What is written now gets this.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { boot: self.boot().to_owned(), nanoseconds: nanoseconds(ClockId::Boottime) }
    }

    /// Whether what carries `stamp` is all there. What only this boot vouches for makes the next barrier necessary.
    pub(crate) fn is_whole(&self, stamp: &Stamp) -> bool {
        let vouched = self.vouched(stamp);
        if vouched == Some(Vouched::ByBoot) {
            self.mark_dirty();
        }
        vouched.is_some()
    }

    /// What says that what carries `stamp` is all there; `None` when nothing does.
    pub(crate) fn vouched(&self, stamp: &Stamp) -> Option<Vouched> {
        if self.is_lost(stamp) {
            return None;
        }
        if stamp.nanoseconds <= self.inner.durability.barrier(&stamp.boot) && stamp.nanoseconds > 0 {
            return Some(Vouched::ByBarrier);
        }
        let ours = !stamp.boot.is_empty() && stamp.boot == self.boot();
        ours.then_some(Vouched::ByBoot)
    }

    pub(crate) fn mark_dirty(&self) {
        self.inner.dirty.store(true, Ordering::Release);
    }

    /// Without /proc no stamp ever matches, which costs records but is never wrong.
    pub(crate) fn boot(&self) -> &str {
        self.inner.boot.get_or_init(read_boot)
    }
}

pub(crate) fn read_boot() -> String {
    let read = read_small(Path::new(BOOT_ID), BOOT_ID_BYTES_MAX).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&read).trim_end().to_owned()
}

/// When the last barrier of `boot` began. A boot id from a record is foreign bytes: what is no plain id names no file.
pub(crate) fn read_barrier(folder: &Path, boot: &str) -> Option<u64> {
    let bytes = read_small(&folder.join(is_plain(boot).then_some(boot)?), BARRIER_BYTES_MAX).ok()??;
    std::str::from_utf8(&bytes).ok()?.trim_end().parse().ok()
}

/// Whether it can be the id of a boot: what comes from a file may be anything.
pub(crate) fn is_plain(boot: &str) -> bool {
    !boot.is_empty() && boot.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

pub(crate) fn nanoseconds(clock: ClockId) -> u64 {
    let now = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
