//! Containers: a folder each, with a config that changes when it is asked to, a state that does by itself, and the files it wrote.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fs_err as fs;
use rustix::fs::{Mode, OFlags};

use crate::{
    Store, StoreError,
    blobs::remove_present,
    error::{Absent, At},
    images::names_in,
    lock::{FileLock, LockMode},
    mounts::check_name,
    remove_tree,
    store::read_small,
};

/// The largest config or state that is read.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Hex digits of a container's id.
const ID_DIGITS: usize = 64;

/// The longest note in a lock that is read: an exit code.
const NOTE_BYTES_MAX: usize = 32;

/// How often the lock of a container is tried for, and the pause between: longer than anybody looks at it.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// The folder of one container.
#[derive(Clone, Debug)]
pub struct ContainerDir {
    store: Store,
    id: String,
    path: PathBuf,
    /// The lock that it is born with: who made it is about to run it, and nobody may remove it before.
    born: Arc<Mutex<Option<FileLock>>>,
}

impl Store {
    /// Makes a container with this config and a new id; `name` must be free. Its `upper` has mode 0755, as a root has. It is
    /// locked, for whoever asks the answer's [`try_lock`](ContainerDir::try_lock) first or until that is dropped.
    pub fn create_container(&self, name: &str, config: &[u8]) -> Result<ContainerDir, StoreError> {
        check_name(name)?;
        let _lock = self.lock_names()?;
        if let Some(holder) = self.container_by_name(name)? {
            let holder = format!("the container {}", &holder.id[..12]);
            return Err(StoreError::NameTaken { name: name.to_owned(), holder });
        }
        let id = random_id()?;
        let path = self.root().join("containers").join(&id);
        let temp = self.temp_dir("container")?;
        let folder = temp.path().join("folder");
        for folder in [&folder, &folder.join("upper"), &folder.join("work")] {
            fs::create_dir(folder).at("create", folder)?;
            let mode = Mode::from_raw_mode(0o755);
            rustix::fs::chmod(folder, mode).at("set the mode of", folder)?;
        }
        for (file, bytes) in [("config.json", config), ("name", name.as_bytes())] {
            let file = folder.join(file);
            fs::write(&file, bytes).at("write", &file)?;
        }
        let lock = FileLock::wait(&folder.join("lock"), LockMode::Exclusive)?;
        // The name last: what it names is whole.
        rustix::fs::rename(&folder, &path).at("rename a folder to", &path)?;
        self.write_whole(&self.name_path(name), id.as_bytes())?;
        Ok(ContainerDir { born: Arc::new(Mutex::new(Some(lock))), ..self.container_dir(id) })
    }

    /// The container with this name, this id, or the only one whose id begins with this.
    pub fn container(&self, name: &str) -> Result<Option<ContainerDir>, StoreError> {
        if check_name(name).is_err() {
            return Ok(None);
        }
        if let Some(container) = self.container_by_name(name)? {
            return Ok(Some(container));
        }
        if !name.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let mut found = self.containers()?;
        found.retain(|container| container.id.starts_with(name));
        match found.len() {
            0 | 1 => Ok(found.pop()),
            count => Err(StoreError::Ambiguous { prefix: name.to_owned(), count }),
        }
    }

    /// Gives a container another name, which must be free.
    pub fn rename_container(&self, container: &ContainerDir, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        let _lock = self.lock_names()?;
        if let Some(holder) = self.container_by_name(name)? {
            let holder = format!("the container {}", &holder.id[..12]);
            return Err(StoreError::NameTaken { name: name.to_owned(), holder });
        }
        // Who removes it has this lock: what is there now stays.
        rustix::fs::stat(&container.path).at("examine", &container.path)?;
        let before = container.name()?;
        // Killed in between, it has both: the old one is what it says of itself until the last.
        self.write_whole(&self.name_path(name), container.id.as_bytes())?;
        self.write_whole(&container.path.join("name"), name.as_bytes())?;
        self.free_name(container, &before)
    }

    /// All containers, by id.
    pub fn containers(&self) -> Result<Vec<ContainerDir>, StoreError> {
        let folder = self.root().join("containers");
        let ids = names_in(&folder)?.into_iter().filter(|name| is_id(name.as_bytes()));
        Ok(ids.map(|id| self.container_dir(id)).collect())
    }

    fn container_dir(&self, id: String) -> ContainerDir {
        let path = self.root().join("containers").join(&id);
        ContainerDir { store: self.clone(), id, path, born: Arc::default() }
    }

    /// A name whose container is gone (a process died between the two) is free.
    fn container_by_name(&self, name: &str) -> Result<Option<ContainerDir>, StoreError> {
        let Some(id) = read_small(&self.name_path(name), ID_DIGITS)? else { return Ok(None) };
        let plain = is_id(&id);
        let id = String::from_utf8(id).unwrap_or_default();
        let container = self.container_dir(id);
        Ok((plain && container.path.exists()).then_some(container))
    }

    fn name_path(&self, name: &str) -> PathBuf {
        self.root().join("containers").join("names").join(name)
    }

    /// Takes `name` from `container`, under the lock on names. What it says of itself may be another's: whoever made it died before
    /// the name was its own.
    fn free_name(&self, container: &ContainerDir, name: &str) -> Result<(), StoreError> {
        if check_name(name).is_err() {
            return Ok(());
        }
        let holder = self.container_by_name(name)?;
        match holder.is_some_and(|holder| holder.id != container.id) {
            true => Ok(()),
            false => remove_present(&self.name_path(name)).map(drop),
        }
    }

    /// Where the lock on volumes is held too, after it.
    fn lock_names(&self) -> Result<FileLock, StoreError> {
        FileLock::wait(&self.root().join("locks").join("containers"), LockMode::Exclusive)
    }
}

/// What whoever runs a container notes; it can be read also when the container is removed by then.
#[derive(Debug)]
pub struct EndNote(FileLock);

impl EndNote {
    /// Waits until no process runs the container, and gives what the last one [noted](FileLock::note); nothing when it
    /// noted nothing.
    pub fn wait(&self) -> std::io::Result<Option<String>> {
        self.0.lock_again(LockMode::Shared)?;
        let noted = self.read();
        // Kept, it would keep the container from running.
        self.0.unlock()?;
        noted
    }

    /// What is noted now; nothing while the container runs, or when whoever ran it was killed.
    pub fn read(&self) -> std::io::Result<Option<String>> {
        let mut text = [0; NOTE_BYTES_MAX];
        let length = self.0.read(&mut text)?;
        let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned();
        Ok((!text.is_empty()).then_some(text))
    }
}

impl ContainerDir {
    /// 64 hex digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the container wrote: the upper directory of its overlay.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.path.join("upper")
    }

    /// The work directory of its overlay.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// All of its files in one directory, where nothing can be mounted; it is made by its first start.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.path.join("root")
    }

    /// What its root has while it runs, and what that hides.
    #[must_use]
    pub fn aside(&self) -> PathBuf {
        self.path.join("aside")
    }

    /// Its output.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Its name.
    pub fn name(&self) -> Result<String, StoreError> {
        let bytes = read_small(&self.path.join("name"), DOCUMENT_BYTES_MAX)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What it was made with.
    pub fn config(&self) -> Result<Vec<u8>, StoreError> {
        let path = self.path.join("config.json");
        let missing = || StoreError::damaged("the container", &path, "its config is missing");
        read_small(&path, DOCUMENT_BYTES_MAX)?.ok_or_else(missing)
    }

    /// Until this is dropped nobody else changes what it was made with; nothing when it was removed.
    pub fn lock_config(&self) -> Result<Option<FileLock>, StoreError> {
        FileLock::existing(&self.path, LockMode::Exclusive, true)
    }

    /// Replaces what it was made with, at once.
    pub fn write_config(&self, config: &[u8]) -> Result<(), StoreError> {
        self.store.write_whole(&self.path.join("config.json"), config)
    }

    /// Its state as last written, `None` when it never was.
    pub fn state(&self) -> Result<Option<Vec<u8>>, StoreError> {
        read_small(&self.path.join("state.json"), DOCUMENT_BYTES_MAX)
    }

    /// Replaces its state, at once.
    pub fn write_state(&self, state: &[u8]) -> Result<(), StoreError> {
        self.store.write_whole(&self.path.join("state.json"), state)
    }

    /// Whether another process has removed it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        !self.path.exists()
    }

    /// Takes the lock that the process which runs the container holds; `None` when one does, and when the container was
    /// removed.
    pub fn try_lock(&self) -> Result<Option<FileLock>, StoreError> {
        if let Some(lock) = self.born_lock() {
            return Ok(Some(lock));
        }
        for _ in 0..LOCK_TRIES {
            match FileLock::attempt_now(&self.path.join("lock"), LockMode::Exclusive) {
                Ok(None) => {}
                Err(_) if self.is_gone() => return Ok(None),
                taken => return taken,
            }
            // Somebody may only be looking, see `is_held`.
            std::thread::sleep(LOCK_PAUSE);
        }
        Ok(None)
    }

    /// Keeps the container from running and from being removed, as others may who read it at the same time; `None` when a
    /// process runs it, and when it was removed.
    pub fn try_lock_shared(&self) -> Result<Option<FileLock>, StoreError> {
        FileLock::existing(&self.path.join("lock"), LockMode::Shared, false)
    }

    /// Takes the lock for another process, which is to inherit this file and to [take it over](Self::take_over); `None` when
    /// one holds it already, or the container was removed. Between the two nobody else can have it.
    pub fn lend_lock(&self) -> Result<Option<OwnedFd>, StoreError> {
        let Some(lock) = self.try_lock()? else { return Ok(None) };
        lock.share().at("share the lock of", &self.path).map(Some)
    }

    /// Takes the lock over that the process which started this one has lent it. Any other file is refused.
    pub fn take_over(&self, lent: OwnedFd) -> Result<(), StoreError> {
        let path = self.path.join("lock");
        let (own, lent_file) =
            (rustix::fs::stat(&path).at("examine", &path)?, rustix::fs::fstat(&lent).at("examine", &path)?);
        if (own.st_dev, own.st_ino) == (lent_file.st_dev, lent_file.st_ino) {
            *self.born.lock().unwrap_or_else(PoisonError::into_inner) = Some(FileLock::inherited(lent));
        }
        Ok(())
    }

    /// Leaves a new container to nobody: it may be removed.
    pub fn hand_over(&self) {
        drop(self.born_lock());
    }

    /// What whoever runs the container will have noted at its end; none when it was removed.
    pub fn end_note(&self) -> Result<Option<EndNote>, StoreError> {
        let path = self.path.join("lock");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(&path, flags, Mode::empty()).absent().at("open the lock", &path)?;
        Ok(file.map(|file| EndNote(FileLock::inherited(file))))
    }

    fn born_lock(&self) -> Option<FileLock> {
        self.born.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether a process runs the container; one that was removed meanwhile runs no more. A kernel lock cannot be looked
    /// at, only taken: it is taken for an instant, in the way that others who look can take it too.
    pub fn is_held(&self) -> Result<bool, StoreError> {
        match FileLock::attempt_now(&self.path.join("lock"), LockMode::Shared) {
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(false),
            looked => Ok(looked?.is_none()),
        }
    }

    /// Removes the container and its files. It must not run.
    pub fn remove(self) -> Result<(), StoreError> {
        let names = self.store.lock_names()?;
        if self.is_gone() {
            // Another was faster.
            return Ok(());
        }
        let name = self.name()?;
        // Out of sight first: a killed process leaves garbage under tmp/, not half a container.
        let temp = self.store.temp_dir("container")?;
        let gone = temp.path().join("folder");
        rustix::fs::rename(&self.path, &gone).at("remove", &self.path)?;
        self.store.free_name(&self, &name)?;
        // Nobody waits for the files.
        drop(names);
        remove_tree(&gone)
    }
}

fn is_id(name: &[u8]) -> bool {
    name.len() == ID_DIGITS && name.iter().all(u8::is_ascii_hexdigit)
}

fn random_id() -> Result<String, StoreError> {
    let mut bytes = [0_u8; ID_DIGITS / 2];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    filled.at("get random bytes for", "a container id")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
