use fs_err as fs;
use galley_oci::{Digest, Reference, Time};
use galley_store::{Remote, Seen, StoreError};

use crate::support::{Fixture, snapshot};

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

fn remote(content: &[u8]) -> Remote {
    Remote {
        digest: Digest::sha256(content),
        media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
        size: content.len() as u64,
        asked: Time { seconds: 5, nanoseconds: 6 },
    }
}

#[test]
fn what_a_registry_said_is_remembered_by_full_name() {
    let fixture = Fixture::new();
    let (first, second) = (remote(b"first"), remote(b"second"));
    fixture.store.put_remote(&name("go"), &first).unwrap();
    fixture.store.put_remote(&name("go:1"), &second).unwrap();
    let store = fixture.reopened();
    for text in ["go", "go:latest", "docker.io/library/go"] {
        assert_eq!(store.remote(&name(text)).unwrap().as_ref(), Some(&first), "{text}");
    }
    assert_eq!(store.remote(&name("go:1")).unwrap().as_ref(), Some(&second));
    assert_eq!(store.remote(&name("example.com/go")).unwrap(), None);
    store.put_remote(&name("go"), &second).unwrap();
    assert_eq!(store.remote(&name("go")).unwrap().as_ref(), Some(&second));
    assert!(store.forget_remote(&name("go")).unwrap());
    assert!(!store.forget_remote(&name("go")).unwrap());
    assert_eq!(store.remote(&name("go")).unwrap(), None);
}

#[test]
fn a_digest_is_a_name_of_its_own() {
    let fixture = Fixture::new();
    let by_digest = name(&format!("go@{}", Digest::sha256(b"first")));
    fixture.store.put_remote(&by_digest, &remote(b"first")).unwrap();
    assert_eq!(fixture.store.remote(&by_digest).unwrap(), Some(remote(b"first")));
    assert_eq!(fixture.store.remote(&name("go")).unwrap(), None);
}

#[test]
fn a_remote_that_a_power_cut_took_is_none() {
    let fixture = Fixture::new();
    fixture.store.put_remote(&name("go"), &remote(b"")).unwrap();
    let file = fs::read_dir(fixture.store.root().join("remotes")).unwrap().next().unwrap().unwrap();
    fs::write(file.path(), "").unwrap();
    assert_eq!(fixture.store.remote(&name("go")).unwrap(), None);
}

#[test]
fn drafts_of_lists_come_back_byte_for_byte() {
    let fixture = Fixture::new();
    let list = "{\n  \"schemaVersion\": 2, \"annotations\": {\"é\": \"\\u0000\"}\n}\n".as_bytes();
    fixture.store.put_list(&name("app"), list).unwrap();
    fixture.store.put_list(&name("example.com/app:1"), b"{}").unwrap();
    let store = fixture.reopened();
    assert_eq!(store.list(&name("app:latest")).unwrap().as_deref(), Some(list));
    assert_eq!(store.lists().unwrap(), [name("app:latest"), name("example.com/app:1")]);
    store.put_list(&name("app"), b"[]").unwrap();
    assert_eq!(store.list(&name("app")).unwrap().as_deref(), Some(&b"[]"[..]));
    assert!(store.remove_list(&name("app")).unwrap());
    assert!(!store.remove_list(&name("app")).unwrap());
    assert_eq!(store.list(&name("app")).unwrap(), None);
}

#[test]
fn a_damaged_list_is_an_error() {
    let fixture = Fixture::new();
    fixture.store.put_list(&name("app"), b"{}").unwrap();
    let file = fs::read_dir(fixture.store.root().join("lists")).unwrap().next().unwrap().unwrap();
    fs::write(file.path(), "{").unwrap();
    assert!(matches!(fixture.store.list(&name("app")).unwrap_err(), StoreError::Damaged { .. }));
    assert_eq!(fixture.store.lists().unwrap(), []);
    assert!(matches!(fixture.store.put_list(&name("app"), b"\xff").unwrap_err(), StoreError::Damaged { .. }));
}

#[test]
fn a_store_from_before_gets_the_folders() {
    let fixture = Fixture::new();
    for folder in ["remotes", "lists"] {
        fs::remove_dir(fixture.store.root().join(folder)).unwrap();
    }
    let before = snapshot(fixture.store.root());
    assert_eq!(fixture.store.remote(&name("go")).unwrap(), None);
    assert_eq!(fixture.store.list(&name("go")).unwrap(), None);
    assert_eq!(fixture.store.lists().unwrap(), []);
    assert_eq!(snapshot(fixture.store.root()), before);
    fixture.store.put_remote(&name("go"), &remote(b"")).unwrap();
    fixture.store.put_list(&name("go"), b"{}").unwrap();
    assert_eq!(fixture.store.remote(&name("go")).unwrap(), Some(remote(b"")));
    assert_eq!(fixture.store.lists().unwrap(), [name("go:latest")]);
}

#[test]
fn the_files_are_pinned() {
    let fixture = Fixture::new();
    let remote = remote(b"{}");
    fixture.store.put_remote(&name("go"), &remote).unwrap();
    fixture.store.put_list(&name("go"), b"{}").unwrap();
    let hex = Digest::blake3(b"docker.io/library/go:latest");
    let read = |folder: &str| fs::read_to_string(fixture.store.root().join(folder).join(hex.hex())).unwrap();
    let (kind, digest) = (&remote.media_type, &remote.digest);
    assert_eq!(
        read("remotes"),
        format!(
            "{{\"reference\":\"docker.io/library/go:latest\",\"digest\":\"{digest}\",\"media_type\":\"{kind}\",\
             \"size\":2,\"asked\":[5,6]}}\n"
        )
    );
    assert_eq!(read("lists"), "{\"reference\":\"docker.io/library/go:latest\",\"list\":\"{}\"}\n");
}

#[test]
fn what_a_server_said_at_length_does_not_spoil_its_address() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let asked = Time { seconds: 5, nanoseconds: 6 };
    let plain = Seen { content: "a".to_owned(), etag: None, modified: None, reference: None, asked };
    let long = |bytes: usize| Some("\"".repeat(bytes));
    let seen = Seen { etag: long(4096), modified: long(4097), ..plain.clone() };
    store.put_seen("a", &seen).unwrap();
    assert_eq!(store.seen("a").unwrap(), Some(Seen { modified: None, ..seen }));
    store.put_seen("a", &Seen { etag: long(70_000), ..plain.clone() }).unwrap();
    assert_eq!(store.seen("a").unwrap().as_ref(), Some(&plain));
    let reference = Some(("r".repeat(70_000), "o".to_owned()));
    store.put_seen("a", &Seen { reference, ..plain }).unwrap();
    assert_eq!(store.seen("a").unwrap(), None);
}
