//! Leases: what a living process uses is not collected. docs/internals/collection.md has the protocol and why it holds.
//!
//! A process that looks something up first takes `collector/use` shared, once, and keeps it: as long as anybody has it nothing
//! is removed. That is all for a process that only looks. One that begins to write may last: it notes what it has used so
//! far in the file that it keeps locked beside its folder under `tmp/`, lets go of `collector/use`, and from then on takes it
//! for an instant to note each further thing, before it looks whether that is there.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use galley_oci::{Digest, digest::DIGEST_BYTES};

use crate::{
    Store, StoreError,
    error::{Absent, At},
    images::names_in,
    lock::{FileLock, LockMode},
    store::read_small,
};

/// The most that one process can use: a million things.
const LEASES_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How often a collector that waits for others looks again.
const POLL: Duration = Duration::from_millis(2);

/// What this process uses.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: HashSet<Digest>,
    hold: Hold,
    /// Held for good when a note could not be written (on a full disk, say): that keeps everything.
    kept: Option<FileLock>,
}

/// How what is used is kept from being collected.
#[derive(Debug, Default)]
enum Hold {
    /// Nothing is used yet.
    #[default]
    Nothing,
    /// By `collector/use`; none where that can neither be opened nor made.
    Shared(Option<FileLock>),
    /// By notes in a file that this process keeps locked; `collector/use` is locked while one is written.
    Noted { notes: Arc<FileLock>, door: Option<FileLock> },
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes a note while the door is held, and lets go of that.
    fn note(&mut self, notes: Arc<FileLock>, mut door: Option<FileLock>, bytes: &[u8]) {
        let written = notes.write(bytes);
        if written.and_then(|()| door.as_ref().map_or(Ok(()), FileLock::unlock)).is_err() {
            self.kept = self.kept.take().or(door.take());
        }
        self.hold = Hold::Noted { notes, door };
    }
}

impl Store {
    /// What `digest` names (a layer, a blob, an image) is there as long as this process is, if it is there after this.
    pub(crate) fn lease(&self, digest: &Digest) -> Result<(), StoreError> {
        let mut state = self.inner.leases.lock();
        if state.used.contains(digest) {
            return Ok(());
        }
        match std::mem::take(&mut state.hold) {
            Hold::Nothing => state.hold = Hold::Shared(self.enter()?),
            Hold::Shared(door) => state.hold = Hold::Shared(door),
            Hold::Noted { notes, door } => {
                // Not to be had is as good as not to be noted.
                let locked = door.as_ref().map_or(Ok(()), |door| door.lock_again(LockMode::Shared));
                state.note(notes, door, digest.bytes());
                locked.at("lock", self.root().join("collector/use"))?;
            }
        }
        state.used.insert(*digest);
        Ok(())
    }

    /// Nothing that is listed from now on goes while this process only looks.
    pub(crate) fn hold_still(&self) -> Result<(), StoreError> {
        let mut state = self.inner.leases.lock();
        if matches!(state.hold, Hold::Nothing) {
            state.hold = Hold::Shared(self.enter()?);
        }
        Ok(())
    }

    /// This process will last: notes what it uses in `file`, which it keeps locked, and stops keeping collectors out.
    pub(crate) fn settle_leases(&self, notes: &Arc<FileLock>) -> Result<(), StoreError> {
        let mut state = self.inner.leases.lock();
        let door = match std::mem::take(&mut state.hold) {
            Hold::Shared(door) => door,
            Hold::Nothing | Hold::Noted { .. } => self.enter()?,
        };
        let used: Vec<u8> = state.used.iter().flat_map(|digest| *digest.bytes()).collect();
        state.note(Arc::clone(notes), door, &used);
        Ok(())
    }

    /// Makes a long look at the store harmless for collectors: a process that reads for seconds calls this when it knows
    /// most of what it will read. Best effort, for a store on a read-only disk can be read too.
    pub fn settle(&self) {
        let _ = self.begin_session();
    }

    /// Forgets everything that this process has used, unless it has begun to write: another process goes on in its place.
    pub fn let_go(&self) {
        let mut state = self.inner.leases.lock();
        if !matches!(state.hold, Hold::Noted { .. }) {
            *state = State::default();
            self.inner.layers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// What living processes use, by their notes. True for as long as the caller is [`alone`](Self::alone).
    pub(crate) fn leased(&self) -> Result<HashSet<[u8; DIGEST_BYTES]>, StoreError> {
        self.leased_but_in(None)
    }

    /// The same without what this process uses, which has noted it.
    pub(crate) fn leased_by_others(&self) -> Result<HashSet<[u8; DIGEST_BYTES]>, StoreError> {
        let own = self.begin_session()?.with_extension("lock");
        self.leased_but_in(Some(&own))
    }

    fn leased_but_in(&self, own: Option<&Path>) -> Result<HashSet<[u8; DIGEST_BYTES]>, StoreError> {
        let tmp = self.root().join("tmp");
        let mut leased = HashSet::new();
        for name in names_in(&tmp)?.iter().filter(|name| name.ends_with(".lock")) {
            let path = tmp.join(name);
            if own == Some(path.as_path()) {
                continue;
            }
            if let Found::Held = look(&path, LockMode::Exclusive)? {
                let notes = read_small(&path, LEASES_BYTES_MAX)?.unwrap_or_default();
                leased.extend(notes.as_chunks::<DIGEST_BYTES>().0);
            }
        }
        Ok(leased)
    }

    /// Takes `collector/use` shared; while a collector is alone this waits at the gate. `None` on a disk that is read-only.
    fn enter(&self) -> Result<Option<FileLock>, StoreError> {
        let paths = Paths::of(self);
        loop {
            if let Some(lock) = FileLock::existing(&paths.in_use, LockMode::Shared, true)? {
                return Ok(Some(lock));
            }
            match self.pass_gate(&paths) {
                Err(StoreError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem =>
                {
                    return Ok(None);
                }
                passed => passed?,
            }
        }
    }

    /// Waits until no collector is alone. What it left closed when it died is opened.
    fn pass_gate(&self, paths: &Paths) -> Result<(), StoreError> {
        // Stores did not always have it.
        self.later_folder("collector")?;
        let _gate = FileLock::wait(&paths.gate, LockMode::Exclusive)?;
        paths.open_gate()
    }

    /// Waits until no process is in the middle of a look; `None` when that takes longer than `patience`. Those that come
    /// meanwhile wait until the answer is dropped.
    pub(crate) fn alone(&self, patience: Duration) -> Result<Option<Alone>, StoreError> {
        let paths = Paths::of(self);
        self.later_folder("collector")?;
        let gate = FileLock::wait(&paths.gate, LockMode::Exclusive)?;
        paths.open_gate()?;
        rustix::fs::rename(&paths.in_use, &paths.closed).at("rename", &paths.in_use)?;
        let mut alone = Alone { paths, lock: None, _gate: gate };
        let end = Instant::now() + patience;
        loop {
            alone.lock = FileLock::existing(&alone.paths.closed, LockMode::Exclusive, false)?;
            if alone.lock.is_some() {
                return Ok(Some(alone));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Nobody else looks anything up while this lives.
#[derive(Debug)]
pub(crate) struct Alone {
    paths: Paths,
    lock: Option<FileLock>,
    // Dropped last: whoever waits for it finds `collector/use` in its place.
    _gate: FileLock,
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.paths.open_gate();
        drop(self.lock.take());
    }
}

#[derive(Debug)]
struct Paths {
    in_use: PathBuf,
    closed: PathBuf,
    gate: PathBuf,
}

impl Paths {
    fn of(store: &Store) -> Self {
        let path = |name: &str| store.root().join("collector").join(name);
        Self { in_use: path("use"), closed: path("use.closed"), gate: path("gate") }
    }

    /// Puts `collector/use` back in its place, or makes it; under the lock on the gate. It is one file for ever: a lock on
    /// another one would keep nobody out.
    fn open_gate(&self) -> Result<(), StoreError> {
        if rustix::fs::lstat(&self.in_use).is_ok() {
            return Ok(());
        }
        let renamed = rustix::fs::rename(&self.closed, &self.in_use).absent();
        if renamed.at("rename", &self.closed)?.is_none() {
            drop(FileLock::attempt_now(&self.in_use, LockMode::Shared)?);
        }
        Ok(())
    }
}

/// What became of a lock that somebody may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Somebody holds it.
    Held,
    /// Nobody does.
    Free,
    /// There is no such file.
    Absent,
}

/// Looks at the lock on a file, by taking it for an instant.
pub(crate) fn look(path: &Path, mode: LockMode) -> Result<Found, StoreError> {
    if FileLock::existing(path, mode, false)?.is_some() {
        return Ok(Found::Free);
    }
    Ok(if rustix::fs::lstat(path).is_ok() { Found::Held } else { Found::Absent })
}
