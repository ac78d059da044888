//! Blobs: raw bytes under their SHA-256, as registries and layouts have them.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use fs_err as fs;
use galley_oci::{Digest, Sha256};

use crate::{Store, StoreError, error::At, records::note_use, store::read_small};

/// The largest blob that is read into memory: manifests and configs. Layers are streamed.
pub const SMALL_BLOB_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A blob being written. Dropped before [`commit`](Self::commit), it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    path: PathBuf,
    file: fs::File,
    hasher: Sha256,
    size: u64,
}

impl BlobWriter {
    /// Makes the blob visible under its digest, which must be `expected` when that is given. Gives digest and size.
    pub fn commit(self, expected: Option<&Digest>) -> Result<(Digest, u64), StoreError> {
        let found = self.hasher.clone().finish();
        if let Some(&expected) = expected.filter(|&expected| *expected != found) {
            return Err(StoreError::DigestMismatch { expected, found });
        }
        // An older file of this name may be cut off by a power cut, so the new one always replaces it.
        let path = self.store.blob_path(&found);
        self.store.lease(&found)?;
        rustix::fs::rename(&self.path, &path).at("rename a blob to", &path)?;
        self.store.mark_dirty();
        Ok((found, self.size))
    }

    /// The bytes written so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // After a commit nothing has this name.
        let _ = rustix::fs::unlink(&self.path);
    }
}

impl Store {
    /// Where the blob is, or would be.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root().join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// The size of a blob, `None` when it is not there. One of another size than expected was cut off by a power cut; one
    /// that may not have reached the disk is written again as long as it can be read, or it is none.
    #[must_use]
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        self.lease(digest).ok()?;
        let path = self.blob_path(digest);
        let stat = rustix::fs::stat(&path).ok()?;
        if self.is_in_doubt(&path) {
            // Where it came from may not be asked again: what was made with it counts as good.
            self.renew_blob(digest, &path).ok()?;
        }
        u64::try_from(stat.st_size).ok()
    }

    fn renew_blob(&self, digest: &Digest, path: &Path) -> Result<(), StoreError> {
        let mut writer = self.blob_writer()?;
        let mut file = fs::File::open(path).at("open", path)?;
        io::copy(&mut file, &mut writer).at("write again", path)?;
        writer.commit(Some(digest)).map(drop)
    }

    /// A small blob, checked against its digest.
    pub fn read_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.blob_path(digest);
        self.lease(digest)?;
        let Some(bytes) = read_small(&path, SMALL_BLOB_BYTES_MAX)? else { return Ok(None) };
        let found = Digest::sha256(&bytes);
        if found == *digest {
            Ok(Some(bytes))
        } else {
            Err(StoreError::damaged("the blob", &path, format!("its digest is {found}")))
        }
    }

    /// A blob for streaming, not checked; `None` when it is not there.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<fs::File>, StoreError> {
        self.lease(digest)?;
        let path = self.blob_path(digest);
        note_use(&path);
        open_present(&path)
    }

    /// Stores small bytes under their SHA-256.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::sha256(bytes);
        if self.blob_size(&digest) == Some(bytes.len() as u64) && self.read_blob(&digest).is_ok() {
            return Ok(digest);
        }
        self.write_whole(&self.blob_path(&digest), bytes)?;
        self.mark_dirty();
        Ok(digest)
    }

    /// Removes the blob if its bytes are not those that it is named after; says whether it did.
    pub fn remove_damaged_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.blob_path(digest);
        let Some(mut file) = self.open_blob(digest)? else { return Ok(false) };
        let mut hasher = Hasher(Sha256::new());
        io::copy(&mut file, &mut hasher).at("read", &path)?;
        if hasher.0.finish() == *digest { Ok(false) } else { remove_present(&path) }
    }

    /// Starts a blob of any size.
    pub fn blob_writer(&self) -> Result<BlobWriter, StoreError> {
        let path = self.temp_path("blob")?;
        let file = fs::File::create_new(&path).at("create", &path)?;
        Ok(BlobWriter { store: self.clone(), path, file, hasher: Sha256::new(), size: 0 })
    }
}

struct Hasher(Sha256);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a file that may be missing.
pub(crate) fn open_present(path: &Path) -> Result<Option<fs::File>, StoreError> {
    match fs::File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("open", path),
    }
}

/// Removes a file that may be missing; says whether it was there.
pub(crate) fn remove_present(path: &Path) -> Result<bool, StoreError> {
    match rustix::fs::unlink(path) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error).at("remove", path),
    }
}
