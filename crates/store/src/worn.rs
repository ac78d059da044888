//! Packed layers that builds run on again and again become directories.
//!
//! Every mount of a packed layer is a file system of its own: the kernel reads its inodes again and copies its files into a
//! cache of their own, which go with the mount. What it knows of a directory stays. A layer that is worked on now and
//! then had better be packed, for that costs nothing when it comes; one that is worked on often is unpacked once, at the end of
//! a command, when nobody waits for it any more. docs/internals/speed.md has the figures.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use galley_oci::Digest;
use rustix::fs::{Mode, OFlags};

use crate::{
    Layer, Store, StoreError, blobs::remove_present, error::At, files::materialise, temp::rename_durably,
};

/// So many processes work on a layer before it is unpacked: who edits and builds has done so four times soon, and a machine
/// that begins with an empty store never does.
const USES_MAX: u64 = 4;

/// How long the packed form waits for processes that are about to open it; then it stays beside the directory.
const PATIENCE: Duration = Duration::from_millis(50);

/// The packed layers that this process has worked on, and how often that was done on this machine. One whose packed form could
/// not be removed, because somebody else used it, counts as used often.
#[derive(Debug, Default)]
pub(crate) struct Worn {
    layers: Mutex<HashMap<Digest, (Layer, u64)>>,
}

impl Store {
    /// Counts, once, that this process has worked on `layer` so long that it could have gained by a directory.
    pub fn count_use(&self, layer: &Layer) {
        if layer.has_diff() || !layer.is_packed() || !self.mounts_packed() {
            return;
        }
        let mut layers = self.inner.worn.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.entry(*layer.id()).or_insert_with(|| (layer.clone(), counted(layer)));
    }

    /// Notes that `layer` has been unpacked, and that its packed form is to go.
    pub(crate) fn note_packed_left(&self, layer: &Layer) {
        let mut layers = self.inner.worn.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.entry(*layer.id()).or_insert_with(|| (layer.clone(), u64::MAX));
    }

    /// Unpacks the layers that were used often, this process being one of those that did. It takes as long as it takes
    /// to write their files; for the end of a command. A process that dies meanwhile has done nothing.
    pub fn unpack_worn(&self) -> Result<(), StoreError> {
        let mut layers = self.inner.worn.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let worn = layers.drain().map(|(_, worn)| worn).filter(|(_, uses)| *uses >= USES_MAX);
        let worn: Vec<_> = worn.collect();
        drop(layers);
        worn.iter().try_for_each(|(layer, _)| self.unpack_packed(layer))
    }

    /// The directory is written back before it has its name, so what the layer's stamp says stays true.
    fn unpack_packed(&self, layer: &Layer) -> Result<(), StoreError> {
        // Another process is at it.
        let Some(_lock) = self.try_lock_key(layer.id())? else { return Ok(()) };
        if layer.has_diff() {
            return self.remove_packed(layer);
        }
        let temp = self.temp_dir("unpack")?;
        let open = |index| self.open_origin(layer, index);
        materialise::materialise(&*layer.tree()?, &temp.diff(), self.dialect(), &open)?;
        self.sync_all()?;
        self.note_unpacked(layer)?;
        self.commit_point("layer-rename", || rename_durably(&temp.diff(), &layer.diff()))?;
        self.remove_packed(layer)
    }

    /// Unless somebody else uses the layer, who may have looked already which form it has. Then `info` says that it is still
    /// there, and whoever uses the layer next tries again.
    fn remove_packed(&self, layer: &Layer) -> Result<(), StoreError> {
        let is_used = || Ok(self.leased_by_others()?.contains(layer.id().bytes()));
        // To be alone makes others wait: not for nothing.
        if is_used()? {
            return Ok(());
        }
        let Some(_turn) = self.try_collector_turn()? else { return Ok(()) };
        let Some(_alone) = self.alone(PATIENCE)? else { return Ok(()) };
        if is_used()? {
            return Ok(());
        }
        remove_present(&layer.packed_path())?;
        self.note_packed_gone(layer)
    }
}

/// One more; how often it is now. Where that cannot be written, it stays packed.
fn counted(layer: &Layer) -> u64 {
    let path = layer.uses_path();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC;
    let counted = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o644)).and_then(|file| {
        rustix::io::write(&file, b"+")?;
        rustix::fs::fstat(&file)
    });
    counted.at("write", &path).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0))
}
