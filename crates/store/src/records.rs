//! Records: what the store remembers of finished steps and of finished exports.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use galley_oci::{Digest, Time, digest::Algorithm};
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    RecordRow, Store, StoreError,
    collect::inventory::digest,
    durability::Stamp,
    error::At,
    lock::{FileLock, LockMode},
    store::{json, read_small},
};

/// The name of something remembered: a digest over all that went into it.
pub type Key = Digest;

/// The largest record that is read.
const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// A use is noted when the last one is older than this: garbage collection needs days, and a no-op build no writes.
const USE_RESOLUTION: Duration = Duration::from_secs(60 * 60);

/// What is remembered of a finished step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The layer that the step made.
    pub layer: Digest,
    /// When it finished.
    pub created: Time,
    /// How long it took.
    pub duration_ms: u64,
    /// The file that has its output, relative to the store.
    pub log: Option<String>,
    /// What went into the key, for people: how this differs from another record's says why a step was executed again.
    pub made_of: Option<String>,
    /// The boot that it was written under. Filled in when a record is read; ignored when one is written.
    pub boot: Option<String>,
}

/// What is remembered of a layer that was written as an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// SHA-256 of the archive, uncompressed.
    pub diff_id: Digest,
    /// The compressed blob, when one was made.
    pub blob: Option<ExportBlob>,
}

/// The compressed form of an exported layer. Its media type follows from the key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ExportBlob {
    /// SHA-256 of the blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

#[derive(Deserialize, Serialize)]
struct RecordFile {
    layer: Digest,
    created: (i64, u32),
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    made_of: Option<String>,
    stamp: Stamp,
}

#[derive(Deserialize, Serialize)]
struct ExportFile {
    diff_id: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob: Option<ExportBlob>,
    stamp: Stamp,
}

/// A held lock on a key: whoever has it makes what the key names, the others wait and find it.
#[derive(Debug)]
pub struct KeyLock {
    _lock: FileLock,
}

impl Store {
    /// What is remembered under `key`. A record that cannot be read, or that a power cut may have overtaken, is none.
    pub fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let path = self.record_path(key);
        let Some(file) = read_stamped::<RecordFile>(&path)? else { return Ok(None) };
        if !self.is_whole(&file.stamp) {
            return Ok(None);
        }
        note_use(&path);
        let created = Time { seconds: file.created.0, nanoseconds: file.created.1 };
        let boot = Some(file.stamp.boot);
        let RecordFile { layer, duration_ms, log, made_of, .. } = file;
        Ok(Some(Record { layer, created, duration_ms, log, made_of, boot }))
    }

    /// Remembers `record` under `key`, instead of what was there.
    pub fn put_record(&self, key: &Key, record: &Record) -> Result<(), StoreError> {
        let file = RecordFile {
            layer: record.layer,
            created: (record.created.seconds, record.created.nanoseconds),
            duration_ms: record.duration_ms,
            log: record.log.clone(),
            made_of: record.made_of.clone(),
            stamp: self.stamp(),
        };
        self.mark_dirty();
        self.commit_point("record-rename", || self.write_whole(&self.record_path(key), &json(&file)))
    }

    /// The export that is remembered under `key`.
    pub fn export(&self, key: &Key) -> Result<Option<Export>, StoreError> {
        let path = self.root().join("exports").join(key.hex());
        let Some(file) = read_stamped::<ExportFile>(&path)? else { return Ok(None) };
        if !self.is_whole(&file.stamp) {
            return Ok(None);
        }
        note_use(&path);
        if let Some(blob) = &file.blob {
            self.lease(&blob.digest)?;
        }
        Ok(Some(Export { diff_id: file.diff_id, blob: file.blob }))
    }

    /// Remembers `export` under `key`.
    pub fn put_export(&self, key: &Key, export: &Export) -> Result<(), StoreError> {
        let file = ExportFile { diff_id: export.diff_id, blob: export.blob.clone(), stamp: self.stamp() };
        self.mark_dirty();
        self.write_whole(&self.root().join("exports").join(key.hex()), &json(&file))
    }

    /// Waits until nobody else works on `key`.
    pub fn lock_key(&self, key: &Key) -> Result<KeyLock, StoreError> {
        let path = self.root().join("locks").join(key.hex());
        let lock = FileLock::wait(&path, LockMode::Exclusive)?;
        Ok(KeyLock { _lock: lock.removed_on_drop(&path) })
    }

    /// `None` when somebody else works on `key`.
    pub fn try_lock_key(&self, key: &Key) -> Result<Option<KeyLock>, StoreError> {
        let path = self.root().join("locks").join(key.hex());
        let lock = FileLock::attempt_now(&path, LockMode::Exclusive)?;
        Ok(lock.map(|lock| KeyLock { _lock: lock.removed_on_drop(&path) }))
    }

    fn record_path(&self, key: &Key) -> PathBuf {
        self.root().join("records").join(key.hex())
    }
}

/// What a collector wants to know of a record.
pub(crate) fn read_row(path: &Path) -> Result<Option<RecordRow>, StoreError> {
    Ok(read_stamped_row(path)?.map(|(row, _)| row))
}

/// The same, and what vouches for it.
pub(crate) fn read_stamped_row(path: &Path) -> Result<Option<(RecordRow, Stamp)>, StoreError> {
    let file = read_stamped::<RecordFile>(path)?;
    Ok(file.map(|RecordFile { layer, created: (seconds, nanoseconds), log, stamp, .. }| {
        let log = log.as_deref().and_then(|log| log.strip_prefix("history/")?.strip_suffix(".log"));
        let log = log.and_then(|name| digest(Algorithm::Blake3, name));
        (RecordRow { layer, created: Time { seconds, nanoseconds }, log }, stamp)
    }))
}

/// The blob that an export leads to.
pub(crate) fn read_export_row(path: &Path) -> Result<Option<Option<Digest>>, StoreError> {
    Ok(read_stamped_export(path)?.map(|(blob, _)| blob.map(|blob| blob.digest)))
}

/// The same, and what vouches for it.
pub(crate) fn read_stamped_export(path: &Path) -> Result<Option<(Option<ExportBlob>, Stamp)>, StoreError> {
    let file = read_stamped::<ExportFile>(path)?;
    Ok(file.map(|file| (file.blob, file.stamp)))
}

/// A file that is only worth something when it is whole: one that cannot be understood counts as missing.
pub(crate) fn read_stamped<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let bytes = read_small(path, RECORD_BYTES_MAX)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// A record's time of use is its file's mtime. Best effort: a store on a read-only disk can still be looked at.
pub(crate) fn note_use(path: &Path) {
    let modified = fs_err::metadata(path).and_then(|metadata| metadata.modified());
    // A time to come is one of before the clock was set back: it would be the youngest for ever.
    let off = |modified| SystemTime::now().duration_since(modified).unwrap_or_else(|ahead| ahead.duration());
    if modified.is_ok_and(|modified| off(modified) > USE_RESOLUTION) {
        let set = |nanoseconds| Timespec { tv_sec: 0, tv_nsec: nanoseconds };
        let times = Timestamps { last_access: set(UTIME_OMIT), last_modification: set(UTIME_NOW) };
        let _ = rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::empty()).at("touch", path);
    }
}
