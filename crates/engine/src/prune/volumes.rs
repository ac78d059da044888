//! Volumes: who uses them, how large they are, and which go.

use std::{collections::BTreeMap, path::PathBuf};

use fs_err as fs;
use galley_oci::Time;
use galley_store::Store;

use super::{Filter, failed};
use crate::{
    Error,
    container::{self, MountFrom},
};

/// Hex digits of a name that nobody has chosen.
const ANONYMOUS_DIGITS: usize = 64;

/// A volume.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub path: PathBuf,
    /// How many containers use it.
    pub links: usize,
    /// When its directory was made, where the file system tells.
    pub created: Option<Time>,
}

impl Volume {
    /// Whether nobody has named it.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.name.len() == ANONYMOUS_DIGITS && self.name.bytes().all(|digit| digit.is_ascii_hexdigit())
    }
}

/// All volumes, by name.
pub fn volumes_in_store(store: &Store) -> Result<Vec<Volume>, Error> {
    let mut links: BTreeMap<String, usize> = BTreeMap::new();
    for container in container::list(store)? {
        for mount in container.config.mounts {
            if let MountFrom::Volume(name) | MountFrom::Anonymous(name) = mount.source {
                *links.entry(name).or_default() += 1;
            }
        }
    }
    let names = store.volumes().map_err(failed)?;
    let volumes = names.into_iter().map(|name| {
        let path = store.root().join("volumes").join(&name);
        let created = fs::metadata(&path).and_then(|metadata| metadata.created()).ok();
        let created = created.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let created = created.and_then(|age| i64::try_from(age.as_secs()).ok()).map(Time::from_seconds);
        Volume { links: links.get(&name).copied().unwrap_or_default(), name, path, created }
    });
    Ok(volumes.collect())
}

/// Removes volumes that no container uses: those that nobody has named, with `all` the others too. Gives their names and
/// how much they held.
pub fn volumes(store: &Store, all: bool, filter: &Filter) -> Result<(Vec<String>, u64), Error> {
    let mut unused = volumes_in_store(store)?;
    unused.retain(|volume| {
        volume.links == 0 && (all || volume.is_anonymous()) && filter.takes(volume.created, &BTreeMap::new())
    });
    let names: Vec<String> = unused.into_iter().map(|volume| volume.name).collect();
    let (mut removed, mut bytes) = (Vec::new(), 0);
    for (name, volume) in container::take_unused(store, &names)? {
        bytes += volume.bytes();
        volume.delete().map_err(failed)?;
        removed.push(name);
    }
    Ok((removed, bytes))
}
