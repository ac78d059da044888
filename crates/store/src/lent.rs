//! Cache mounts that are elsewhere for a while: where nothing can be mounted, their directory is in the root of a step.
//!
//! A note says so before it leaves, so that a process that dies loses nothing: whoever wants the mount next, or removes what
//! the process left in `tmp/`, brings it back.

use std::{
    ffi::{CStr, OsStr},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use galley_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError,
    blobs::remove_present,
    error::{Absent, At},
    files::walk::{Found, Visit, Visitor, walk},
    images::names_in,
    lock::{FileLock, LockMode},
    store::{json, read_small},
    temp::rename_new,
};

/// The folder of notes.
const FOLDER: &str = "lent";

/// The largest note that is read.
const NOTE_BYTES_MAX: usize = 4096;

/// What is written down of a directory.
#[derive(Debug, Deserialize, Serialize)]
struct Note {
    /// Where it belongs, from the store's folder on.
    home: String,
    /// The folder in `tmp/` that it is somewhere in.
    session: String,
    /// It stays the same wherever the directory is moved.
    inode: u64,
}

/// A directory that may be moved into the folder of this process. Dropped, it is home again, wherever it was left there.
#[derive(Debug)]
pub struct Lent {
    store: Store,
    home: PathBuf,
}

impl Drop for Lent {
    fn drop(&mut self) {
        // What cannot be done now, the next process does.
        let _ = self.store.recall(&self.home);
    }
}

impl Store {
    /// Notes that the directory `home` of a cache mount, which the caller has for itself, is about to be moved into the folder
    /// of this process. `None` when it is none.
    pub fn lend(&self, home: &Path) -> Result<Option<Lent>, StoreError> {
        if !home.starts_with(self.root().join("mounts")) {
            return Ok(None);
        }
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let inode = rustix::fs::lstat(home).at("examine", home)?.st_ino;
        let session = self.begin_session()?.file_name().map(Path::new).map(text).unwrap_or_default();
        let note = Note { home: text(home.strip_prefix(self.root()).unwrap_or(home)), session, inode };
        self.later_folder(FOLDER)?;
        self.write_whole(&self.note_path(home), &json(&note))?;
        Ok(Some(Lent { store: self.clone(), home: home.to_owned() }))
    }

    /// Brings the directory `home` back, if it was lent. Whoever has its lock may do that. `false` while something has it
    /// that outlives who borrowed it.
    pub(crate) fn recall(&self, home: &Path) -> Result<bool, StoreError> {
        let note = self.note_path(home);
        if self.has_borrower(&note)? {
            return Ok(false);
        }
        self.bring_back(&note, |_| true).map(|()| true)
    }

    /// Whether the process that has borrowed the directory is there, or anything that it has handed the lock of its folder
    /// to: the lock of the mount is free when it is killed, while its step may still write.
    fn has_borrower(&self, note: &Path) -> Result<bool, StoreError> {
        let Some(bytes) = read_small(note, NOTE_BYTES_MAX)? else { return Ok(false) };
        let Ok(Note { session, .. }) = serde_json::from_slice(&bytes) else { return Ok(false) };
        let folder = self.root().join("tmp").join(session);
        if folder == self.begin_session()? {
            return Ok(false);
        }
        let lock = folder.with_extension("lock");
        if FileLock::existing(&lock, LockMode::Shared, false)?.is_some() {
            return Ok(false);
        }
        // Whoever removes what is left takes the file away last.
        Ok(rustix::fs::lstat(&lock).absent().at("examine the lock", &lock)?.is_some())
    }

    /// Brings back what a dead process had borrowed.
    pub(crate) fn recall_all(&self, session: &OsStr) -> Result<(), StoreError> {
        let folder = self.root().join(FOLDER);
        if rustix::fs::lstat(&folder).absent().at("examine", &folder)?.is_none() {
            return Ok(());
        }
        let of_session = |note: &Note| *session == *note.session;
        names_in(&folder)?.iter().try_for_each(|name| self.bring_back(&folder.join(name), of_session))
    }

    fn note_path(&self, home: &Path) -> PathBuf {
        let home = home.strip_prefix(self.root()).unwrap_or(home);
        self.root().join(FOLDER).join(Digest::blake3(home.as_os_str().as_encoded_bytes()).hex())
    }

    fn bring_back(&self, path: &Path, wanted: impl Fn(&Note) -> bool) -> Result<(), StoreError> {
        if rustix::fs::lstat(path).absent().at("examine", path)?.is_none() {
            return Ok(());
        }
        // Two that look for the same directory would find it nowhere.
        let lock = self.root().join("locks").join(FOLDER);
        let _lock = FileLock::wait(&lock, LockMode::Exclusive)?.removed_on_drop(&lock);
        let Some(bytes) = read_small(path, NOTE_BYTES_MAX)? else { return Ok(()) };
        // Half a note is of a power cut, which took more than that.
        if let Ok(note) = serde_json::from_slice::<Note>(&bytes) {
            if !wanted(&note) {
                return Ok(());
            }
            self.find_and_return(&note)?;
        }
        remove_present(path).map(drop)
    }

    /// Moves the directory home, unless it is there already or the step has removed it.
    fn find_and_return(&self, note: &Note) -> Result<(), StoreError> {
        let home = self.root().join(&note.home);
        let folder = self.root().join("tmp").join(&note.session);
        let is_there = |path: &Path| Ok(rustix::fs::lstat(path).absent().at("examine", path)?.is_some());
        if is_there(&home)? || !is_there(&folder)? {
            return Ok(());
        }
        let mut search = Search { inode: note.inode, found: None };
        walk(&folder, &mut search)?;
        match search.found {
            Some(found) => rename_new(&found, &home).map(drop),
            None => Ok(()),
        }
    }
}

/// Looks for one directory.
struct Search {
    inode: u64,
    found: Option<PathBuf>,
}

impl Visitor for Search {
    fn consider(&mut self, _: &[u8], is_directory: bool) -> Visit {
        if is_directory && self.found.is_none() { Visit::Report } else { Visit::Skip }
    }

    fn directory(&mut self, found: &Found<'_>, _: &OwnedFd, _: Visit) -> Result<(), StoreError> {
        if found.stat.stx_ino == self.inode {
            self.found = Some(found.host_path());
        }
        Ok(())
    }

    fn leave(&mut self) {}

    fn file(&mut self, _: &Found<'_>, _: &Arc<OwnedFd>, _: &CStr) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
