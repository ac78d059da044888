//! One layer of a foreign image: its blob is kept as it came, its files are unpacked once.

use std::{
    io::{self, Read, Write},
    time::Instant,
};

use galley_oci::{Blake3, Descriptor, Digest};
use galley_store::{BlobWriter, Key, Layer, Record, Store, StoreError};

use super::{broken, stream, transfer::Transfer};
use crate::{
    Cancel, Error, ErrorKind, Fetcher, clock, events::Direction, held::Elsewhere, ports::BlobSource,
    steps::files::store_error,
};

/// The name under which the store remembers what an archive was unpacked to.
fn key(diff_id: &Digest) -> Key {
    Blake3::of("galley.unpacked.v1").digest(diff_id).finish()
}

/// The layer that the archive `diff_id` was unpacked to before.
pub fn unpacked(store: &Store, diff_id: &Digest) -> Result<Option<Layer>, Error> {
    let Some(record) = store.record(&key(diff_id)).map_err(store_error)? else { return Ok(None) };
    let layer = store.layer(&record.layer).map_err(store_error)?;
    Ok(layer.filter(|layer| store.has_bytes(layer)))
}

/// Fetches and unpacks the archive at `place`, unless somebody else has just done so.
pub fn fetch(fetcher: &Fetcher<'_>, place: &Elsewhere) -> Result<Layer, Error> {
    let (store, diff_id) = (fetcher.store, &place.diff_id);
    let _lock = crate::build::lock(store, &key(diff_id), fetcher.stop)?;
    if let Some(layer) = unpacked(store, diff_id)? {
        return Ok(layer);
    }
    let start = Instant::now();
    let layer = unpack(fetcher, place)?;
    let duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let record = Record {
        layer: *layer.id(),
        created: clock::now(),
        duration_ms,
        log: None,
        made_of: None,
        boot: None,
    };
    store.put_record(&key(diff_id), &record).map_err(store_error)?;
    Ok(layer)
}

/// A blob that the store has may be one that a power cut damaged. Then it is fetched again.
fn unpack(fetcher: &Fetcher<'_>, place: &Elsewhere) -> Result<Layer, Error> {
    let (store, blob) = (fetcher.store, &place.blob.digest);
    let once = || {
        let layer = stream::unpack(fetcher, place)?;
        store.commit_new(layer).map_err(store_error)
    };
    let known = store.blob_size(blob).is_some();
    let error = match once() {
        Err(error) if known && error.kind == ErrorKind::Input => error,
        other => return other,
    };
    if store.remove_damaged_blob(blob).map_err(store_error)? { once() } else { Err(error) }
}

/// The blob as it came, so that an image exported again has the same layers.
pub fn keep_blob(fetcher: &Fetcher<'_>, blob: &Descriptor, source: &dyn BlobSource) -> Result<(), Error> {
    if fetcher.store.blob_size(&blob.digest) == Some(blob.size) {
        return Ok(());
    }
    let name = source.name();
    let mut kept = Kept::open(fetcher, &name, blob, source)?;
    io::copy(&mut kept, &mut io::sink()).map_err(|error| explain(fetcher.stop, &name, error))?;
    kept.commit()
}

/// A blob on its way here. What is read from it has been written to the store, where it is visible once
/// [`commit`](Self::commit) has found it to be what was asked for.
pub(super) struct Kept<'a> {
    blob: &'a Descriptor,
    name: &'a str,
    inner: Transfer<'a, Box<dyn Read + Send>>,
    writer: BlobWriter,
}

impl<'a> Kept<'a> {
    pub(super) fn open(
        fetcher: &Fetcher<'a>,
        name: &'a str,
        blob: &'a Descriptor,
        source: &dyn BlobSource,
    ) -> Result<Self, Error> {
        let writer = fetcher.store.blob_writer().map_err(store_error)?;
        let inner = Transfer::new(source.open(blob)?, fetcher.events, name, blob, Direction::Pull);
        Ok(Self { blob, name, inner, writer })
    }

    pub(super) fn commit(self) -> Result<(), Error> {
        let (expected, found) = (self.blob.size, self.writer.size());
        if found != expected {
            let why = format!("blob {} ends after {found} of {expected} bytes", self.blob.digest);
            return Err(broken(self.name, why));
        }
        self.writer.commit(Some(&self.blob.digest)).map_err(|error| match error {
            StoreError::DigestMismatch { .. } => broken(self.name, error),
            other => store_error(other),
        })?;
        self.inner.done();
        Ok(())
    }
}

impl Read for Kept<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if self.writer.size() + count as u64 > self.blob.size {
            let why = format!("blob {} has more than its {} bytes", self.blob.digest, self.blob.size);
            return Err(io::Error::other(why));
        }
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Store, format!("cannot keep a layer of {}", self.name)).because(error)
        };
        self.writer.write_all(&buffer[..count]).map_err(|error| io::Error::other(failed(error)))?;
        Ok(count)
    }
}

/// Who is to blame for a stream that failed.
pub(super) fn explain(stop: &Cancel, name: &str, error: io::Error) -> Error {
    if stop.is_cancelled() {
        return Error::new(ErrorKind::Cancelled, "cancelled");
    }
    // A source that has more to say than that it failed wraps its own error.
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => broken(name, error),
    }
}
