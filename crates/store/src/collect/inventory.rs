//! What there is in a store: every file that could be collected, how large it is, when it was used, what it leads to.
//!
//! Taken twice for a collection: once beside everybody, and once more alone, when only what has changed since is read.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::Path,
};

use galley_oci::{Digest, Time, digest::Algorithm};
use rustix::fs::{AtFlags, Stat};
use serde::Deserialize;

use super::sizes::Sizes;
use crate::{
    Store, StoreError,
    error::{Absent, At},
    images::names_in,
    layers,
    origins::{REFERENCES_BYTES_MAX, References},
    records,
    store::read_small,
    tags::read_tag,
};

/// One thing of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row<T> {
    /// When it was last used, or written.
    pub used: Time,
    /// How much its removal would free.
    pub bytes: u64,
    /// What else is known of it.
    pub what: T,
    /// Of which file this was read: inode, and the time of its last change.
    pub(crate) file: (u64, Time),
}

/// Things by the digest that names them.
pub type Rows<T> = BTreeMap<Digest, Row<T>>;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRow {
    /// The layer that the step made.
    pub layer: Digest,
    /// When.
    pub created: Time,
    /// The key that its log is named after, when it has one.
    pub log: Option<Digest>,
}

/// What an image leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageRow {
    /// Its layers, lowest first.
    pub layers: Vec<Digest>,
    /// The archives that its layers came in.
    pub blobs: Vec<Digest>,
    /// Those of its layers that came as an archive.
    pub came: Vec<Digest>,
}

/// Everything in a store that could be collected, and what keeps it.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Steps that were finished.
    pub records: Rows<RecordRow>,
    /// Layers that were written as archives, with the blob where one was kept.
    pub exports: Rows<Option<Digest>>,
    /// Images, with and without a name.
    pub images: Rows<ImageRow>,
    /// Layers, with those that hold the bytes of their files where they are elsewhere.
    pub layers: Rows<Vec<Digest>>,
    /// Archives and documents, by SHA-256.
    pub blobs: Rows<()>,
    /// Indexes of build contexts.
    pub contexts: Rows<()>,
    /// What steps printed, by the key of the step.
    pub logs: Rows<()>,
    /// Cache mounts, with their ids.
    pub mounts: Rows<String>,
    /// Images that have a name.
    pub tagged: BTreeSet<Digest>,
    /// Images that containers are made of.
    pub contained: BTreeSet<Digest>,
    /// What living processes use.
    pub leased: HashSet<[u8; 32]>,
}

/// The part of a container's config that keeps its image.
#[derive(Deserialize)]
struct ContainerFile {
    image_id: Digest,
}

impl Inventory {
    /// All bytes of all things.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        fn sum<T>(rows: &Rows<T>) -> u64 {
            rows.values().map(|row| row.bytes).sum()
        }
        sum(&self.records)
            + sum(&self.exports)
            + sum(&self.images)
            + sum(&self.layers)
            + sum(&self.blobs)
            + sum(&self.contexts)
            + sum(&self.logs)
            + sum(&self.mounts)
    }

    /// What keeps things, and no thing. What this process uses keeps nothing.
    pub(super) fn needed(store: &Store) -> Result<Self, StoreError> {
        // Leases before what they are about, as in a round.
        let mut needed = Self { leased: store.leased_by_others()?, ..Self::default() };
        needed.refresh_roots(store)?;
        Ok(needed)
    }

    /// Whether a name, a living process or, unless these do not count, a container needs an image.
    pub(super) fn is_image_needed(&self, id: &Digest, even_of_containers: bool) -> bool {
        let contained = !even_of_containers && self.contained.contains(id);
        contained || self.tagged.contains(id) || self.leased.contains(id.bytes())
    }

    /// Reads what has changed since this was last read: all of it, the first time. What cannot be understood is left out:
    /// it is nothing to anybody.
    pub(crate) fn refresh(&mut self, store: &Store, sizes: &mut Sizes) -> Result<(), StoreError> {
        let root = store.root();
        // What leads to other things before the things: what is made meanwhile is found whole.
        refresh(&mut self.records, &root.join("records"), "", Algorithm::Blake3, |path, stat| {
            Ok(records::read_row(path)?.map(|row| (size(stat), row)))
        })?;
        refresh(&mut self.exports, &root.join("exports"), "", Algorithm::Blake3, |path, stat| {
            Ok(records::read_export_row(path)?.map(|blob| (size(stat), blob)))
        })?;
        self.refresh_images(store)?;
        self.refresh_roots(store)?;
        self.refresh_layers(store)?;
        let plain = |_: &Path, stat: &Stat| Ok(Some((size(stat), ())));
        refresh(&mut self.blobs, &root.join("blobs/sha256"), "", Algorithm::Sha256, plain)?;
        refresh(&mut self.contexts, &root.join("contexts"), "", Algorithm::Blake3, plain)?;
        refresh(&mut self.logs, &root.join("history"), ".log", Algorithm::Blake3, plain)?;
        self.refresh_mounts(root, sizes)
    }

    fn refresh_images(&mut self, store: &Store) -> Result<(), StoreError> {
        refresh(&mut self.images, &store.root().join("images"), "", Algorithm::Sha256, |path, stat| {
            let id = path.file_name().and_then(|name| digest(Algorithm::Sha256, name.to_str()?));
            let image = id.and_then(|id| store.read_image(&id).ok().flatten());
            let row = image.map(|image| {
                let came = image.layers.iter().filter(|layer| layer.blob.is_some());
                ImageRow {
                    layers: image.layers.iter().map(|layer| layer.layer).collect(),
                    blobs: image
                        .layers
                        .iter()
                        .filter_map(|layer| Some(layer.blob.as_ref()?.digest))
                        .collect(),
                    came: came.map(|layer| layer.layer).collect(),
                }
            });
            // One that cannot be read has no layers: what it needs nobody can tell.
            Ok(Some((size(stat), row.unwrap_or_default())))
        })
    }

    /// What keeps things: names and containers.
    fn refresh_roots(&mut self, store: &Store) -> Result<(), StoreError> {
        self.tagged.clear();
        let folder = store.root().join("refs");
        for name in names_in(&folder)? {
            let tag = read_tag(&folder.join(name))?;
            self.tagged.extend(tag.iter().flat_map(|tag| tag.images()));
        }
        self.contained.clear();
        for container in store.containers()? {
            // One that is being removed is passed over.
            let Ok(config) = container.config() else { continue };
            self.contained.extend(serde_json::from_slice::<ContainerFile>(&config).map(|file| file.image_id));
        }
        Ok(())
    }

    fn refresh_layers(&mut self, store: &Store) -> Result<(), StoreError> {
        let folder = store.root().join("layers");
        let names = names_in(&folder)?;
        let ids: BTreeMap<Digest, &String> =
            names.iter().filter_map(|name| Some((digest(Algorithm::Blake3, name)?, name))).collect();
        self.layers.retain(|id, _| ids.contains_key(id));
        for (id, name) in ids {
            let path = folder.join(name);
            // Whoever gives a layer bytes renews its info first.
            let info = rustix::fs::lstat(path.join("info")).absent().at("examine", &path)?;
            let file = info.as_ref().map_or((0, Time::default()), identity);
            if self.layers.get(&id).is_some_and(|known| known.file == file) {
                continue;
            }
            let Some(bytes) = layers::bytes_in(&path)? else { continue };
            let references = read_small(&path.join("refs"), REFERENCES_BYTES_MAX)?;
            let what = references.and_then(|bytes| References::decode(&bytes)).unwrap_or_default().layers;
            self.layers.insert(id, Row { used: file.1, bytes, what, file });
        }
        Ok(())
    }

    fn refresh_mounts(&mut self, root: &Path, sizes: &mut Sizes) -> Result<(), StoreError> {
        let folder = root.join("mounts");
        self.mounts.clear();
        for name in names_in(&folder)? {
            let Some(id) = digest(Algorithm::Blake3, &name) else { continue };
            let path = folder.join(&name);
            let Some(stat) = rustix::fs::lstat(path.join("id")).absent().at("examine", &path)? else {
                continue;
            };
            let what = read_small(&path.join("id"), MOUNT_ID_BYTES_MAX)?.unwrap_or_default();
            let what = String::from_utf8_lossy(&what).into_owned();
            let file = identity(&stat);
            let bytes = sizes.mount(&path, &name, file.1)?;
            if let Some(bytes) = bytes {
                self.mounts.insert(id, Row { used: file.1, bytes, what, file });
            }
        }
        Ok(())
    }
}

const MOUNT_ID_BYTES_MAX: usize = 64 * 1024;

/// Reads those files of a folder that changed, and forgets those that are gone.
fn refresh<T>(
    rows: &mut Rows<T>,
    folder: &Path,
    suffix: &str,
    algorithm: Algorithm,
    read: impl Fn(&Path, &Stat) -> Result<Option<(u64, T)>, StoreError>,
) -> Result<(), StoreError> {
    let mut known = std::mem::take(rows);
    for name in names_in(folder)? {
        let Some(id) = name.strip_suffix(suffix).and_then(|name| digest(algorithm, name)) else { continue };
        let path = folder.join(&name);
        let stat = rustix::fs::statat(rustix::fs::CWD, &path, AtFlags::SYMLINK_NOFOLLOW).absent();
        let Some(stat) = stat.at("examine", &path)? else { continue };
        let file = identity(&stat);
        if let Some(row) = known.remove(&id).filter(|row| row.file == file) {
            rows.insert(id, row);
        } else if let Some((bytes, what)) = read(&path, &stat)? {
            rows.insert(id, Row { used: file.1, bytes, what, file });
        }
    }
    Ok(())
}

fn identity(stat: &Stat) -> (u64, Time) {
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    (stat.st_ino, Time { seconds: stat.st_mtime, nanoseconds })
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// The digest that a file is named after.
pub(crate) fn digest(algorithm: Algorithm, name: &str) -> Option<Digest> {
    format!("{}:{name}", algorithm.name()).parse().ok()
}
