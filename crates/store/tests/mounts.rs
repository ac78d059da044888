use std::path::Path;

use fs_err as fs;
use galley_store::{Sharing, Store, StoreError};

use crate::support::Fixture;

fn mount(store: &Store, sharing: Sharing) -> galley_store::CacheMount {
    store.cache_mount("/root/.cache", sharing, |_| Ok::<_, StoreError>(())).unwrap()
}

#[test]
fn a_mount_is_filled_once_and_keeps_what_is_written() {
    let fixture = Fixture::new();
    let init = |path: &Path| {
        fs::write(path.join("seed"), "1").unwrap();
        Ok::<_, StoreError>(())
    };
    let first = fixture.store.cache_mount("id", Sharing::Shared, init).unwrap();
    fs::write(first.path().join("more"), "2").unwrap();
    drop(first);
    let again = fixture.reopened().cache_mount("id", Sharing::Locked, |_| panic!("filled again"));
    let again = again.map_err(|error: StoreError| error).unwrap();
    assert_eq!(fs::read_dir(again.path()).unwrap().count(), 2);
    assert_eq!(fixture.store.cache_mounts().unwrap(), ["id"]);
    assert!(!fixture.store.remove_cache_mount("id").unwrap(), "it is in use");
    drop(again);
    assert!(fixture.store.remove_cache_mount("id").unwrap());
    let fresh = fixture.store.cache_mount("id", Sharing::Shared, |_| Ok::<_, StoreError>(())).unwrap();
    assert_eq!(fs::read_dir(fresh.path()).unwrap().count(), 0);
}

#[test]
fn ids_are_not_longer_than_anybody_needs() {
    let fixture = Fixture::new();
    let mount =
        |id: &str| fixture.store.cache_mount(id, Sharing::Shared, |_| Ok::<_, StoreError>(())).map(drop);
    let longest = "i".repeat(64 << 10);
    mount(&longest).unwrap();
    let error = mount(&format!("{longest}i")).unwrap_err().to_string();
    assert!(error.ends_with("the length of the id of a cache mount is limited to 65536"), "{error}");
    assert_eq!(fixture.store.cache_mounts().unwrap(), std::slice::from_ref(&longest));
    let id = galley_oci::Digest::blake3(longest.as_bytes()).hex();
    // Another process may have made it longer.
    fs::write(fixture.store.root().join("mounts").join(id).join("id"), longest + "i").unwrap();
    assert_eq!(fixture.store.cache_mounts().unwrap(), Vec::<String>::new());
}

#[test]
fn a_failed_fill_leaves_no_mount() {
    let fixture = Fixture::new();
    let failing = |_: &Path| Err(StoreError::BadName { name: "x".to_owned() });
    fixture.store.cache_mount("id", Sharing::Shared, failing).unwrap_err();
    let mut filled = false;
    let fill = |_: &Path| {
        filled = true;
        Ok::<_, StoreError>(())
    };
    fixture.store.cache_mount("id", Sharing::Shared, fill).unwrap();
    assert!(filled);
}

#[test]
fn sharing_means_what_it_says() {
    let fixture = Fixture::new();
    let shared = mount(&fixture.store, Sharing::Shared);
    let other = mount(&fixture.store, Sharing::Shared);
    assert_eq!(shared.path(), other.path());
    let private = mount(&fixture.store, Sharing::Private);
    assert_ne!(private.path(), shared.path());
    let second = mount(&fixture.store, Sharing::Private);
    assert_ne!(second.path(), private.path());
    let store = fixture.store.clone();
    let locked = std::thread::spawn(move || mount(&store, Sharing::Locked).path().to_owned());
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(!locked.is_finished());
    let path = shared.path().to_owned();
    drop((shared, other));
    assert_eq!(locked.join().unwrap(), path);
}
