//! Hashing many files on all cores.

use std::{
    ffi::CStr,
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    thread::{self, Scope, ScopedJoinHandle},
};

use crossbeam_channel::{Receiver, Sender};
use galley_oci::tree::Xattrs;
use rustix::fs::Mode;

use super::{content, open, xattrs};
use crate::{StoreError, error::At};

/// More threads than this only compete for the disk.
const THREADS_MAX: usize = 8;
/// Work below these is done where it arises: threads cost more.
const INLINE_FILES_MAX: usize = 16;
const INLINE_BYTES_MAX: u64 = 256 * 1024;
/// Jobs that wait; each holds a directory open.
const QUEUE_MAX: usize = 64;

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
    inline: Vec<Job>,
    inline_bytes: u64,
    queue: Option<Sender<Job>>,
    threads: Vec<ScopedJoinHandle<'scope, Result<Vec<Hashed>, StoreError>>>,
}

/// Runs `walk`, which gives out jobs; gives their results, in no order, when all are done.
pub(crate) fn hashing<T>(
    walk: impl FnOnce(&mut Hasher<'_, '_>) -> Result<T, StoreError>,
) -> Result<(T, Vec<Hashed>), StoreError> {
    thread::scope(|scope| {
        let mut hasher =
            Hasher { scope, inline: Vec::new(), inline_bytes: 0, queue: None, threads: Vec::new() };
        let result = walk(&mut hasher)?;
        Ok((result, hasher.finish()?))
    })
}

impl Hasher<'_, '_> {
    pub(crate) fn add(&mut self, job: Job) {
        if let Some(queue) = &self.queue {
            // Only fails when every thread has met an error, which `finish` reports.
            let _ = queue.send(job);
            return;
        }
        self.inline_bytes += job.size;
        self.inline.push(job);
        if self.inline.len() > INLINE_FILES_MAX || self.inline_bytes > INLINE_BYTES_MAX {
            self.start();
        }
    }

    fn start(&mut self) {
        let (queue, jobs) = crossbeam_channel::bounded(QUEUE_MAX);
        let count = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        for _ in 0..count {
            let jobs = jobs.clone();
            self.threads.push(self.scope.spawn(move || work(&jobs)));
        }
        for job in self.inline.drain(..) {
            let _ = queue.send(job);
        }
        self.queue = Some(queue);
    }

    fn finish(mut self) -> Result<Vec<Hashed>, StoreError> {
        self.queue = None;
        let mut results: Vec<_> = hash_all(self.inline.drain(..))?;
        for thread in self.threads {
            let found = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            results.extend(found?);
        }
        Ok(results)
    }
}

fn work(jobs: &Receiver<Job>) -> Result<Vec<Hashed>, StoreError> {
    hash_all(jobs.iter())
}

fn hash_all(jobs: impl Iterator<Item = Job>) -> Result<Vec<Hashed>, StoreError> {
    let mut buffer = Vec::new();
    jobs.map(|job| hash(job, &mut buffer)).collect()
}

fn hash(job: Job, buffer: &mut Vec<u8>) -> Result<Hashed, StoreError> {
    let handle =
        rustix::fs::openat(&*job.parent, &*job.name, open::READ, Mode::empty()).at("open", &job.path)?;
    let xattrs = xattrs::read(handle.as_fd()).at("read the extended attributes of", &job.path)?;
    buffer.resize(content::BUFFER_BYTES, 0);
    let (digest, size) = content::hash(&mut File::from(handle), &job.path, buffer)?;
    Ok(Hashed { index: job.index, digest, size, xattrs })
}
