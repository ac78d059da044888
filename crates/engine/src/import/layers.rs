//! One layer of a foreign image: its blob is kept as it came, its files are unpacked once.

use std::{
    io::{self, Read},
    time::Instant,
};

use galley_oci::{Blake3, Descriptor, Digest, Sha256, TimePolicy, compress, media_type};
use galley_store::{ImageLayer, Key, Record, Store, UnpackOptions};

use super::{layout::Layout, unreadable};
use crate::{Error, ErrorKind, clock};

/// Brings one layer into the store, unless it is there.
pub(super) fn import(
    store: &Store,
    layout: &Layout,
    descriptor: &Descriptor,
    diff_id: &Digest,
    may_write: bool,
) -> Result<ImageLayer, Error> {
    if media_type::layer_compression(&descriptor.media_type).is_none() {
        return Err(layout.broken(format!("layers of the kind {} are not supported", descriptor.media_type)));
    }
    let layer = match unpacked(store, diff_id)? {
        Some(layer) => layer,
        None if may_write => unpack(store, layout, descriptor, diff_id)?,
        None => return Err(Error::new(ErrorKind::NeedsExecution, "a base image has to be unpacked")),
    };
    let blob = Some(descriptor.clone());
    Ok(ImageLayer { layer, diff_id: *diff_id, times: TimePolicy::Keep, blob })
}

/// The name under which the store remembers what an archive was unpacked to.
fn key(diff_id: &Digest) -> Key {
    Blake3::of("galley.unpacked.v1").digest(diff_id).finish()
}

fn unpacked(store: &Store, diff_id: &Digest) -> Result<Option<Digest>, Error> {
    let Some(record) = store.record(&key(diff_id)).map_err(unreadable)? else { return Ok(None) };
    let layer = store.layer(&record.layer).map_err(unreadable)?;
    Ok(layer.filter(|layer| store.has_bytes(layer)).map(|layer| *layer.id()))
}

fn unpack(
    store: &Store,
    layout: &Layout,
    descriptor: &Descriptor,
    diff_id: &Digest,
) -> Result<Digest, Error> {
    let _lock = store.lock_key(&key(diff_id)).map_err(unreadable)?;
    if let Some(layer) = unpacked(store, diff_id)? {
        return Ok(layer);
    }
    let start = Instant::now();
    keep_blob(store, layout, descriptor)?;
    let blob = layout.open_blob(descriptor)?;
    let decoder = compress::decoder(Box::new(blob)).map_err(|error| layout.broken(error))?;
    let mut reader = Hashed { inner: decoder, hasher: Sha256::new() };
    let temp = store.temp_dir("import").map_err(unreadable)?;
    let tree =
        store.unpack(&mut reader, &temp, &UnpackOptions::layer()).map_err(|error| layout.broken(error))?;
    // What follows the archive's end belongs to the digest too.
    io::copy(&mut reader, &mut io::sink()).map_err(|error| layout.broken(error))?;
    let found = reader.hasher.finish();
    if found != *diff_id {
        return Err(layout.broken(format!("layer {} holds {found} instead of {diff_id}", descriptor.digest)));
    }
    let layer = store.commit_dir(temp, tree).map_err(unreadable)?;
    let duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let record = Record { layer: *layer.id(), created: clock::now(), duration_ms, log: None, boot: None };
    store.put_record(&key(diff_id), &record).map_err(unreadable)?;
    Ok(*layer.id())
}

/// The blob as it came, so that an image exported again has the same layers.
fn keep_blob(store: &Store, layout: &Layout, descriptor: &Descriptor) -> Result<(), Error> {
    if store.blob_size(&descriptor.digest) == Some(descriptor.size) {
        return Ok(());
    }
    let mut writer = store.blob_writer().map_err(unreadable)?;
    let mut blob = layout.open_blob(descriptor)?.take(descriptor.size);
    io::copy(&mut blob, &mut writer).map_err(|error| layout.broken(error))?;
    writer.commit(Some(&descriptor.digest)).map(drop).map_err(|error| layout.broken(error))
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
