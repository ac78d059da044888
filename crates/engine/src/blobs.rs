//! Layers as archives: diffIDs and compressed blobs, made once and remembered.
//!
//! The archive of a layer follows from its tree (times included), from what is done to the times, and from the encoder.
//! So the result is remembered in the store under exactly these, and an image that is exported again reads no file.

use std::{
    io::{self, BufWriter, Write},
    sync::OnceLock,
    thread,
};

use galley_oci::{
    Blake3, BlobOptions, Descriptor, Digest, LayerBlob, LayerSink, Time, TimePolicy,
    compress::{Compression, decoder, encoder_version},
    layer::WriteLayerError,
    media_type,
};
use galley_store::{BlobWriter, Export, ExportBlob, Key, Layer, Store};

use crate::{Cancel, Error, ErrorKind, Fetcher, side_by_side, steps::files::store_error};

/// What is wanted of a layer.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The layer.
    pub layer: Layer,
    /// What is done to its times.
    pub times: TimePolicy,
    /// Its bytes will have to be its own: they become it while they are read, if they are.
    pub own: bool,
}

/// How layers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// The way.
    pub compression: Compression,
    /// How hard to try; the default of the compression without it.
    pub level: Option<i32>,
}

impl Default for Packing {
    fn default() -> Self {
        Self { compression: Compression::Gzip, level: None }
    }
}

/// A layer as a compressed blob in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedLayer {
    /// SHA-256 of the uncompressed archive.
    pub diff_id: Digest,
    /// SHA-256 of the blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// The blobs of several layers, side by side; in the order given.
pub fn pack_all(
    fetcher: &Fetcher<'_>,
    wanted: &[Wanted],
    packing: Packing,
) -> Result<Vec<PackedLayer>, Error> {
    on_all_cores(wanted, fetcher.stop, |one, workers| pack(fetcher.store, one, packing, workers))
}

/// The diffIDs of several layers, side by side; in the order given. No archive is kept.
pub fn diff_ids(fetcher: &Fetcher<'_>, wanted: &[Wanted]) -> Result<Vec<Digest>, Error> {
    // To look one up takes less than to start a thread.
    let known: Vec<_> =
        wanted.iter().map(|one| known_diff_id(fetcher.store, one)).collect::<Result<_, _>>()?;
    let unknown = wanted.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(one, _)| one);
    let unknown: Vec<_> = unknown.collect();
    let found = on_all_cores(&unknown, fetcher.stop, |one, _| diff_id(fetcher.store, one))?;
    let mut found = found.into_iter();
    // One was found for each that was not known.
    Ok(known.into_iter().filter_map(|known| known.or_else(|| found.next())).collect())
}

fn known_diff_id(store: &Store, wanted: &Wanted) -> Result<Option<Digest>, Error> {
    // The tar of a blob is the same tar.
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let packing = Packing { compression, level: None };
        if let Some(export) =
            store.export(&export_key(&wanted.layer, wanted.times, packing)).map_err(store_error)?
        {
            return Ok(Some(export.diff_id));
        }
    }
    Ok(None)
}

fn diff_id(store: &Store, wanted: &Wanted) -> Result<Digest, Error> {
    let sink = LayerSink::diff_id().map_err(write_error)?;
    let (made, _) = write(store, wanted, sink)?;
    remember(store, &wanted.layer, wanted.times, made.diff_id)?;
    Ok(made.diff_id)
}

/// Remembers the diffID of a layer whose archive has these times.
pub(crate) fn remember(
    store: &Store,
    layer: &Layer,
    times: TimePolicy,
    diff_id: Digest,
) -> Result<(), Error> {
    let plain = Packing { compression: Compression::None, level: None };
    let export = Export { diff_id, blob: None };
    store.put_export(&export_key(layer, times, plain), &export).map_err(store_error)
}

fn pack(store: &Store, wanted: &Wanted, packing: Packing, workers: usize) -> Result<PackedLayer, Error> {
    let key = export_key(&wanted.layer, wanted.times, packing);
    if let Some(known) = known(store, &key)? {
        return Ok(known);
    }
    let (made, out) = write(store, wanted, blob_sink(store, packing, workers)?)?;
    keep(store, &key, made.diff_id, out)
}

/// The archive in `blob`, whose diffID is known, compressed in another way.
pub fn repack(
    store: &Store,
    blob: &Descriptor,
    diff_id: &Digest,
    packing: Packing,
) -> Result<PackedLayer, Error> {
    let mut hash = Blake3::of("galley.repack.v1");
    hash.digest(diff_id);
    let key = hash_packing(&mut hash, packing).finish();
    if let Some(known) = known(store, &key)? {
        return Ok(known);
    }
    let lost = || Error::new(ErrorKind::Store, format!("the store has lost blob {}", blob.digest));
    let file = store.open_blob(&blob.digest).map_err(store_error)?.ok_or_else(lost)?;
    let mut plain = decoder(Box::new(file)).map_err(write_error)?;
    let mut sink = blob_sink(store, packing, 1)?;
    io::copy(&mut plain, &mut sink).map_err(write_error)?;
    let (made, out) = sink.finish().map_err(write_error)?;
    if made.diff_id != *diff_id {
        let message = format!("blob {} of the store is damaged: it holds {}", blob.digest, made.diff_id);
        return Err(Error::new(ErrorKind::Store, message));
    }
    keep(store, &key, made.diff_id, out)
}

/// The blob that was made under `key`.
fn known(store: &Store, key: &Key) -> Result<Option<PackedLayer>, Error> {
    let Some(Export { diff_id, blob: Some(blob) }) = store.export(key).map_err(store_error)? else {
        return Ok(None);
    };
    let whole = store.blob_size(&blob.digest) == Some(blob.size);
    Ok(whole.then_some(PackedLayer { diff_id, digest: blob.digest, size: blob.size }))
}

/// Takes an archive and writes it compressed to the store, sharing the cores with `workers`.
fn blob_sink(
    store: &Store,
    packing: Packing,
    workers: usize,
) -> Result<LayerSink<BufWriter<BlobWriter>>, Error> {
    let out = BufWriter::with_capacity(1 << 20, store.blob_writer().map_err(store_error)?);
    let Packing { compression, level } = packing;
    let media_type = media_type::oci_layer(compression);
    let threads = (cores() / workers).max(1);
    let options = BlobOptions { compression, level, threads, media_type };
    LayerSink::new(out, &options).map_err(write_error)
}

/// Makes the blob visible and remembers it.
fn keep(
    store: &Store,
    key: &Key,
    diff_id: Digest,
    out: Option<BufWriter<BlobWriter>>,
) -> Result<PackedLayer, Error> {
    let (digest, size) = commit(out)?;
    let blob = Some(ExportBlob { digest, size });
    store.put_export(key, &Export { diff_id, blob }).map_err(store_error)?;
    Ok(PackedLayer { diff_id, digest, size })
}

fn commit(out: Option<BufWriter<BlobWriter>>) -> Result<(Digest, u64), Error> {
    let out = out.ok_or_else(|| Error::new(ErrorKind::Internal, "a blob was made without an output"))?;
    let writer = out.into_inner().map_err(|error| write_error(error.into_error()))?;
    writer.commit(None).map_err(store_error)
}

fn write<W: Write + Send + 'static>(
    store: &Store,
    wanted: &Wanted,
    mut sink: LayerSink<W>,
) -> Result<(LayerBlob, Option<W>), Error> {
    let tree = wanted.layer.tree().map_err(store_error)?;
    let failed = |error: WriteLayerError| {
        if let WriteLayerError::Changed { path } = &error {
            let error = wanted.layer.other_content(path.into());
            return Error::new(ErrorKind::Store, "cannot write a layer as an archive").because(error);
        }
        Error::new(ErrorKind::Store, format!("cannot write a layer as an archive: {error}")).because(error)
    };
    if wanted.layer.was_hashed_here() {
        sink = sink.trusting();
    }
    let owning = if wanted.own { store.begin_owning(&wanted.layer).map_err(store_error)? } else { None };
    let Some(mut owning) = owning else {
        let mut contents = store.contents(&wanted.layer).map_err(store_error)?;
        sink.write_layer(&tree, wanted.times, &mut contents).map_err(failed)?;
        let (made, out) = sink.finish().map_err(write_error)?;
        made.check(&tree).map_err(failed)?;
        return Ok((made, out));
    };
    sink.write_layer(&tree, wanted.times, &mut owning).map_err(failed)?;
    let (made, out) = sink.finish().map_err(write_error)?;
    made.check(&tree).map_err(failed)?;
    store.finish_owning(&wanted.layer, owning).map_err(store_error)?;
    Ok((made, out))
}

fn write_error(error: io::Error) -> Error {
    Error::new(ErrorKind::Store, format!("cannot write a layer as an archive: {error}")).because(error)
}

/// All that the bytes of an archive follow from.
fn export_key(layer: &Layer, times: TimePolicy, packing: Packing) -> Key {
    let mut hash = Blake3::of("galley.export.v1");
    hash.digest(layer.integrity());
    let (policy, time) = match times {
        TimePolicy::Keep => (0, None),
        TimePolicy::Set(time) => (1, Some(time)),
        TimePolicy::Clamp(time) => (2, Some(time)),
    };
    let Time { seconds, nanoseconds } = time.unwrap_or_default();
    hash.number(policy).number(seconds.cast_unsigned()).number(nanoseconds.into());
    hash_packing(&mut hash, packing).finish()
}

fn hash_packing(hash: &mut Blake3, packing: Packing) -> &Blake3 {
    hash.field(encoder_version(packing.compression).as_bytes());
    if let Some(level) = packing.level {
        hash.field(level.to_string().as_bytes());
    }
    hash
}

/// Found out when first needed: asking means to look at the control groups.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// Does `work` for each item on as many threads as there are cores. `work` is told how many of them there are.
pub(crate) fn on_all_cores<T: Sync, R: Send + Sync>(
    items: &[T],
    stop: &Cancel,
    work: impl Fn(&T, usize) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let workers = if items.len() > 1 { cores().min(items.len()) } else { 1 };
    side_by_side(items, workers, stop, |item| work(item, workers))
}
