//! `system df` and `buildx du`: what takes how much, and what of it could go.

use std::collections::{BTreeMap, BTreeSet};

use galley_oci::{Digest, Reference, Time};
use galley_store::{Inventory, Object, ObjectKind, Store, objects};

use super::{Volume, failed, volumes_in_store};
use crate::{Error, container, container::Container, images};

/// An image, and what it takes.
#[derive(Clone, Debug)]
pub struct ImageUsage {
    /// Its id.
    pub id: Digest,
    /// One of its names.
    pub reference: Option<Reference>,
    /// When it was made.
    pub created: Time,
    /// All of its layers.
    pub size: u64,
    /// Those that other images have too.
    pub shared: u64,
    /// How many containers are made of it.
    pub containers: usize,
}

/// A container, and what it wrote.
#[derive(Debug)]
pub struct ContainerUsage {
    /// The container.
    pub container: Container,
    /// What it wrote.
    pub size: u64,
}

/// A volume, and what is in it.
#[derive(Clone, Debug)]
pub struct VolumeUsage {
    /// The volume.
    pub volume: Volume,
    /// What is in it.
    pub size: u64,
}

/// What an object of the cache is, in BuildKit's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheKind {
    /// The layer of a step, or an archive of one.
    Regular,
    /// The index of a build context.
    LocalSource,
    /// A cache mount.
    CacheMount,
    /// Documents and logs.
    Internal,
}

impl CacheKind {
    /// BuildKit's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::LocalSource => "source.local",
            Self::CacheMount => "exec.cachemount",
            Self::Internal => "internal",
        }
    }

    /// The kinds of objects that have this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Vec<ObjectKind>> {
        Some(match name {
            "regular" => vec![ObjectKind::Layer, ObjectKind::Blob],
            "source.local" => vec![ObjectKind::Context],
            "exec.cachemount" => vec![ObjectKind::Mount],
            "internal" => vec![ObjectKind::Log],
            _ => return None,
        })
    }
}

/// One object of the build cache.
#[derive(Clone, Debug)]
pub struct CacheItem {
    /// What it is.
    pub kind: CacheKind,
    /// The object.
    pub object: Object,
}

/// Everything that `system df` tells.
#[derive(Debug, Default)]
pub struct Usage {
    /// The images.
    pub images: Vec<ImageUsage>,
    /// What all images take together: layers of several counted once.
    pub images_size: u64,
    /// What would be free without the images that no container is made of.
    pub images_reclaimable: u64,
    /// The containers.
    pub containers: Vec<ContainerUsage>,
    /// The volumes.
    pub volumes: Vec<VolumeUsage>,
    /// The build cache: what no image needs.
    pub cache: Vec<CacheItem>,
}

/// The build cache: what could be made or fetched again and no image needs, least recently used first.
pub fn cache(store: &Store) -> Result<Vec<CacheItem>, Error> {
    let inventory = store.inventory().map_err(failed)?;
    Ok(cache_of(&inventory))
}

fn cache_of(inventory: &Inventory) -> Vec<CacheItem> {
    let of_images: BTreeSet<Digest> = inventory
        .images
        .values()
        .flat_map(|row| row.what.layers.iter().chain(&row.what.blobs))
        .copied()
        .collect();
    let cache = objects(inventory).into_iter().filter(|object| !of_images.contains(&object.id));
    let cache = cache.filter_map(|object| Some(CacheItem { kind: kind(object.kind)?, object }));
    let mut cache: Vec<CacheItem> = cache.collect();
    cache.sort_by_key(|item| (item.object.used, item.object.id));
    cache
}

const fn kind(kind: ObjectKind) -> Option<CacheKind> {
    match kind {
        ObjectKind::Image => None,
        ObjectKind::Layer | ObjectKind::Blob => Some(CacheKind::Regular),
        ObjectKind::Mount => Some(CacheKind::CacheMount),
        ObjectKind::Context => Some(CacheKind::LocalSource),
        ObjectKind::Log => Some(CacheKind::Internal),
    }
}

/// Counts everything.
pub fn usage(store: &Store) -> Result<Usage, Error> {
    let inventory = store.inventory().map_err(failed)?;
    let mut usage = Usage { cache: cache_of(&inventory), ..Usage::default() };
    for container in container::list(store)? {
        let folder = &container.folder;
        let size = store.disk_usage(&folder.upper()) + store.disk_usage(&folder.root());
        usage.containers.push(ContainerUsage { container, size });
    }
    for volume in volumes_in_store(store)? {
        let size = store.disk_usage(&volume.path);
        usage.volumes.push(VolumeUsage { volume, size });
    }
    usage.count_images(store, &inventory)?;
    Ok(usage)
}

impl Usage {
    fn count_images(&mut self, store: &Store, inventory: &Inventory) -> Result<(), Error> {
        let size = |id: &Digest| inventory.layers.get(id).map_or(0, |row| row.bytes);
        let mut holders: BTreeMap<Digest, Vec<bool>> = BTreeMap::new();
        let names: BTreeMap<Digest, Reference> = store
            .whole_tags()
            .map_err(failed)?
            .into_iter()
            .flat_map(|tag| tag.images().iter().map(|id| (*id, tag.reference.clone())).collect::<Vec<_>>())
            .collect();
        let used: Vec<Digest> = self.containers.iter().map(|usage| usage.container.config.image_id).collect();
        for image in inventory.images.iter() {
            let layers: BTreeSet<&Digest> = image.1.what.layers.iter().collect();
            for layer in layers {
                holders.entry(*layer).or_default().push(used.contains(image.0));
            }
        }
        self.images_size = holders.keys().map(size).sum();
        let free = holders.iter().filter(|(_, used)| !used.contains(&true));
        self.images_reclaimable = free.map(|(layer, _)| size(layer)).sum();
        for image in store.images().map_err(failed)? {
            let layers: BTreeSet<Digest> = image.layers.iter().map(|layer| layer.layer).collect();
            let shared = layers.iter().filter(|layer| holders.get(layer).is_some_and(|all| all.len() > 1));
            self.images.push(ImageUsage {
                id: image.id,
                reference: names.get(&image.id).cloned(),
                created: images::created(&image),
                size: layers.iter().map(size).sum(),
                shared: shared.map(size).sum(),
                containers: used.iter().filter(|id| **id == image.id).count(),
            });
        }
        Ok(())
    }
}
