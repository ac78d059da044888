//! One layer of a foreign image: its blob is kept as it came, its files are unpacked once.

use std::{
    io::{self, Read},
    time::Instant,
};

use galley_oci::{Blake3, Descriptor, Digest, Sha256, compress};
use galley_store::{Key, Layer, Record, Store, UnpackOptions};

use super::{broken, transfer::Transfer};
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
    let _lock = lock(fetcher, &key(diff_id))?;
    if let Some(layer) = unpacked(store, diff_id)? {
        return Ok(layer);
    }
    let start = Instant::now();
    let layer = unpack(fetcher, place)?;
    let duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let record = Record { layer: *layer.id(), created: clock::now(), duration_ms, log: None, boot: None };
    store.put_record(&key(diff_id), &record).map_err(store_error)?;
    Ok(layer)
}

/// Waits until nobody else unpacks the same archive.
fn lock(fetcher: &Fetcher<'_>, key: &Key) -> Result<galley_store::KeyLock, Error> {
    crate::build::lock(fetcher.store, key, fetcher.stop)
}

fn unpack(fetcher: &Fetcher<'_>, place: &Elsewhere) -> Result<Layer, Error> {
    let (store, name) = (fetcher.store, place.source.name());
    let failed = |error: io::Error| explain(fetcher.stop, &name, error);
    keep_blob(fetcher, &place.blob, &*place.source)?;
    let lost = || Error::new(ErrorKind::Store, format!("the store has lost blob {}", place.blob.digest));
    let blob = store.open_blob(&place.blob.digest).map_err(store_error)?.ok_or_else(lost)?;
    let decoder = compress::decoder(Box::new(blob)).map_err(failed)?;
    let mut reader = Hashed { inner: decoder, hasher: Sha256::new() };
    let temp = store.temp_dir("import").map_err(store_error)?;
    let tree = store
        .unpack(&mut reader, &temp, &UnpackOptions::layer())
        .map_err(|error| if error.is_disk_full() { store_error(error) } else { broken(&name, error) })?;
    // What follows the archive's end belongs to the digest too.
    io::copy(&mut reader, &mut io::sink()).map_err(failed)?;
    let found = reader.hasher.finish();
    if found != place.diff_id {
        return Err(broken(
            &name,
            format!("layer {} holds {found} instead of {}", place.blob.digest, place.diff_id),
        ));
    }
    store.commit_dir(temp, tree).map_err(store_error)
}

/// The blob as it came, so that an image exported again has the same layers.
pub fn keep_blob(fetcher: &Fetcher<'_>, blob: &Descriptor, source: &dyn BlobSource) -> Result<(), Error> {
    let store = fetcher.store;
    if store.blob_size(&blob.digest) == Some(blob.size) {
        return Ok(());
    }
    let name = source.name();
    let mut writer = store.blob_writer().map_err(store_error)?;
    let mut reader = Transfer::new(source.open(blob)?, fetcher.events, &name, blob, Direction::Pull);
    io::copy(&mut reader, &mut writer).map_err(|error| explain(fetcher.stop, &name, error))?;
    writer.commit(Some(&blob.digest)).map_err(|error| broken(&name, error))?;
    reader.done();
    Ok(())
}

/// Who is to blame for a copy that failed.
fn explain(stop: &Cancel, name: &str, error: io::Error) -> Error {
    if stop.is_cancelled() {
        return Error::new(ErrorKind::Cancelled, "cancelled");
    }
    if error.kind() == io::ErrorKind::StorageFull {
        return Error::new(ErrorKind::Store, format!("cannot keep a layer of {name}")).because(error);
    }
    // A source that has more to say than that it failed wraps its own error.
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => broken(name, error),
    }
}

/// A reader that hashes what passes.
struct Hashed {
    inner: Box<dyn Read + Send>,
    hasher: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
