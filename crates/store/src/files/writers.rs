//! Small files of an archive are made by several threads: most of the time that one takes is the kernel's.
//!
//! They are handed over by directory. Whoever needs them on disk (to link, to replace, to be done) waits for all.

use std::{
    ffi::CString,
    fs::File,
    io::Write,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, Scope},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use galley_oci::Meta;
use rustix::fs::{Mode, OFlags};

use super::{
    Dialect,
    attributes::{self, Inherited},
};
use crate::{StoreError, error::At};

/// Larger ones are written by whoever reads them.
pub(crate) const SMALL_FILE_BYTES_MAX: u64 = 64 * 1024;

const THREADS_MAX: usize = 4;
/// Files that are handed over at once.
const BATCH_FILES_MAX: usize = 16;
/// Batches that wait for a thread. Each holds a directory open.
const WAITING_MAX: usize = 8;

const NEW_FILE: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::CLOEXEC);

/// How files are made below one root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maker {
    pub(crate) dialect: Dialect,
    pub(crate) inherited: Inherited,
}

/// What a file is to be.
#[derive(Debug)]
pub(crate) struct NewFile {
    pub(crate) name: CString,
    /// For messages.
    pub(crate) host_path: PathBuf,
    pub(crate) meta: Meta,
}

impl Maker {
    /// Makes it, writes it with `fill`, and gives it its attributes.
    pub(crate) fn make(
        self,
        directory: BorrowedFd<'_>,
        NewFile { name, host_path, meta }: &NewFile,
        fill: impl FnOnce(&mut File) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let at_once = self.inherited.gives(meta);
        let mode = if at_once { u32::from(meta.mode) } else { 0o600 };
        let created = rustix::fs::openat(directory, &**name, NEW_FILE, Mode::from_raw_mode(mode));
        let mut file = File::from(created.at("create", host_path)?);
        fill(&mut file)?;
        let set = if at_once { attributes::set_rest } else { attributes::set_open };
        self.dialect.owned(set(file.as_fd(), meta), host_path, meta)
    }
}

#[derive(Debug)]
struct Batch {
    directory: Arc<OwnedFd>,
    files: Vec<(NewFile, Vec<u8>)>,
}

impl Batch {
    fn make(self, maker: Maker) -> Result<(), StoreError> {
        self.files.into_iter().try_for_each(|(file, content)| {
            maker.make(self.directory.as_fd(), &file, |out| {
                out.write_all(&content).at("write", &file.host_path)
            })
        })
    }
}

#[derive(Debug, Default)]
struct State {
    /// Batches handed over and not made yet.
    pending: usize,
    failure: Option<StoreError>,
}

#[derive(Debug, Default)]
struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, batches: &Receiver<Batch>, maker: Maker) {
        for batch in batches {
            let made = batch.make(maker);
            let mut state = self.lock();
            state.pending -= 1;
            if let Err(error) = made {
                state.failure.get_or_insert(error);
            }
            if state.pending == 0 {
                self.changed.notify_all();
            }
        }
    }
}

/// The threads, and what is to be handed to them next. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Writers {
    maker: Maker,
    /// `None` where there is one processor only.
    sender: Option<Sender<Batch>>,
    progress: Arc<Progress>,
    next: Option<Batch>,
}

impl Writers {
    pub(crate) fn start<'scope>(scope: &'scope Scope<'scope, '_>, maker: Maker) -> Self {
        let progress = Arc::new(Progress::default());
        let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let sender = (threads > 1).then(|| {
            let (sender, batches) = bounded::<Batch>(WAITING_MAX);
            for _ in 0..threads {
                let (batches, progress) = (batches.clone(), Arc::clone(&progress));
                scope.spawn(move || progress.serve(&batches, maker));
            }
            sender
        });
        Self { maker, sender, progress, next: None }
    }

    pub(crate) const fn maker(&self) -> Maker {
        self.maker
    }

    /// Makes a file in `directory` soon.
    pub(crate) fn add(
        &mut self,
        directory: &Arc<OwnedFd>,
        file: NewFile,
        content: Vec<u8>,
    ) -> Result<(), StoreError> {
        if self.next.as_ref().is_some_and(|batch| !Arc::ptr_eq(&batch.directory, directory)) {
            self.hand_over()?;
        }
        let new = || Batch { directory: Arc::clone(directory), files: Vec::new() };
        let batch = self.next.get_or_insert_with(new);
        batch.files.push((file, content));
        if batch.files.len() < BATCH_FILES_MAX { Ok(()) } else { self.hand_over() }
    }

    fn hand_over(&mut self) -> Result<(), StoreError> {
        let Some(batch) = self.next.take() else { return Ok(()) };
        let Some(sender) = &self.sender else { return batch.make(self.maker) };
        let mut state = self.progress.lock();
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        state.pending += 1;
        drop(state);
        // The threads take from it as long as it exists.
        let _ = sender.send(batch);
        Ok(())
    }

    /// Waits until every file is there.
    pub(crate) fn settle(&mut self) -> Result<(), StoreError> {
        self.hand_over()?;
        let mut state = self.progress.lock();
        while state.pending > 0 {
            state = self.progress.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failure.take().map_or(Ok(()), Err)
    }
}
