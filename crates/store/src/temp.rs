//! Temporary files: everything is written under `tmp/` first and renamed when it is whole.
//!
//! Each process has one folder there, made when it is first needed, beside a file that it keeps locked. A folder whose
//! lock can be taken belongs to a dead process and is removed by the next process that needs a folder.

use std::{
    ffi::OsStr,
    io::{self, Write},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError,
        atomic::Ordering,
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
};

use fs_err as fs;
use rustix::{
    fs::{CWD, Mode, RenameFlags},
    io::Errno,
};

use crate::{
    Busy, Store, StoreError,
    error::At,
    files::remove,
    lock::{FileLock, LockMode},
};

/// The folder of one process.
#[derive(Debug)]
pub(crate) struct Session {
    folder: PathBuf,
    /// What the file holds: see [`crate::leases`].
    lock: Arc<FileLock>,
}

impl Session {
    fn begin(tmp: &Path) -> Result<Self, StoreError> {
        let folder = tmp.join(random_name()?);
        let lock = Arc::new(FileLock::wait(&folder.with_extension("lock"), LockMode::Exclusive)?);
        let session = Self { folder, lock };
        rustix::fs::mkdir(&session.folder, Mode::from_raw_mode(0o700)).at("create", &session.folder)?;
        Ok(session)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = remove::remove_tree(&self.folder);
        let _ = rustix::fs::unlink(self.folder.with_extension("lock"));
        // Others may still have the file open.
        let _ = self.lock.unlock();
    }
}

/// A directory under `tmp/`, removed when dropped, whatever is in it.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
    // Keeps the session, and so its lock, as long as the directory is used.
    store: Store,
    later: bool,
    /// What still uses it.
    busy: Option<Busy>,
}

impl TempDir {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The `diff` in it, which [`Store::commit_dir`] takes.
    #[must_use]
    pub fn diff(&self) -> PathBuf {
        self.path.join("diff")
    }
}

impl TempDir {
    /// Has it removed by a thread when it is dropped: for whoever goes on and has another core.
    #[must_use]
    pub fn removed_later(mut self) -> Self {
        self.later = true;
        self
    }

    /// Has it stay as long as something else uses it.
    pub fn keep_while(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }

    /// What still uses it.
    pub(crate) const fn busy(&self) -> Option<&Busy> {
        self.busy.as_ref()
    }

    /// The packed layer in it.
    pub(crate) fn packed(&self) -> PathBuf {
        self.path.join("packed")
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let litter = Litter { path: std::mem::take(&mut self.path), busy: self.busy.take() };
        if self.later {
            self.store.inner.broom.get_or_init(Broom::default).remove(litter);
        } else {
            litter.remove();
        }
    }
}

/// What is to be removed.
#[derive(Debug)]
struct Litter {
    path: PathBuf,
    busy: Option<Busy>,
}

impl Litter {
    /// While the directories of a mount are in use, the kernel waits for its end in a loop that takes a processor.
    fn remove(self) {
        self.busy.iter().for_each(Busy::wait);
        let _ = remove::remove_tree(&self.path);
    }
}

/// Removes directories on a thread of its own, and is done when it is dropped.
#[derive(Debug)]
pub(crate) struct Broom {
    litter: Option<Sender<Litter>>,
    thread: Option<JoinHandle<()>>,
}

impl Default for Broom {
    fn default() -> Self {
        let (litter, received) = mpsc::channel::<Litter>();
        let sweep = move || received.iter().for_each(Litter::remove);
        let thread = thread::Builder::new().name("broom".to_owned()).spawn(sweep).ok();
        Self { litter: Some(litter), thread }
    }
}

impl Broom {
    fn remove(&self, litter: Litter) {
        // Without a thread nobody receives.
        if let Some(Err(unsent)) = self.litter.as_ref().map(|sender| sender.send(litter)) {
            unsent.0.remove();
        }
    }
}

impl Drop for Broom {
    fn drop(&mut self) {
        self.litter = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Store {
    /// An empty directory of mode 0700 under `tmp/`; `purpose` is the beginning of its name.
    pub fn temp_dir(&self, purpose: &str) -> Result<TempDir, StoreError> {
        let path = self.temp_path(purpose)?;
        rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700)).at("create", &path)?;
        Ok(TempDir { path, store: self.clone(), later: false, busy: None })
    }

    /// A path under `tmp/` that nothing has yet.
    pub(crate) fn temp_path(&self, purpose: &str) -> Result<PathBuf, StoreError> {
        let number = self.inner.temp_count.fetch_add(1, Ordering::Relaxed);
        Ok(self.begin_session()?.join(format!("{purpose}-{number}")))
    }

    /// The folder of this process, made when it is first needed.
    pub(crate) fn begin_session(&self) -> Result<PathBuf, StoreError> {
        let mut session = self.inner.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &*session {
            return Ok(session.folder.clone());
        }
        let tmp = self.root().join("tmp");
        let begun = Session::begin(&tmp)?;
        self.settle_leases(&begun.lock)?;
        self.sweep(&tmp)?;
        self.learn_losses()?;
        let folder = begun.folder.clone();
        *session = Some(begun);
        Ok(folder)
    }

    /// Removes what dead processes have left behind, which else waits for one that needs a folder: for steps whose secrets are
    /// in there. What cannot be removed stays for the next one.
    pub fn tidy(&self) {
        let tmp = self.root().join("tmp");
        // Each folder in it has a name for it, `..`, where the file system counts them; others say one.
        if rustix::fs::stat(&tmp).is_ok_and(|stat| stat.st_nlink != 2) {
            let _ = self.sweep(&tmp);
        }
    }

    /// The file whose lock says that this process lives, to be handed to whatever may outlive it and still use its folder.
    pub fn session_lock(&self) -> Result<OwnedFd, StoreError> {
        let folder = self.begin_session()?;
        self.session_file().at("share the lock of", &folder)
    }

    /// A file of the store that was opened before anything was written.
    pub(crate) fn session_file(&self) -> io::Result<OwnedFd> {
        let session = self.inner.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.as_ref().ok_or(Errno::NOENT)?.lock.share()
    }

    /// Removes the folders of dead processes, but what they had borrowed. What cannot be removed (files of mapped ids, seen
    /// from outside the user namespace) is left for the next process inside.
    fn sweep(&self, tmp: &Path) -> Result<(), StoreError> {
        for entry in fs::read_dir(tmp).at("list", tmp)? {
            let path = entry.at("list", tmp)?.path();
            if path.extension() != Some(OsStr::from_bytes(b"lock")) {
                continue;
            }
            // Whatever else it is, it is not in the way of the others.
            if let Ok(Some(lock)) = FileLock::attempt_now(&path, LockMode::Exclusive)
                && self.clear(&path.with_extension("")).is_ok()
            {
                drop(lock.removed_on_drop(&path));
            }
        }
        Ok(())
    }

    /// Removes the folder of a dead process.
    fn clear(&self, session: &Path) -> Result<(), StoreError> {
        self.recall_all(session.file_name().unwrap_or_default())?;
        remove::remove_tree(session)
    }

    /// Writes the file `path` whole or not at all, replacing what was there.
    pub(crate) fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let temp = self.write_temp(bytes, false)?;
        rustix::fs::rename(&temp, path).at("rename a temporary file to", path)
    }

    /// Like [`write_whole`](Self::write_whole), and it survives a power cut from here on.
    pub(crate) fn write_durably(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let temp = self.write_temp(bytes, true)?;
        rename_durably(&temp, path)
    }

    /// Bytes in a temporary file.
    pub(crate) fn write_temp(&self, bytes: &[u8], durably: bool) -> Result<PathBuf, StoreError> {
        let path = self.temp_path("file")?;
        let mut file = fs::File::create_new(&path).at("create", &path)?;
        let written = file.write_all(bytes).and_then(|()| if durably { file.sync_data() } else { Ok(()) });
        if written.is_err() {
            let _ = rustix::fs::unlink(&path);
        }
        written.at("write", &path)?;
        Ok(path)
    }
}

/// Writes back what a file holds.
pub(crate) fn sync_data(path: &Path) -> Result<(), StoreError> {
    fs::File::open(path).and_then(|file| file.sync_data()).at("write back", path)
}

/// Renames, and the name survives a power cut from here on; what the file holds must be written back already.
pub(crate) fn rename_durably(from: &Path, to: &Path) -> Result<(), StoreError> {
    rustix::fs::rename(from, to).at("rename a temporary file to", to)?;
    sync_names(to).at("write back", to.parent().unwrap_or(to))
}

/// Writes back the folder that `path` is in.
pub(crate) fn sync_names(path: &Path) -> io::Result<()> {
    fs::File::open(path.parent().unwrap_or(path)).and_then(|folder| folder.sync_all())
}

/// Renames unless the target exists; says whether it did.
pub(crate) fn rename_new(from: &Path, to: &Path) -> Result<bool, StoreError> {
    let renamed = match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems cannot. A directory is not replaced there either, unless it is empty.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if rustix::fs::lstat(to).is_ok() => {
            Err(Errno::EXIST)
        }
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => rustix::fs::rename(from, to),
        other => other,
    };
    match renamed {
        Ok(()) => Ok(true),
        Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(false),
        Err(error) => Err(error).at("rename a temporary file to", to),
    }
}

/// Sixteen hex digits that nobody else has.
fn random_name() -> Result<String, StoreError> {
    let mut bytes = [0_u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .at("get random bytes for", "a temporary name")?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}
