//! Opening a store: its folder, its version, its id map.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use fs_err as fs;
use galley_oci::Digest;
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use crate::{
    Layer, MountTrial, StoreError,
    collect::sizes::Sizes,
    durability::Durability,
    error::{Absent, At},
    images::names_in,
    leases::Leases,
    lock::{FileLock, LockMode},
    losses::Losses,
    temp::{Broom, Session},
    worn::Worn,
};

/// The newest format that this program reads and writes.
pub const FORMAT: u32 = 3;

/// What a store begins with: programs that know no other can use it as long as it has nothing that they would misread.
const FIRST_FORMAT: u32 = 1;

/// Since when there are packed layers, and processes note what they use.
pub(crate) const PACKED_FORMAT: u32 = 2;

/// Since when opaque directories may have the mark for user namespaces in root's store.
pub(crate) const MARKS_FORMAT: u32 = 3;

/// The largest version file that is read.
const VERSION_BYTES_MAX: usize = 64 * 1024;

/// What records, tags and most trees fit into.
const SMALL_BYTES: usize = 8 * 1024;

/// The folders of a store, all made when it is.
const FOLDERS: [&str; 19] = [
    "barriers",
    "blobs",
    "blobs/sha256",
    "collector",
    "containers",
    "containers/names",
    "contexts",
    "exports",
    "history",
    "images",
    "layers",
    "lists",
    "locks",
    "mounts",
    "records",
    "refs",
    "remotes",
    "tmp",
    "volumes",
];

/// What stores did not always have; made before something is written in it.
const LATER_FOLDERS: [&str; 5] = ["builds", "filling", "lent", "lost", "seen"];

/// What a store must know of the process that opens it.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Empty for root; in a user namespace its map as `inside:outside:count,…`.
    pub id_map: String,
    /// Where a test wants the process to die; `None` outside of tests. See [`Store::failpoint`].
    pub failpoint: Option<String>,
    /// How to find out whether layers can be packed; without it none is, and packed ones are unpacked before they are
    /// mounted.
    pub mount_trial: Option<MountTrial>,
}

/// An open store. Clones share one state; any number of processes may have the same store open.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) options: OpenOptions,
    pub(crate) durability: Durability,
    /// Something was written, or used, that no barrier covers yet.
    pub(crate) dirty: AtomicBool,
    /// Before the session, whose file tells of losses.
    pub(crate) losses: Losses,
    /// Before the session, whose folder it works in.
    pub(crate) broom: OnceLock<Broom>,
    pub(crate) session: Mutex<Option<Session>>,
    pub(crate) temp_count: AtomicU64,
    // Behind the session: the lock on its file goes when nobody has it any more, the folder beside it before.
    pub(crate) leases: Leases,
    pub(crate) layers: Mutex<HashMap<Digest, Layer>>,
    pub(crate) worn: Worn,
    pub(crate) boot: OnceLock<String>,
    /// Why packed layers cannot be mounted.
    pub(crate) packed_obstacle: OnceLock<Option<String>>,
    /// What the version file says.
    format: AtomicU32,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.inner.root.display())
    }
}

#[derive(Debug, Deserialize, Serialize)]
struct Version {
    format: u32,
    id_map: String,
}

impl Store {
    /// Opens the store at `root`, which is created when missing. Opening an existing one reads one small file.
    pub fn open(root: &Path, options: OpenOptions) -> Result<Self, StoreError> {
        let root = std::path::absolute(root).at("find the absolute path of", root)?;
        let store = Self { inner: Arc::new(Inner::new(root, options)) };
        let path = store.root().join("version");
        let version = match store.whole_version(&path)? {
            Some(bytes) => bytes,
            None => store.create(&path)?,
        };
        store.check_version(&path, &version)?;
        Ok(store)
    }

    /// What the version file says. One that cannot be read is as good as none in a store that never had a barrier: a power
    /// cut took it, and with it all that could be relied on.
    fn whole_version(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(bytes) = read_small(path, VERSION_BYTES_MAX)? else { return Ok(None) };
        if serde_json::from_slice::<serde_json::Value>(&bytes).is_ok() {
            return Ok(Some(bytes));
        }
        let barriers = self.root().join("barriers");
        let is_there = rustix::fs::lstat(&barriers).absent().at("examine", &barriers)?.is_some();
        let covered = is_there && !names_in(&barriers)?.is_empty();
        Ok(covered.then_some(bytes))
    }

    /// The store's folder, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Whether this store is used from inside a user namespace: `user.overlay.*` instead of `trusted.overlay.*`, and
    /// placeholders instead of devices.
    #[must_use]
    pub fn in_user_namespace(&self) -> bool {
        !self.inner.options.id_map.is_empty()
    }

    /// The id map that the store was opened with.
    #[must_use]
    pub fn id_map(&self) -> &str {
        &self.inner.options.id_map
    }

    /// Makes a folder that stores did not always have, before something is written in it.
    pub(crate) fn later_folder(&self, name: &str) -> Result<(), StoreError> {
        later_folder(self.root(), name).map(drop)
    }

    /// Makes the folders and the version file, of two processes that do so at once only one. None of it is written back:
    /// the first barrier does that, and without one nothing in the store outlives a power cut anyway.
    fn create(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        self.claim_folder()?;
        for folder in FOLDERS {
            let folder = self.root().join(folder);
            fs::create_dir_all(&folder).at("create", &folder)?;
        }
        let lock = self.root().join("locks").join("version");
        let _lock = FileLock::wait(&lock, LockMode::Exclusive)?.removed_on_drop(&lock);
        if let Some(bytes) = self.whole_version(path)? {
            return Ok(bytes);
        }
        // Nothing has to be counted until it has grown.
        Sizes::default().store(self, 0)?;
        let version = json(&Version { format: FIRST_FORMAT, id_map: self.inner.options.id_map.clone() });
        self.write_whole(path, &version)?;
        Ok(version)
    }

    /// A new folder is for us alone. One that is there must be empty, or one that another process just now makes a
    /// store of.
    fn claim_folder(&self) -> Result<(), StoreError> {
        let parent = self.root().parent().unwrap_or(self.root());
        fs::create_dir_all(parent).at("create", parent)?;
        match rustix::fs::mkdir(self.root(), Mode::from_raw_mode(0o700)) {
            Err(rustix::io::Errno::EXIST) => {}
            other => return other.at("create the store", self.root()),
        }
        let ours = |name: &String| {
            let known = [&FOLDERS[..], &LATER_FOLDERS, &["version", "lost+found"]];
            known.iter().any(|names| names.contains(&name.as_str()))
        };
        if let Some(found) = names_in(self.root())?.into_iter().find(|name| !ours(name)) {
            return Err(StoreError::NotAStore { root: self.root().to_owned(), found });
        }
        // Layers have set-id programs, and logs and cache mounts may hold anything: nobody else may look.
        rustix::fs::chmod(self.root(), Mode::from_raw_mode(0o700)).at("set the mode of", self.root())
    }

    /// Before a store gets the first thing of a `format`, programs are locked out that know nothing of it.
    pub(crate) fn admit(&self, format: u32) -> Result<(), StoreError> {
        if self.inner.format.load(Ordering::Relaxed) >= format {
            return Ok(());
        }
        let path = self.root().join("version");
        let lock = self.root().join("locks").join("version");
        let _lock = FileLock::wait(&lock, LockMode::Exclusive)?.removed_on_drop(&lock);
        // Another process may have gone further meanwhile.
        if let Some(bytes) = read_small(&path, VERSION_BYTES_MAX)? {
            self.check_version(&path, &bytes)?;
        }
        if self.inner.format.load(Ordering::Relaxed) < format {
            let version = Version { format, id_map: self.inner.options.id_map.clone() };
            self.write_durably(&path, &json(&version))?;
            self.inner.format.store(format, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The map of ids that the store at `root` was made with; `None` where there is no store, or none that can be read.
    pub fn made_with(root: &Path) -> Option<String> {
        let bytes = read_small(&root.join("version"), VERSION_BYTES_MAX).ok()??;
        serde_json::from_slice(&bytes).ok().map(|version: Version| version.id_map)
    }

    fn check_version(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let damaged = |error: serde_json::Error| StoreError::damaged("the version file", path, error);
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(damaged)?;
        let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if found > u64::from(FORMAT) {
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            return Err(StoreError::NewerFormat { root: self.root().to_owned(), found, known: FORMAT });
        }
        let version: Version = serde_json::from_value(value).map_err(damaged)?;
        let ours = self.inner.options.id_map.clone();
        if version.id_map == ours {
            self.inner.format.store(version.format, Ordering::Relaxed);
            Ok(())
        } else {
            Err(StoreError::OtherIdMap { root: self.root().to_owned(), found: version.id_map, ours })
        }
    }
}

impl Inner {
    fn new(root: PathBuf, options: OpenOptions) -> Self {
        let durability = Durability::new(root.join("barriers"));
        let losses = Losses::new(root.clone());
        Self {
            root,
            options,
            durability,
            dirty: AtomicBool::new(false),
            losses,
            broom: OnceLock::new(),
            session: Mutex::new(None),
            temp_count: AtomicU64::new(0),
            leases: Leases::default(),
            layers: Mutex::new(HashMap::new()),
            worn: Worn::default(),
            boot: OnceLock::new(),
            packed_obstacle: OnceLock::new(),
            format: AtomicU32::new(FIRST_FORMAT),
        }
    }
}

/// The same for whoever has no store.
pub(crate) fn later_folder(root: &Path, name: &str) -> Result<PathBuf, StoreError> {
    let folder = root.join(name);
    match rustix::fs::mkdir(&folder, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(folder),
        Err(error) => Err(error).at("create", &folder),
    }
}

/// JSON of our own types, which cannot fail to be written.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default(); // ok: string keys and no foreign serialisers
    bytes.push(b'\n');
    bytes
}

/// The whole of a small file, `None` when it is not there.
pub(crate) fn read_small(path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, StoreError> {
    use std::io::Read;
    let file = match fs::File::open(path) {
        // The standard type reads into memory that nobody has cleared before.
        Ok(file) => file.into_file(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at("open", path),
    };
    // Most are small: one read, and one that finds the end.
    let mut bytes = Vec::with_capacity(bytes_max.min(SMALL_BYTES));
    (&file).take(bytes.capacity() as u64).read_to_end(&mut bytes).at("read", path)?;
    if bytes.len() == bytes.capacity() {
        let size = file.metadata().at("examine", path)?.len().min(bytes_max as u64 + 1);
        bytes.reserve_exact(usize::try_from(size).unwrap_or(bytes_max).saturating_sub(bytes.len()) + 1);
        file.take((bytes_max as u64 + 1).saturating_sub(bytes.len() as u64))
            .read_to_end(&mut bytes)
            .at("read", path)?;
    }
    if bytes.len() > bytes_max {
        return Err(StoreError::Limit { what: "its size", limit: bytes_max as u64, path: path.to_owned() });
    }
    Ok(Some(bytes))
}
