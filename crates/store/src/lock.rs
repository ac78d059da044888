//! Kernel locks: they die with their holder, and no process that a step starts inherits one (close-on-exec).

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::{
    StoreError,
    error::{Absent, At},
};

/// How a lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Many may hold it.
    Shared,
    /// One may hold it.
    Exclusive,
}

/// A held lock on a file; dropped, it is free again.
#[derive(Debug)]
pub struct FileLock {
    file: OwnedFd,
    remove: Option<PathBuf>,
}

impl FileLock {
    /// Waits for the lock on `path`, which is created when missing.
    pub(crate) fn wait(path: &Path, mode: LockMode) -> Result<Self, StoreError> {
        loop {
            if let Some(lock) = Self::attempt(path, mode, true)? {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock on `path` unless another process or thread holds it.
    pub(crate) fn attempt_now(path: &Path, mode: LockMode) -> Result<Option<Self>, StoreError> {
        Self::attempt(path, mode, false)
    }

    /// Takes the lock on a file that must be there already; none when it is not, or when another holds it and this one does
    /// not wait. Works on a read-only disk.
    pub(crate) fn existing(path: &Path, mode: LockMode, wait: bool) -> Result<Option<Self>, StoreError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(path, flags, Mode::empty()).absent().at("open the lock", path)?;
        let Some(file) = file else { return Ok(None) };
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation(mode, wait))) {
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            other => other.at("lock", path).map(|()| Some(Self { file, remove: None })),
        }
    }

    /// Takes a lock that was [let go](Self::unlock) again, waiting for it.
    pub(crate) fn lock_again(&self, mode: LockMode) -> Result<(), rustix::io::Errno> {
        rustix::io::retry_on_intr(|| rustix::fs::flock(&self.file, operation(mode, true)))
    }

    /// The file once more: locked as long as anybody has it open.
    pub fn share(&self) -> std::io::Result<OwnedFd> {
        self.file.try_clone()
    }

    /// The lock that another process has left to this one with its open file.
    pub(crate) const fn inherited(file: OwnedFd) -> Self {
        Self { file, remove: None }
    }

    /// Leaves word for whoever waits for the lock with the file open.
    pub fn note(&self, text: &str) {
        // Who finds nothing looks for itself.
        let _ = rustix::fs::ftruncate(&self.file, 0).and_then(|()| self.write(text.as_bytes()));
    }

    /// Frees the lock, also for whoever the file was [shared](Self::share) with.
    pub fn release(self) {
        // What fails here is done by closing the file, as soon as all have.
        let _ = self.unlock();
    }

    /// Lets go of the lock and keeps the file.
    pub(crate) fn unlock(&self) -> Result<(), rustix::io::Errno> {
        rustix::fs::flock(&self.file, FlockOperation::Unlock)
    }

    /// Writes back what the file, or the folder, holds.
    pub(crate) fn write_back(&self) -> Result<(), rustix::io::Errno> {
        rustix::fs::fsync(&self.file)
    }

    /// Writes to the locked file, behind what was written before.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), rustix::io::Errno> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = rustix::io::retry_on_intr(|| rustix::io::write(&self.file, rest))?;
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads from the locked file.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Result<usize, rustix::io::Errno> {
        rustix::io::retry_on_intr(|| rustix::io::pread(&self.file, &mut *buffer, 0))
    }

    /// The file goes when the lock does: for locks whose names are many.
    pub(crate) fn removed_on_drop(mut self, path: &Path) -> Self {
        self.remove = Some(path.to_owned());
        self
    }

    /// `None` when another holds it, or when its last holder removed the file between our open and our lock.
    fn attempt(path: &Path, mode: LockMode, wait: bool) -> Result<Option<Self>, StoreError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600)).at("open the lock", path)?;
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation(mode, wait))) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            other => other.at("lock", path)?,
        }
        let removed = rustix::fs::fstat(&file).at("examine the lock", path)?.st_nlink == 0;
        Ok((!removed).then_some(Self { file, remove: None }))
    }
}

const fn operation(mode: LockMode, wait: bool) -> FlockOperation {
    match (mode, wait) {
        (LockMode::Shared, true) => FlockOperation::LockShared,
        (LockMode::Shared, false) => FlockOperation::NonBlockingLockShared,
        (LockMode::Exclusive, true) => FlockOperation::LockExclusive,
        (LockMode::Exclusive, false) => FlockOperation::NonBlockingLockExclusive,
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Before the lock goes: whoever waits for it sees that the file is gone and starts over.
        if let Some(path) = &self.remove {
            let _ = rustix::fs::unlink(path);
        }
    }
}
