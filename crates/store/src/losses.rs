//! What could not be brought to the disk, and is remembered for processes to come.
//!
//! The kernel tells each open file once of what could not be written back since it was opened, and forgets it for files that
//! are opened later as soon as `syncfs` has told anybody. So who is told leaves word in `lost/`: everything that was written
//! behind the last good barrier and before now counts for nothing, whatever a later barrier says. The name of a file there says
//! it all. docs/internals/store-format.md has the whole argument.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    thread::{self, JoinHandle},
};

use rustix::{
    fs::{Dir, Mode, OFlags},
    io::Errno,
    time::ClockId,
};

use crate::{
    Store, StoreError,
    durability::{self, Stamp, is_plain, nanoseconds},
    error::At,
    lock::{FileLock, LockMode},
    store::later_folder,
    temp::sync_names,
};

/// File times are those of a clock that ticks now and then, and the other clock is read a little later.
const SLACK: u64 = 1_000_000_000;

/// Stamps of one boot, after one number and up to another, that nothing vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    boot: String,
    /// The last good barrier.
    after: u64,
    until: u64,
    /// What clocks on walls showed at `until`, for files that have no stamp.
    real: u64,
}

impl Loss {
    fn name(&self) -> String {
        let Self { boot, after, until, real } = self;
        format!("{boot}.{after}.{until}.{real}")
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let fields: Vec<&str> = name.split('.').collect();
        let [boot, numbers @ ..] = &fields[..] else { return None };
        let numbers = numbers.iter().map(|number| number.parse().ok()).collect::<Option<Vec<u64>>>()?;
        let [after, until, real] = numbers[..] else { return None };
        let loss = Self { boot: (*boot).to_owned(), after, until, real };
        // One way to write a number, or a name could be another loss's.
        (is_plain(boot) && loss.name() == name).then_some(loss)
    }

    fn has(&self, stamp: &Stamp) -> bool {
        self.boot == stamp.boot && self.after < stamp.nanoseconds && stamp.nanoseconds <= self.until
    }

    /// Whether a file that was last changed at this time may be a part of it.
    fn had(&self, changed: u64) -> bool {
        let began = self.real.saturating_sub(self.until.saturating_sub(self.after)).saturating_sub(SLACK);
        (began..=self.real).contains(&changed)
    }
}

/// What goes for the rest of the process once it was told of a failure; shared with the threads that write back.
#[derive(Debug)]
pub(crate) struct Failure {
    root: PathBuf,
    failed: AtomicBool,
    /// What the kernel said, when it said it to this process.
    said: AtomicI32,
}

impl Failure {
    pub(crate) fn new(root: PathBuf) -> Arc<Self> {
        Arc::new(Self { root, failed: AtomicBool::new(false), said: AtomicI32::new(0) })
    }

    /// Something could not be written back, which nobody else may be told of. Where not even a file can be made, this process
    /// vouches for nothing all the same.
    pub(crate) fn note(&self, error: &io::Error) {
        self.said.store(error.raw_os_error().unwrap_or(0), Ordering::Release);
        self.fail();
        let _ = self.record();
    }

    /// This process can vouch for nothing any more.
    fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Everything behind the last good barrier is lost. What vouches for what is not to change meanwhile.
    fn record(&self) -> Result<(), StoreError> {
        let boot = durability::read_boot();
        let _lock = lock_barriers(&self.root)?;
        let after = durability::read_barrier(&self.root.join("barriers"), &boot).unwrap_or(0);
        let (until, real) = (nanoseconds(ClockId::Boottime), nanoseconds(ClockId::Realtime));
        let folder = later_folder(&self.root, "lost")?;
        let path = folder.join(Loss { boot, after, until, real }.name());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        rustix::fs::open(&path, flags, Mode::from_raw_mode(0o644)).at("create", &path).map(drop)
    }
}

/// What this process knows of losses.
#[derive(Debug)]
pub(crate) struct Losses {
    pub(crate) failure: Arc<Failure>,
    /// Those that were there when it began.
    known: Mutex<Option<Vec<Loss>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Losses {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { failure: Failure::new(root), known: Mutex::default(), threads: Mutex::default() }
    }
}

/// What a thread is told by the kernel goes on record.
impl Drop for Losses {
    fn drop(&mut self) {
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner);
        threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Store {
    /// Has the kernel write back on a thread of its own what the next barrier would wait for. It promises nothing: only
    /// the barrier does.
    pub fn begin_barrier(&self) {
        let Ok(folder) = self.open_root() else { return };
        let failure = self.failure();
        let write_back = move || {
            // The barrier is told by another file than this.
            let _ = rustix::fs::syncfs(folder).inspect_err(|&error| failure.note(&error.into()));
        };
        // Without a thread the barrier takes longer.
        let thread = thread::Builder::new().name("write-back".to_owned()).spawn(write_back);
        self.inner.losses.threads.lock().unwrap_or_else(PoisonError::into_inner).extend(thread);
    }

    /// For threads that write back.
    pub(crate) fn failure(&self) -> Arc<Failure> {
        Arc::clone(&self.inner.losses.failure)
    }

    /// Asks by the one file that has been open since this process began to write: the kernel tells each open file once of what could
    /// not be written since it was opened, also when that was met earlier, by whoever asked for something to be written back.
    /// A failure is put on record.
    pub(crate) fn sync_all(&self) -> Result<(), StoreError> {
        let file = self.begin_session().and_then(|_| self.session_file().at("write back", self.root()))?;
        let told = rustix::fs::syncfs(file);
        told.inspect_err(|&error| self.failure().note(&error.into())).at("write back", self.root())
    }

    /// Renames, and the name survives a power cut from here on. One that may not is no longer taken for good by anybody.
    pub(crate) fn rename_noted(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        rustix::fs::rename(from, to).at("rename a temporary file to", to)?;
        let named = sync_names(to).inspect_err(|error| self.failure().note(error));
        named.at("write back", to.parent().unwrap_or(to))
    }

    /// Whether this process may still vouch for anything.
    pub(crate) fn refuse_after_loss(&self) -> Result<(), StoreError> {
        let failure = &self.inner.losses.failure;
        if !failure.has_failed() {
            return Ok(());
        }
        let said = failure.said.load(Ordering::Acquire);
        let source = (said != 0).then(|| io::Error::from_raw_os_error(said));
        Err(StoreError::Lost { root: self.root().to_owned(), source })
    }

    /// What others have lost. At first all that was before the kernel tells this process of failures; later nothing may be new.
    pub(crate) fn learn_losses(&self) -> Result<(), StoreError> {
        let found = self.read_losses()?;
        let mut known = self.inner.losses.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Something may have been used that was lost meanwhile.
        if known.as_ref().is_some_and(|known| found.iter().any(|loss| !known.contains(loss))) {
            self.inner.losses.failure.fail();
        }
        *known = Some(found);
        Ok(())
    }

    /// Whether what carries `stamp` was lost; what cannot be found out is.
    pub(crate) fn is_lost(&self, stamp: &Stamp) -> bool {
        self.with_losses(|losses| losses.iter().any(|loss| loss.has(stamp)))
    }

    /// Whether a file that carries no stamp may have been lost under this boot. It can still be read: from memory.
    pub(crate) fn is_in_doubt(&self, path: &Path) -> bool {
        self.with_losses(|losses| {
            let changed = if losses.is_empty() { None } else { changed(path) };
            let is_ours = |loss: &&Loss| loss.boot == self.boot();
            changed.is_some_and(|changed| losses.iter().filter(is_ours).any(|loss| loss.had(changed)))
        })
    }

    fn with_losses(&self, is_hit: impl FnOnce(&[Loss]) -> bool) -> bool {
        let mut known = self.inner.losses.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Its own loss is on record since then.
        if known.is_none() || self.inner.losses.failure.has_failed() {
            *known = self.read_losses().ok();
        }
        known.as_deref().is_none_or(is_hit)
    }

    /// Whether what was lost since this process began is nothing that it used. Nobody else makes or needs a barrier meanwhile.
    pub(crate) fn check_losses(&self) -> Result<(), StoreError> {
        self.learn_losses()?;
        self.refuse_after_loss()
    }

    pub(crate) fn lock_barriers(&self) -> Result<FileLock, StoreError> {
        lock_barriers(self.root())
    }

    /// What is on record. Names that are none of ours say nothing.
    fn read_losses(&self) -> Result<Vec<Loss>, StoreError> {
        Ok(self.lost_names()?.iter().filter_map(|name| Loss::parse(name.to_str()?)).collect())
    }

    /// Names in `lost/` that are none of ours.
    pub(crate) fn odd_losses(&self) -> Result<Vec<OsString>, StoreError> {
        let is_odd = |name: &OsString| name.to_str().and_then(Loss::parse).is_none();
        Ok(self.lost_names()?.into_iter().filter(is_odd).collect())
    }

    fn lost_names(&self) -> Result<Vec<OsString>, StoreError> {
        let folder = self.root().join("lost");
        let listed = match rustix::fs::open(
            &folder,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            // As a rule nothing ever was.
            Err(Errno::NOENT) => return Ok(Vec::new()),
            other => other.and_then(Dir::new).at("list", &folder)?,
        };
        let mut names = Vec::new();
        for entry in listed {
            let entry = entry.at("list", &folder)?;
            let name = entry.file_name().to_bytes();
            names.extend((!matches!(name, b"." | b"..")).then(|| OsStr::from_bytes(name).to_owned()));
        }
        Ok(names)
    }
}

/// When a file was last changed, by the clock on the wall.
fn changed(path: &Path) -> Option<u64> {
    let stat = rustix::fs::lstat(path).ok()?;
    Some(u64::try_from(stat.st_ctime).unwrap_or(0) * 1_000_000_000 + stat.st_ctime_nsec)
}

fn lock_barriers(root: &Path) -> Result<FileLock, StoreError> {
    let folder = root.join("barriers");
    let lock = FileLock::existing(&folder, LockMode::Exclusive, true)?;
    lock.ok_or(Errno::NOENT).at("lock", &folder)
}

#[cfg(test)]
mod tests;
