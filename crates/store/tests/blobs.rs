use std::io::{Read, Write};

use fs_err as fs;
use galley_oci::Digest;
use galley_store::StoreError;

use crate::support::Fixture;

#[test]
fn bytes_come_back() {
    let fixture = Fixture::new();
    let digest = fixture.store.put_blob(b"hello").unwrap();
    assert_eq!(digest, Digest::sha256(b"hello"));
    assert_eq!(fixture.store.read_blob(&digest).unwrap().unwrap(), b"hello");
    assert_eq!(fixture.store.blob_size(&digest), Some(5));
    let mut text = String::new();
    fixture.store.open_blob(&digest).unwrap().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    assert!(fixture.store.read_blob(&Digest::sha256(b"other")).unwrap().is_none());
}

#[test]
fn a_writer_checks_what_it_was_promised() {
    let fixture = Fixture::new();
    let write = |expected: Option<&Digest>| {
        let mut writer = fixture.store.blob_writer().unwrap();
        writer.write_all(b"bytes").unwrap();
        writer.commit(expected)
    };
    let error = write(Some(&Digest::sha256(b"others"))).unwrap_err();
    assert!(matches!(error, StoreError::DigestMismatch { found, .. } if found == Digest::sha256(b"bytes")));
    assert_eq!(fixture.store.blob_size(&Digest::sha256(b"bytes")), None);
    assert_eq!(write(None).unwrap(), (Digest::sha256(b"bytes"), 5));
    drop(fixture.store.blob_writer().unwrap());
    let session = fs::read_dir(fixture.store.root().join("tmp")).unwrap();
    let folder = session.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "a writer left something");
}

#[test]
fn a_cut_off_blob_is_named_and_replaced() {
    let fixture = Fixture::new();
    let digest = fixture.store.put_blob(b"whole").unwrap();
    fs::write(fixture.store.blob_path(&digest), "who").unwrap();
    let error = fixture.store.read_blob(&digest).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    fixture.store.put_blob(b"whole").unwrap();
    assert_eq!(fixture.store.read_blob(&digest).unwrap().unwrap(), b"whole");
}

#[test]
fn only_a_damaged_blob_is_removed() {
    let fixture = Fixture::new();
    let digest = fixture.store.put_blob(b"whole").unwrap();
    assert!(!fixture.store.remove_damaged_blob(&digest).unwrap());
    assert_eq!(fixture.store.blob_size(&digest), Some(5));
    fs::write(fixture.store.blob_path(&digest), "other").unwrap();
    assert!(fixture.store.remove_damaged_blob(&digest).unwrap());
    assert!(!fixture.store.remove_damaged_blob(&digest).unwrap());
    assert_eq!(fixture.store.blob_size(&digest), None);
}
