//! Removing what a plan says: out of sight first, by renames in an order that leaves everything visible whole, then from
//! the disk. A process that dies in between leaves garbage under `tmp/`, which the next one sweeps.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use galley_oci::{Digest, Time};

use super::{
    inventory::Inventory,
    plan::{Keep, Kind, Object, Plan, Policy},
};
use crate::{
    Store, StoreError, TempDir,
    blobs::remove_present,
    error::{Absent, At},
    images::names_in,
    lock::{FileLock, LockMode},
    remove_tree,
};

/// Removes images; gives those that were there.
pub(super) fn images(store: &Store, ids: Vec<Digest>) -> Result<Vec<Digest>, StoreError> {
    let mut removed = Vec::new();
    for id in ids {
        if store.commit_point("collect-image", || remove_present(&store.image_path(&id)))? {
            removed.push(id);
        }
    }
    Ok(removed)
}

/// What is on its way out.
pub(super) struct Removal<'a> {
    store: &'a Store,
    temp: TempDir,
    count: usize,
    pub(super) objects: Vec<Object>,
    pub(super) records: usize,
}

impl<'a> Removal<'a> {
    pub(super) fn new(store: &'a Store) -> Result<Self, StoreError> {
        Ok(Self { store, temp: store.temp_dir("collected")?, count: 0, objects: Vec::new(), records: 0 })
    }

    /// Out of sight: what leads to something before it.
    pub(super) fn hide(
        &mut self,
        plan: &Plan,
        inventory: &Inventory,
        policy: &Policy,
    ) -> Result<(), StoreError> {
        let root = self.store.root();
        for key in &plan.records {
            self.store
                .commit_point("collect-record", || remove_present(&root.join("records").join(key.hex())))?;
            // A step that runs now writes its log.
            if inventory.records.get(key).is_some_and(|record| record.what.log.is_some()) {
                self.hide_log(key)?;
            }
        }
        for key in &plan.exports {
            self.store
                .commit_point("collect-export", || remove_present(&root.join("exports").join(key.hex())))?;
        }
        self.records = plan.records.len() + plan.exports.len();
        for object in &plan.objects {
            if self.hide_object(object)? {
                self.objects.push(object.clone());
            }
        }
        if policy.all && policy.keep == Keep::Cache(0) {
            self.forget_addresses(policy.unused_since)?;
        }
        Ok(())
    }

    /// From the disk.
    pub(super) fn delete(self) -> Result<(), StoreError> {
        self.store.commit_point("collect-delete", || remove_tree(self.temp.path()))
    }

    /// Whether it went: what is in use stays.
    fn hide_object(&mut self, object: &Object) -> Result<bool, StoreError> {
        let root = self.store.root();
        let hex = object.id.hex();
        match object.kind {
            Kind::Image => {
                let path = root.join("images").join(hex);
                self.store.commit_point("collect-image", || remove_present(&path))
            }
            Kind::Layer => self.hide_path("collect-layer", &root.join("layers").join(hex)),
            Kind::Blob => self.hide_path("collect-blob", &self.store.blob_path(&object.id)),
            Kind::Context => remove_present(&root.join("contexts").join(hex)),
            Kind::Log => self.hide_log(&object.id),
            Kind::Mount => self.hide_mount(&root.join("mounts").join(hex)),
        }
    }

    /// A log is written by whoever holds the lock on its key.
    fn hide_log(&self, key: &Digest) -> Result<bool, StoreError> {
        let Some(_lock) = self.store.try_lock_key(key)? else { return Ok(false) };
        remove_present(&self.store.root().join("history").join(format!("{}.log", key.hex())))
    }

    /// The directories of a cache mount that nobody uses; the folder with the locks stays.
    fn hide_mount(&mut self, folder: &Path) -> Result<bool, StoreError> {
        let mut any = false;
        for name in names_in(folder)?.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            let lock = FileLock::attempt_now(&folder.join(format!("{name}.lock")), LockMode::Exclusive)?;
            if lock.is_some() {
                any |= self.hide_path("collect-mount", &folder.join(name))?;
            }
        }
        Ok(any)
    }

    fn hide_path(&mut self, point: &str, path: &Path) -> Result<bool, StoreError> {
        self.count += 1;
        let to: PathBuf = self.temp.path().join(self.count.to_string());
        let renamed = self.store.commit_point(point, || rustix::fs::rename(path, &to)).absent();
        Ok(renamed.at("remove", path)?.is_some())
    }

    /// What names and addresses meant. A name of the store keeps what its registry said: its digest.
    fn forget_addresses(&self, unused_since: Option<Time>) -> Result<(), StoreError> {
        let root = self.store.root();
        let named: BTreeSet<String> = names_in(&root.join("refs"))?.into_iter().collect();
        for folder in ["remotes", "seen"] {
            let folder = root.join(folder);
            if rustix::fs::lstat(&folder).is_err() {
                continue;
            }
            for name in names_in(&folder)?.iter().filter(|name| !named.contains(*name)) {
                let path = folder.join(name);
                let Some(stat) = rustix::fs::lstat(&path).absent().at("examine", &path)? else { continue };
                if unused_since.is_none_or(|since| stat.st_mtime < since.seconds) {
                    remove_present(&path)?;
                }
            }
        }
        Ok(())
    }
}
