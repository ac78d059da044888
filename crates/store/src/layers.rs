//! Layers: a tree, and its bytes as a directory, packed, by reference to other layers, or known to this process only.

use std::{
    collections::HashSet,
    fmt,
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use fs_err as fs;
use galley_oci::{Digest, Entry, Kind, Tree};
use serde::{Deserialize, Serialize};

use crate::{
    Busy, Content, Store, StoreError, TempDir, UnpackOptions,
    collect::sizes::disk_usage,
    durability::Stamp,
    error::{Absent, At},
    files::{self, conform, copier::Source, materialise, open, unpack::pack},
    images::names_in,
    origins::{Origin, Origins, REFERENCES_BYTES_MAX, References, Resolved, path_of},
    packed::Packed,
    records::read_stamped,
    store::{MARKS_FORMAT, PACKED_FORMAT, json, read_small},
    temp::rename_new,
};

/// The largest encoded tree that is read: about ten million entries.
const TREE_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// A layer of the store. Clones share the decoded tree.
#[derive(Clone)]
pub struct Layer(Arc<Inner>);

struct Inner {
    id: Digest,
    integrity: Digest,
    folder: PathBuf,
    tree: OnceLock<Arc<Tree>>,
    seen_diff: AtomicBool,
    references: OnceLock<Option<Arc<References>>>,
    packed: OnceLock<Packed>,
    /// See [`Info`]. Of another process's change it may know nothing, which does no harm.
    marked_for_users: AtomicBool,
    /// See [`Info`], likewise.
    packed_left: AtomicBool,
    /// Its bytes came with its tree, in this process.
    hashed_here: AtomicBool,
    /// What its directory was made in, which may not be over: overlayfs does not want it in two mounts then.
    busy: OnceLock<Busy>,
    /// Origins that only this process knows.
    origins: Mutex<Option<Arc<Resolved>>>,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layer({})", self.id())
    }
}

/// The `info` file of a layer.
#[derive(Deserialize, Serialize)]
struct Info {
    integrity: Digest,
    stamp: Stamp,
    /// What `diff` takes on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// The opaque directories of `diff` have the mark for user namespaces, in a store of root's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    marked_for_users: bool,
    /// There is a `diff` made of `packed`, which is to go as soon as nobody uses it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    packed_left: bool,
}

/// What a file takes on disk is counted in these.
const BLOCK_BYTES: u64 = 4096;

/// What the files of a tree take on disk, each of several names once.
fn bytes_of(tree: &Tree) -> u64 {
    let mut groups = HashSet::new();
    let sizes = tree.entries().iter().map(|entry| match entry.kind {
        Kind::File { links: Some(group), .. } if !groups.insert(group) => 0,
        Kind::File { size, .. } => size.next_multiple_of(BLOCK_BYTES),
        Kind::Directory { .. } => BLOCK_BYTES,
        _ => 0,
    });
    sizes.sum()
}

/// What the folder of a layer takes on disk, by what it says of itself; none when it is gone.
pub(crate) fn bytes_in(folder: &Path) -> Result<Option<u64>, StoreError> {
    if rustix::fs::lstat(folder).absent().at("examine", folder)?.is_none() {
        return Ok(None);
    }
    let mut bytes = 0;
    for name in names_in(folder)? {
        let path = folder.join(&name);
        let Some(stat) = rustix::fs::lstat(&path).absent().at("examine", &path)? else { continue };
        if name == "diff" {
            let info = read_stamped::<Info>(&folder.join("info"))?;
            bytes += info.and_then(|info| info.bytes).unwrap_or_else(|| disk_usage(&path));
        } else {
            bytes += u64::try_from(stat.st_size).unwrap_or(0);
        }
    }
    Ok(Some(bytes))
}

impl Layer {
    /// BLAKE3 of the tree without times.
    #[must_use]
    pub fn id(&self) -> &Digest {
        &self.0.id
    }

    /// BLAKE3 of the tree with times.
    #[must_use]
    pub fn integrity(&self) -> &Digest {
        &self.0.integrity
    }

    /// The tree, read and checked when first asked for.
    pub fn tree(&self) -> Result<Arc<Tree>, StoreError> {
        if let Some(tree) = self.0.tree.get() {
            return Ok(Arc::clone(tree));
        }
        let path = self.0.folder.join("tree");
        let damaged = |reason: String| StoreError::damaged("the tree", &path, reason);
        let bytes = read_small(&path, TREE_BYTES_MAX)?.ok_or_else(|| damaged("it vanished".to_owned()))?;
        let found = Digest::blake3(&bytes);
        if found != self.0.integrity {
            return Err(damaged(format!("its digest is {found} instead of {}", self.0.integrity)));
        }
        let tree = Arc::new(Tree::decode_own(bytes).map_err(|error| damaged(error.to_string()))?);
        Ok(Arc::clone(self.0.tree.get_or_init(|| tree)))
    }

    fn new(folder: PathBuf, id: Digest, integrity: Digest) -> Self {
        Self(Arc::new(Inner {
            id,
            integrity,
            folder,
            tree: OnceLock::new(),
            seen_diff: AtomicBool::new(false),
            references: OnceLock::new(),
            packed: OnceLock::new(),
            marked_for_users: AtomicBool::new(false),
            packed_left: AtomicBool::new(false),
            hashed_here: AtomicBool::new(false),
            busy: OnceLock::new(),
            origins: Mutex::new(None),
        }))
    }

    pub(crate) fn diff(&self) -> PathBuf {
        self.0.folder.join("diff")
    }

    /// A directory that was seen once is there as long as anything uses the layer: a step on five hundred layers must not
    /// look for each again.
    pub(crate) fn has_diff(&self) -> bool {
        let seen = &self.0.seen_diff;
        if !seen.load(Ordering::Relaxed) {
            seen.store(rustix::fs::lstat(self.diff()).is_ok(), Ordering::Relaxed);
        }
        seen.load(Ordering::Relaxed)
    }

    pub(crate) fn packed_path(&self) -> PathBuf {
        self.0.folder.join("packed")
    }

    /// As many bytes as processes have worked on the packed one.
    pub(crate) fn uses_path(&self) -> PathBuf {
        self.0.folder.join("uses")
    }

    /// Whether files of it were read already, from the packed one.
    fn is_open_packed(&self) -> bool {
        self.0.packed.get().is_some()
    }

    pub(crate) fn is_packed(&self) -> bool {
        self.is_open_packed() || rustix::fs::lstat(self.packed_path()).is_ok()
    }

    /// Whether its bytes depend on no other layer and no process.
    #[must_use]
    pub fn owns_bytes(&self) -> bool {
        self.has_diff() || self.is_packed()
    }

    pub(crate) fn packed(&self) -> Result<&Packed, StoreError> {
        if let Some(packed) = self.0.packed.get() {
            return Ok(packed);
        }
        let packed = Packed::open(&self.packed_path())?;
        Ok(self.0.packed.get_or_init(|| packed))
    }

    /// The directory that it has for itself.
    pub(crate) fn own_directory(&self) -> Option<PathBuf> {
        self.has_diff().then(|| self.diff())
    }

    /// Its bytes are its own now.
    fn forget_origins(&self) -> Result<(), StoreError> {
        crate::blobs::remove_present(&self.0.folder.join("refs"))?;
        *self.0.origins.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    /// That a file of it is not what its digest says: somebody changed it in the build context, or the store is damaged.
    #[must_use]
    pub fn other_content(&self, path: PathBuf) -> StoreError {
        if self.known_origins().is_some_and(|origins| origins.is_outside()) {
            return StoreError::FileChanged { path };
        }
        let place = self.0.folder.join(path);
        StoreError::damaged("the content of", &place, "it has another digest than when it was written")
    }

    /// Whether this process has read all its files, and found their digests, just before they became files of the store,
    /// which nobody changes: whoever reads them here need not hash them again.
    #[must_use]
    pub fn was_hashed_here(&self) -> bool {
        let own = self.0.hashed_here.load(Ordering::Relaxed);
        own || self.known_origins().is_some_and(|origins| origins.were_hashed_here())
    }

    /// Says that somebody outside may have one of its files open for writing: what this process has found is worth nothing.
    pub fn mistrust(&self) {
        self.0.hashed_here.store(false, Ordering::Relaxed);
    }

    pub(crate) fn known_origins(&self) -> Option<Arc<Resolved>> {
        self.0.origins.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The references on disk. They never change once they are there, but may come later and may go for a directory.
    pub(crate) fn references(&self) -> Result<Option<Arc<References>>, StoreError> {
        if let Some(Some(references)) = self.0.references.get() {
            return Ok(Some(Arc::clone(references)));
        }
        let path = self.0.folder.join("refs");
        let Some(bytes) = read_small(&path, REFERENCES_BYTES_MAX)? else { return Ok(None) };
        let references = References::decode(&bytes);
        let references =
            references.ok_or_else(|| StoreError::damaged("the list of references", &path, "checksum"))?;
        let references = Arc::new(references);
        let _ = self.0.references.set(Some(Arc::clone(&references)));
        Ok(Some(references))
    }

    /// Reads a layer's `info`; the stamp is for the caller to judge.
    pub(crate) fn load(folder: PathBuf, id: &Digest) -> Result<Option<(Self, Stamp)>, StoreError> {
        let info = read_stamped::<Info>(&folder.join("info"))?;
        Ok(info.map(|info| {
            let layer = Self::new(folder, *id, info.integrity);
            layer.set_marked_for_users(info.marked_for_users);
            layer.set_packed_left(info.packed_left);
            (layer, info.stamp)
        }))
    }

    fn set_busy(&self, temp: &TempDir) {
        if let Some(busy) = temp.busy() {
            let _ = self.0.busy.set(busy.clone());
        }
    }

    fn is_marked_for_users(&self) -> bool {
        self.0.marked_for_users.load(Ordering::Relaxed)
    }

    fn set_marked_for_users(&self, marked: bool) {
        self.0.marked_for_users.store(marked, Ordering::Relaxed);
    }

    fn is_packed_left(&self) -> bool {
        self.0.packed_left.load(Ordering::Relaxed)
    }

    fn set_packed_left(&self, left: bool) {
        self.0.packed_left.store(left, Ordering::Relaxed);
    }
}

/// A layer as overlayfs can have it below others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lower {
    /// A directory.
    Directory(PathBuf),
    /// A file that is an EROFS file system.
    Packed(PathBuf),
}

/// What a commit brings along.
enum Bytes {
    Directory(TempDir),
    Packed(TempDir),
    Origins(Resolved),
}

/// The files of an archive that are to be a layer.
#[derive(Debug)]
pub struct NewLayer {
    temp: TempDir,
    tree: Tree,
    packed: bool,
}

impl Store {
    /// Unpacks the archive of a layer, in the form that is best here. Stops after the end of the archive, so that a reader
    /// that hashes must read the rest itself.
    pub fn unpack_layer(&self, reader: &mut dyn Read) -> Result<NewLayer, StoreError> {
        let (temp, options) = (self.temp_dir("import")?, UnpackOptions::layer());
        let packed = self.mounts_packed();
        let tree = if packed {
            pack(reader, &temp.packed(), &options)?
        } else {
            self.unpack(reader, &temp, &options)?
        };
        Ok(NewLayer { temp, tree, packed })
    }

    /// Makes what was unpacked a layer, by renaming it. A layer that the store has already stays as it is.
    pub fn commit_new(&self, new: NewLayer) -> Result<Layer, StoreError> {
        let NewLayer { temp, tree, packed } = new;
        if packed { self.commit(tree, Bytes::Packed(temp)) } else { self.commit_dir(temp, tree) }
    }

    /// Makes the packed layer in `temp` the layer `tree`.
    pub(crate) fn commit_packed(&self, tree: Tree, temp: TempDir) -> Result<Layer, StoreError> {
        self.commit(tree, Bytes::Packed(temp))
    }

    /// The layer `id`, when its tree is in the store; its bytes may be elsewhere, see [`has_bytes`](Self::has_bytes).
    pub fn layer(&self, id: &Digest) -> Result<Option<Layer>, StoreError> {
        if let Some(layer) = self.cached_layer(id) {
            return Ok(Some(layer));
        }
        self.lease(id)?;
        let Some((layer, stamp)) = Layer::load(self.layer_path(id), id)? else { return Ok(None) };
        Ok(self.is_whole(&stamp).then(|| self.cache_layer(layer)))
    }

    /// Makes `temp/diff` the directory of the layer `tree`, by renaming it. What the tree does not list is removed
    /// first and what it lists beyond the directory (whiteouts, directories above) is added, so that one layer means
    /// one directory. A layer that the store has already stays as it is, its times too.
    pub fn commit_dir(&self, temp: TempDir, tree: Tree) -> Result<Layer, StoreError> {
        self.commit(tree, Bytes::Directory(temp))
    }

    /// Makes a layer of `tree` whose bytes stay where they are.
    pub fn commit_origins(&self, tree: Tree, origins: Origins) -> Result<Layer, StoreError> {
        let origins = origins.resolve(self, &tree)?;
        self.commit(tree, Bytes::Origins(origins))
    }

    /// Whether the content of every file of `layer` can be read.
    #[must_use]
    pub fn has_bytes(&self, layer: &Layer) -> bool {
        layer.owns_bytes() || layer.known_origins().is_some() || self.has_references(layer)
    }

    /// Gives `layer` bytes of its own, so that it depends on no other file and no other layer.
    pub fn own_bytes(&self, layer: &Layer) -> Result<(), StoreError> {
        if !layer.owns_bytes() {
            self.pack_own(layer)?;
        }
        if layer.owns_bytes() { Ok(()) } else { self.make_directory(layer) }
    }

    fn make_directory(&self, layer: &Layer) -> Result<(), StoreError> {
        let _lock = self.lock_key(layer.id())?;
        if layer.has_diff() {
            return Ok(());
        }
        let temp = self.temp_dir("materialise")?;
        let tree = layer.tree()?;
        materialise::materialise(&tree, &temp.diff(), self.dialect(), &|index| {
            self.open_origin(layer, index)
        })?;
        self.attach_directory(layer, &temp)?;
        layer.forget_origins()
    }

    /// Writes the files of `layer` into the new directory `into`: a copy that may be changed, such as a cache mount
    /// starts with.
    pub fn copy_files(&self, layer: &Layer, into: &Path) -> Result<(), StoreError> {
        let tree = layer.tree()?;
        materialise::materialise(&tree, into, self.dialect(), &|index| self.open_origin(layer, index))
    }

    /// `layer` for an overlay mount; its bytes become its own first, and no other mount writes to it any more.
    pub fn lower(&self, layer: &Layer) -> Result<Lower, StoreError> {
        layer.0.busy.get().into_iter().for_each(Busy::wait);
        self.own_bytes(layer)?;
        if !layer.has_diff() && layer.is_packed() && self.mounts_packed() {
            return Ok(Lower::Packed(layer.packed_path()));
        }
        if layer.is_packed_left() {
            self.note_packed_left(layer);
        }
        self.directory(layer).map(Lower::Directory)
    }

    /// The files of `layer` as a directory, which is made when there is none.
    pub fn directory(&self, layer: &Layer) -> Result<PathBuf, StoreError> {
        if !layer.has_diff() {
            self.make_directory(layer)?;
        }
        if layer.is_marked_for_users() {
            self.mark_for_root(layer)?;
        }
        Ok(layer.diff())
    }

    /// Opens the content of the file that is entry `index` of the layer's tree, wherever it is.
    pub fn open_file(&self, layer: &Layer, index: usize) -> Result<Content, StoreError> {
        let tree = layer.tree()?;
        let unknown = StoreError::NoSuchEntry { layer: *layer.id(), index };
        let entry = tree.entry(index).ok_or(unknown)?;
        match entry.kind {
            Kind::File { size: 0, .. } => open::empty().map(Content::from),
            _ if !layer.is_open_packed() && layer.has_diff() => {
                open::inside(&layer.diff(), &entry.path).map(Content::from)
            }
            Kind::File { size, .. } if layer.is_packed() => {
                layer.packed()?.content(&layer.packed_path(), &entry.path, size)
            }
            _ => Ok(self.open_origin(layer, index)?.content),
        }
    }

    pub(crate) fn open_origin(&self, layer: &Layer, index: usize) -> Result<Source, StoreError> {
        match self.origin(layer, index)? {
            Some(Origin::Layer { layer: from, index }) => {
                let path = from.tree()?.entry(index).map(|entry| path_of(&entry.path));
                let path = from.diff().join(path.unwrap_or_default());
                Ok(Source { content: self.open_file(&from, index)?, path, immutable: true })
            }
            Some(Origin::Path(path)) => {
                Ok(Source { content: open::plain(&path)?.into(), path, immutable: false })
            }
            Some(Origin::Bytes(bytes)) => Ok(Source {
                content: open::memory(&bytes)?.into(),
                path: PathBuf::from("a heredoc"),
                immutable: false,
            }),
            None => {
                Ok(Source { content: self.open_file(layer, index)?, path: layer.diff(), immutable: true })
            }
        }
    }

    /// Where else the bytes of a file are; `None` when they are the layer's own.
    pub(crate) fn origin(&self, layer: &Layer, index: usize) -> Result<Option<Origin>, StoreError> {
        if layer.owns_bytes() {
            return Ok(None);
        }
        if let Some(origin) = layer.known_origins().and_then(|origins| origins.get(index).cloned()) {
            return Ok(Some(origin));
        }
        let references = match layer.references()? {
            Some(references) => references,
            // Another process has just given it its own.
            None if layer.owns_bytes() => return Ok(None),
            None => return Err(StoreError::NoBytes { layer: *layer.id() }),
        };
        let no_entry = StoreError::NoSuchEntry { layer: *layer.id(), index };
        let (id, index) = references.get(index).ok_or(no_entry)?;
        let layer = self.layer(id)?.ok_or(StoreError::NoBytes { layer: *id })?;
        Ok(Some(Origin::Layer { layer, index }))
    }

    fn has_references(&self, layer: &Layer) -> bool {
        let Ok(Some(references)) = layer.references() else { return false };
        references
            .layers
            .iter()
            .all(|id| self.layer(id).ok().flatten().is_some_and(|layer| layer.owns_bytes()))
    }

    fn commit(&self, tree: Tree, bytes: Bytes) -> Result<Layer, StoreError> {
        let id = tree.layer_id();
        loop {
            if let Some(layer) = self.layer(&id)? {
                self.adopt(&layer, &tree, bytes)?;
                return Ok(layer);
            }
            if let Bytes::Directory(temp) = &bytes {
                conform::conform(&temp.diff(), &tree, self.dialect())?;
            }
            let temp = self.temp_dir("layer")?;
            let (integrity, marked) = self.write_layer(temp.path(), &tree, &bytes)?;
            if !self.rename_layer(temp.path(), &id)? {
                self.take_back(temp.path(), &bytes)?;
                continue;
            }
            let layer = Layer::new(self.layer_path(&id), id, integrity);
            let _ = layer.0.tree.set(Arc::new(tree));
            layer.set_marked_for_users(marked);
            layer.0.hashed_here.store(matches!(bytes, Bytes::Directory(_)), Ordering::Relaxed);
            match bytes {
                Bytes::Directory(temp) => layer.set_busy(&temp),
                Bytes::Packed(_) => {}
                Bytes::Origins(origins) => {
                    layer.0.origins.lock().unwrap_or_else(PoisonError::into_inner).replace(Arc::new(origins));
                }
            }
            return Ok(self.cache_layer(layer));
        }
    }

    /// Lays out a whole layer folder at `folder`: its integrity, and whether it is marked for users.
    fn write_layer(&self, folder: &Path, tree: &Tree, bytes: &Bytes) -> Result<(Digest, bool), StoreError> {
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, bytes).at("write", &path)
        };
        let encoded = tree.encode();
        let integrity = Digest::blake3(&encoded);
        write("tree", &encoded)?;
        let mut marked_for_users = false;
        match bytes {
            Bytes::Directory(temp) => {
                marked_for_users = self.admit_marks(&temp.diff(), tree)?;
                rustix::fs::rename(temp.diff(), folder.join("diff")).at("rename", temp.diff())?;
            }
            Bytes::Packed(temp) => {
                self.admit(PACKED_FORMAT)?;
                rustix::fs::rename(temp.packed(), folder.join("packed")).at("rename", temp.packed())?;
            }
            Bytes::Origins(origins) => {
                if let Some(references) = origins.references() {
                    write("refs", &references.encode())?;
                }
            }
        }
        let (stamp, bytes) = (self.stamp(), Some(bytes_of(tree)));
        let info = Info { integrity, stamp, bytes, marked_for_users, packed_left: false };
        write("info", &json(&info))?;
        Ok((integrity, marked_for_users))
    }

    /// Puts a layer folder in its place; `false` when another process was first.
    fn rename_layer(&self, from: &Path, id: &Digest) -> Result<bool, StoreError> {
        let to = self.layer_path(id);
        self.mark_dirty();
        if self.commit_point("layer-rename", || rename_new(from, &to))? {
            return Ok(true);
        }
        // What is there is either new and good, or not to be trusted: left over from a power cut, or what a disk did not take.
        let _lock = self.lock_key(id)?;
        if self.layer(id)?.is_some() {
            return Ok(false);
        }
        // Who has begun before the disk failed may have it mounted; of what was before a power cut nobody has anything.
        let lost = Layer::load(to.clone(), id)?.is_some_and(|(_, stamp)| self.is_lost(&stamp));
        if lost && self.leased_by_others()?.contains(id.bytes()) {
            return Err(StoreError::LostInUse { layer: *id });
        }
        let old = self.temp_dir("untrusted")?;
        rustix::fs::rename(&to, old.path().join("layer")).at("remove", &to)?;
        rustix::fs::rename(from, &to).at("rename a layer to", &to)?;
        Ok(true)
    }

    /// Another process committed the same layer first: our bytes may still be of use.
    fn take_back(&self, folder: &Path, bytes: &Bytes) -> Result<(), StoreError> {
        match bytes {
            Bytes::Directory(temp) => rustix::fs::rename(folder.join("diff"), temp.diff()),
            Bytes::Packed(temp) => rustix::fs::rename(folder.join("packed"), temp.packed()),
            Bytes::Origins(_) => Ok(()),
        }
        .at("rename", folder)
    }

    /// Gives a known layer the bytes of its twin, if it has none.
    fn adopt(&self, layer: &Layer, twin: &Tree, bytes: Bytes) -> Result<(), StoreError> {
        if self.has_bytes(layer) {
            return Ok(());
        }
        match bytes {
            Bytes::Directory(temp) => {
                conform::conform(&temp.diff(), twin, self.dialect())?;
                let _lock = self.lock_key(layer.id())?;
                materialise::restamp(&temp.diff(), twin, &*layer.tree()?)?;
                self.attach_directory(layer, &temp)
            }
            Bytes::Packed(temp) => self.adopt_packed(layer, twin, &temp),
            Bytes::Origins(origins) => self.attach_origins(layer, origins),
        }
    }

    /// The times in a packed layer cannot be changed, so one that has others becomes a directory.
    fn adopt_packed(&self, layer: &Layer, twin: &Tree, temp: &TempDir) -> Result<(), StoreError> {
        let _lock = self.lock_key(layer.id())?;
        let tree = layer.tree()?;
        if twin == &*tree {
            return self.place_packed(layer, temp);
        }
        let (path, packed) = (temp.packed(), Packed::open(&temp.packed())?);
        materialise::materialise(&tree, &temp.diff(), self.dialect(), &|index| {
            let entry = tree.entries().get(index);
            let Some(Entry { path: entry, kind: Kind::File { size, .. }, .. }) = entry else {
                return Err(StoreError::NoSuchEntry { layer: *layer.id(), index });
            };
            let content = packed.content(&path, entry, *size)?;
            Ok(Source { content, path: path.clone(), immutable: true })
        })?;
        self.attach_directory(layer, temp)
    }

    /// Makes the packed layer in `temp` that of `layer`, unless it has got bytes of its own meanwhile.
    pub(crate) fn attach_packed(&self, layer: &Layer, temp: &TempDir) -> Result<(), StoreError> {
        let _lock = self.lock_key(layer.id())?;
        if layer.owns_bytes() {
            return Ok(());
        }
        self.place_packed(layer, temp)?;
        layer.forget_origins()
    }

    fn place_packed(&self, layer: &Layer, temp: &TempDir) -> Result<(), StoreError> {
        self.admit(PACKED_FORMAT)?;
        self.restamp_info(layer)?;
        let (from, to) = (temp.packed(), layer.packed_path());
        self.commit_point("layer-rename", || rename_new(&from, &to)).map(drop)
    }

    fn attach_origins(&self, layer: &Layer, origins: Resolved) -> Result<(), StoreError> {
        if let Some(references) = origins.references() {
            self.restamp_info(layer)?;
            self.write_whole(&layer.0.folder.join("refs"), &references.encode())?;
        }
        layer.0.origins.lock().unwrap_or_else(PoisonError::into_inner).replace(Arc::new(origins));
        Ok(())
    }

    /// The stamp is renewed first: should a power cut take the new bytes, the whole layer is not trusted.
    fn attach_directory(&self, layer: &Layer, temp: &TempDir) -> Result<(), StoreError> {
        layer.set_busy(temp);
        layer.set_marked_for_users(self.admit_marks(&temp.diff(), &*layer.tree()?)?);
        self.restamp_info(layer)?;
        self.commit_point("layer-rename", || rename_new(&temp.diff(), &layer.diff())).map(drop)
    }

    /// Whether the directory `diff` of `tree` is marked for users, which not all programs know of.
    fn admit_marks(&self, diff: &Path, tree: &Tree) -> Result<bool, StoreError> {
        let marked = !self.in_user_namespace() && files::opaque::is_for_users(diff, tree)?;
        if marked {
            self.admit(MARKS_FORMAT)?;
        }
        Ok(marked)
    }

    /// Before root mounts it. Whoever may not do that leaves it: an overlay in a user namespace minds the marks it has.
    fn mark_for_root(&self, layer: &Layer) -> Result<(), StoreError> {
        let _lock = self.lock_key(layer.id())?;
        if files::opaque::mark_for_root(&layer.diff(), &*layer.tree()?)? {
            layer.set_marked_for_users(false);
            self.restamp_info(layer)?;
        }
        Ok(())
    }

    fn restamp_info(&self, layer: &Layer) -> Result<(), StoreError> {
        self.mark_dirty();
        let bytes = layer.0.tree.get().map(|tree| bytes_of(tree));
        let info = Info {
            integrity: *layer.integrity(),
            stamp: self.stamp(),
            bytes,
            marked_for_users: layer.is_marked_for_users(),
            packed_left: layer.is_packed_left(),
        };
        self.write_whole(&layer.0.folder.join("info"), &json(&info))
    }

    /// Notes that `layer` is about to get a directory beside its packed form, and what that takes on disk. The stamp stays as
    /// it is.
    pub(crate) fn note_unpacked(&self, layer: &Layer) -> Result<(), StoreError> {
        let path = layer.0.folder.join("info");
        let Some(info) = read_stamped::<Info>(&path)? else { return Ok(()) };
        let info = Info { bytes: Some(bytes_of(&*layer.tree()?)), packed_left: true, ..info };
        layer.set_packed_left(true);
        self.write_durably(&path, &json(&info))
    }

    /// Notes that its packed form is gone. Should a power cut take that, it is looked for once more.
    pub(crate) fn note_packed_gone(&self, layer: &Layer) -> Result<(), StoreError> {
        let path = layer.0.folder.join("info");
        let Some(info) = read_stamped::<Info>(&path)? else { return Ok(()) };
        layer.set_packed_left(false);
        self.write_whole(&path, &json(&Info { packed_left: false, ..info }))
    }

    pub(crate) fn layer_path(&self, id: &Digest) -> PathBuf {
        self.root().join("layers").join(id.hex())
    }

    /// How overlay whiteouts, opaque directories and devices are written here.
    pub(crate) fn dialect(&self) -> files::Dialect {
        files::Dialect::new(self.in_user_namespace())
    }

    fn cached_layer(&self, id: &Digest) -> Option<Layer> {
        self.inner.layers.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn cache_layer(&self, layer: Layer) -> Layer {
        let mut layers = self.inner.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.entry(*layer.id()).or_insert(layer).clone()
    }
}
