use std::{
    fmt,
    io::Write,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fs_err as fs;
use galley_oci::{
    Descriptor, Digest, TimePolicy,
    archive::{EntryHeader, EntryKind, Writer},
    compress::Compressor,
    media_type,
};
use galley_store::{OpenOptions, Store};

use super::*;
use crate::{
    Cancel, ErrorKind, Events,
    import::{fetch, unpacked},
    ports::{BlobSource, NoRecords},
};

type Open = dyn Fn() -> Result<Box<dyn Read + Send>, Error> + Send + Sync;

/// A source that gives whatever a test wants, and counts how often it is asked.
struct Source(Box<Open>, AtomicUsize);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl BlobSource for Source {
    fn name(&self) -> String {
        "example.com/base".to_owned()
    }

    fn open(&self, _: &Descriptor) -> Result<Box<dyn Read + Send>, Error> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0()
    }
}

/// An archive with one file of several chunks that does not compress, and its gzip.
fn layer() -> (Vec<u8>, Vec<u8>) {
    let mut content = Vec::new();
    let mut state = 1_u64;
    while content.len() < 3_000_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        content.push((state >> 56) as u8);
    }
    let mut writer = Writer::new(Vec::new());
    let kind = EntryKind::File { size: content.len() as u64 };
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let header = EntryHeader { path: b"file", kind, mode: 0o644, uid, gid, mtime: 1, xattrs: None };
    writer.entry(&header, Some(&mut &content[..])).unwrap();
    let plain = writer.finish().unwrap();
    let mut packer = Compressor::new(Vec::new(), compress::Compression::Gzip, None, 1).unwrap();
    packer.write_all(&plain).unwrap();
    (plain, packer.finish().unwrap())
}

struct Fixture {
    store: Store,
    stop: Cancel,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), OpenOptions::default()).unwrap();
        Self { store, stop: Cancel::new(), _folder: folder }
    }

    /// Fetches what `open` gives as the layer `plain`, packed as `packed`; says how often it was opened.
    fn fetch(
        &self,
        (plain, packed): &(Vec<u8>, Vec<u8>),
        open: impl Fn() -> Result<Box<dyn Read + Send>, Error> + Send + Sync + 'static,
    ) -> (Result<galley_store::Layer, Error>, usize) {
        let events = Events::silent();
        let (store, stop) = (&self.store, &self.stop);
        let fetcher = Fetcher { store, may_write: true, events: &events, stop, records: &NoRecords };
        let source = std::sync::Arc::new(Source(Box::new(open), AtomicUsize::new(0)));
        let place = Elsewhere {
            diff_id: Digest::sha256(plain),
            times: TimePolicy::Keep,
            blob: Descriptor::of(media_type::OCI_LAYER_GZIP, packed),
            source: source.clone(),
        };
        let result = fetch(&fetcher, &place);
        (result, source.1.load(Ordering::Relaxed))
    }

    /// That nothing of a failed fetch can be seen.
    fn assert_nothing(&self, layer: &(Vec<u8>, Vec<u8>)) {
        assert!(unpacked(&self.store, &Digest::sha256(&layer.0)).unwrap().is_none());
        assert_eq!(fs::read_dir(self.store.root().join("layers")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(self.store.root().join("records")).unwrap().count(), 0);
    }
}

fn gives(bytes: Vec<u8>) -> impl Fn() -> Result<Box<dyn Read + Send>, Error> + Send + Sync + 'static {
    move || Ok(Box::new(io::Cursor::new(bytes.clone())))
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text += &format!(": {source}");
        next = source.source();
    }
    text
}

#[test]
fn a_layer_arrives_and_is_not_fetched_again() {
    let (fixture, layer) = (Fixture::new(), layer());
    let (first, asked) = fixture.fetch(&layer, gives(layer.1.clone()));
    let first = first.unwrap();
    assert_eq!(asked, 1);
    assert_eq!(fixture.store.blob_size(&Digest::sha256(&layer.1)), Some(layer.1.len() as u64));
    let nowhere = || Err(Error::new(ErrorKind::Registry, "asked"));
    let (second, asked) = fixture.fetch(&layer, nowhere);
    assert_eq!((second.unwrap().id(), asked), (first.id(), 0));
}

#[test]
fn a_blob_that_is_there_is_unpacked_without_asking() {
    let (fixture, layer) = (Fixture::new(), layer());
    fixture.store.put_blob(&layer.1).unwrap();
    let (result, asked) = fixture.fetch(&layer, || Err(Error::new(ErrorKind::Registry, "asked")));
    assert_eq!((result.is_ok(), asked), (true, 0));
}

#[test]
fn a_blob_that_a_power_cut_damaged_is_fetched_again() {
    let (fixture, layer) = (Fixture::new(), layer());
    let digest = fixture.store.put_blob(&layer.1).unwrap();
    fs::write(fixture.store.blob_path(&digest), vec![0; layer.1.len()]).unwrap();
    let (result, asked) = fixture.fetch(&layer, gives(layer.1.clone()));
    assert_eq!((result.is_ok(), asked), (true, 1));
    assert!(!fixture.store.remove_damaged_blob(&digest).unwrap());
}

#[test]
fn what_is_not_what_was_asked_for_is_refused_by_its_digest() {
    let layer = layer();
    let half = layer.1.len() / 2;
    let mut flipped = layer.1.clone();
    flipped[half] ^= 1;
    let longer = [&layer.1[..], b"more"].concat();
    let html = b"<html>".repeat(layer.1.len() / 6 + 1)[..layer.1.len()].to_vec();
    let cases = [
        (flipped, "instead of"),
        (html, "instead of"),
        (layer.1[..half].to_vec(), "ends after"),
        (Vec::new(), "ends after"),
        (longer, "more than its"),
    ];
    for (bytes, expected) in cases {
        let fixture = Fixture::new();
        let (result, _) = fixture.fetch(&layer, gives(bytes));
        let error = result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Input);
        assert!(chain(&error).contains(expected), "{}", chain(&error));
        fixture.assert_nothing(&layer);
        assert_eq!(fixture.store.blob_size(&Digest::sha256(&layer.1)), None);
    }
}

#[test]
fn another_archive_than_the_config_says_is_refused() {
    let (fixture, layer) = (Fixture::new(), layer());
    let lie = (b"other".to_vec(), layer.1.clone());
    let error = fixture.fetch(&lie, gives(layer.1)).0.unwrap_err();
    assert!(chain(&error).contains("holds sha256:"), "{}", chain(&error));
    fixture.assert_nothing(&lie);
}

#[test]
fn what_is_no_archive_is_refused() {
    let fixture = Fixture::new();
    let text = b"no archive at all ".repeat(100_000);
    let layer = (text.clone(), text);
    let error = fixture.fetch(&layer, gives(layer.1.clone())).0.unwrap_err();
    assert!(chain(&error).contains("broken header"), "{}", chain(&error));
    fixture.assert_nothing(&layer);
}

/// Gives some bytes, then something else happens.
struct Then<F>(io::Cursor<Vec<u8>>, F);

impl<F: FnMut() -> io::Result<usize>> Read for Then<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => (self.1)(),
            count => Ok(count),
        }
    }
}

#[test]
fn a_source_that_fails_says_why() {
    let (fixture, layer) = (Fixture::new(), layer());
    let half = layer.1[..layer.1.len() / 2].to_vec();
    let (result, _) = fixture.fetch(&layer, move || {
        let fail = || Err(io::Error::other(Error::new(ErrorKind::Registry, "the registry went away")));
        Ok(Box::new(Then(io::Cursor::new(half.clone()), fail)))
    });
    let error = result.unwrap_err();
    assert_eq!((error.kind, error.to_string().as_str()), (ErrorKind::Registry, "the registry went away"));
    fixture.assert_nothing(&layer);
    let refused = || Err(Error::new(ErrorKind::Registry, "not allowed"));
    assert_eq!(fixture.fetch(&layer, refused).0.unwrap_err().to_string(), "not allowed");
}

#[test]
fn a_slow_source_is_stopped() {
    let (fixture, layer) = (Fixture::new(), layer());
    let (half, stop) = (layer.1[..layer.1.len() / 2].to_vec(), fixture.stop.clone());
    let (result, _) = fixture.fetch(&layer, move || {
        let stop = stop.clone();
        let mut turns = 0;
        let drip = move || {
            turns += 1;
            if turns == 20 {
                stop.cancel();
            }
            thread::sleep(Duration::from_millis(5));
            assert!(turns < 2000, "it is asked again and again");
            Err(io::ErrorKind::Interrupted.into())
        };
        Ok(Box::new(Then(io::Cursor::new(half.clone()), drip)))
    });
    assert_eq!(result.unwrap_err().kind, ErrorKind::Cancelled);
    fixture.assert_nothing(&layer);
}
