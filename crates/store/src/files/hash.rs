//! Hashing many files on all cores.

use std::{
    ffi::CStr,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    thread::{self, Scope, ScopedJoinHandle},
};

use crossbeam_channel::{Receiver, Sender};
use galley_oci::tree::Xattrs;
use rustix::fs::Mode;

use super::{copier, open, xattrs};
use crate::{StoreError, error::At, holes::HoleReader};

/// More threads than this only compete for the disk.
const THREADS_MAX: usize = 8;
/// Work below these is done where it arises: threads cost more.
const INLINE_FILES_MAX: usize = 16;
const INLINE_BYTES_MAX: u64 = 256 * 1024;
/// What is handed to a thread at once: waking one costs more than hashing a small file.
const BATCH_FILES_MAX: usize = 16;
const BATCH_BYTES_MAX: u64 = 1024 * 1024;
/// Batches that wait; each may hold as many directories open as it has files.
const QUEUE_MAX: usize = 4;

/// A file to hash.
#[derive(Debug)]
pub(crate) struct Job {
    /// Given back with the result.
    pub(crate) index: usize,
    pub(crate) parent: Arc<OwnedFd>,
    pub(crate) name: Box<CStr>,
    /// For messages.
    pub(crate) path: PathBuf,
    /// As examined before.
    pub(crate) size: u64,
}

/// What was found in it.
#[derive(Debug)]
pub(crate) struct Hashed {
    pub(crate) index: usize,
    pub(crate) digest: [u8; 32],
    pub(crate) size: u64,
    /// All of them, unfiltered.
    pub(crate) xattrs: Xattrs,
}

/// Takes jobs. Threads start when there is enough to do.
pub(crate) struct Hasher<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    /// Not handed over yet.
    batch: Vec<Job>,
    batch_bytes: u64,
    queue: Option<Sender<Vec<Job>>>,
    threads: Vec<ScopedJoinHandle<'scope, Result<Vec<Hashed>, StoreError>>>,
}

/// Runs `walk`, which gives out jobs; gives their results, in no order, when all are done.
pub(crate) fn hashing<T>(
    walk: impl FnOnce(&mut Hasher<'_, '_>) -> Result<T, StoreError>,
) -> Result<(T, Vec<Hashed>), StoreError> {
    thread::scope(|scope| {
        let mut hasher =
            Hasher { scope, batch: Vec::new(), batch_bytes: 0, queue: None, threads: Vec::new() };
        let result = walk(&mut hasher)?;
        Ok((result, hasher.finish()?))
    })
}

impl Hasher<'_, '_> {
    pub(crate) fn add(&mut self, job: Job) {
        self.batch_bytes += job.size;
        self.batch.push(job);
        if self.queue.is_some() {
            if self.batch.len() >= BATCH_FILES_MAX || self.batch_bytes >= BATCH_BYTES_MAX {
                self.hand_over();
            }
        } else if self.batch.len() > INLINE_FILES_MAX || self.batch_bytes > INLINE_BYTES_MAX {
            self.start();
        }
    }

    fn start(&mut self) {
        let (queue, batches) = crossbeam_channel::bounded(QUEUE_MAX);
        let count = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        for _ in 0..count {
            let batches = batches.clone();
            self.threads.push(self.scope.spawn(move || work(&batches)));
        }
        self.queue = Some(queue);
        self.hand_over();
    }

    fn hand_over(&mut self) {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if let Some(queue) = &self.queue {
            // Only fails when every thread has met an error, which `finish` reports.
            let _ = queue.send(batch);
        }
    }

    fn finish(mut self) -> Result<Vec<Hashed>, StoreError> {
        if self.queue.is_some() {
            self.hand_over();
        }
        self.queue = None;
        let mut results: Vec<_> = hash_all(self.batch.drain(..))?;
        for thread in self.threads {
            let found = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            results.extend(found?);
        }
        Ok(results)
    }
}

fn work(batches: &Receiver<Vec<Job>>) -> Result<Vec<Hashed>, StoreError> {
    hash_all(batches.iter().flatten())
}

fn hash_all(jobs: impl Iterator<Item = Job>) -> Result<Vec<Hashed>, StoreError> {
    let mut buffer = Vec::new();
    jobs.map(|job| hash(job, &mut buffer)).collect()
}

fn hash(job: Job, buffer: &mut Vec<u8>) -> Result<Hashed, StoreError> {
    let handle =
        rustix::fs::openat(&*job.parent, &*job.name, open::READ, Mode::empty()).at("open", &job.path)?;
    let xattrs = xattrs::read(handle.as_fd()).at("read the extended attributes of", &job.path)?;
    buffer.resize(copier::BUFFER_BYTES, 0);
    let (digest, size) = copier::hash(&mut HoleReader::new(handle.into()), &job.path, job.size, buffer)?;
    Ok(Hashed { index: job.index, digest, size, xattrs })
}
