use std::time::{Duration, SystemTime};

use fs_err as fs;
use galley_oci::{Digest, Time};
use galley_store::{Export, ExportBlob, Record, Store};

use crate::support::{Fixture, snapshot};

const OTHER_BOOT: &str = "00000000-1111-2222-3333-444444444444";

fn record() -> Record {
    Record {
        layer: Digest::blake3(b"layer"),
        created: Time { seconds: 5, nanoseconds: 6 },
        duration_ms: 7,
        log: Some("history/x".to_owned()),
        made_of: None,
        boot: None,
    }
}

fn write_record(store: &Store, key: &Digest, boot: &str, nanoseconds: u64) {
    let text = format!(
        "{{\"layer\":\"{}\",\"created\":[5,6],\"duration_ms\":7,\"log\":\"history/x\",\
         \"stamp\":{{\"boot\":\"{boot}\",\"nanoseconds\":{nanoseconds}}}}}\n",
        Digest::blake3(b"layer")
    );
    fs::write(store.root().join("records").join(key.hex()), text).unwrap();
}

#[test]
fn a_record_comes_back_to_every_process_of_this_boot() {
    let fixture = Fixture::new();
    let key = Digest::blake3(b"key");
    assert_eq!(fixture.store.record(&key).unwrap(), None);
    fixture.store.put_record(&key, &record()).unwrap();
    let found = fixture.reopened().record(&key).unwrap().unwrap();
    assert_eq!(Record { boot: None, ..found.clone() }, record());
    assert!(found.boot.is_some());
}

#[test]
fn what_no_barrier_covers_is_worth_nothing_after_a_power_cut() {
    let fixture = Fixture::new();
    let key = Digest::blake3(b"key");
    write_record(&fixture.store, &key, OTHER_BOOT, 500);
    assert_eq!(fixture.reopened().record(&key).unwrap(), None);
    let barrier = fixture.store.root().join("barriers").join(OTHER_BOOT);
    fs::write(&barrier, "499\n").unwrap();
    assert_eq!(fixture.reopened().record(&key).unwrap(), None);
    fs::write(&barrier, "500\n").unwrap();
    let found = fixture.reopened().record(&key).unwrap().unwrap();
    assert_eq!(found, Record { boot: Some(OTHER_BOOT.to_owned()), ..record() });
}

#[test]
fn a_barrier_is_made_by_whoever_uses_what_none_covers() {
    let fixture = Fixture::new();
    let key = Digest::blake3(b"key");
    fixture.store.put_record(&key, &record()).unwrap();
    let barriers = || fs::read_dir(fixture.store.root().join("barriers")).unwrap().count();
    // A process that only found the record must not tag what is built on it without a barrier.
    let other = fixture.reopened();
    other.record(&key).unwrap().unwrap();
    other.barrier().unwrap();
    assert_eq!(barriers(), 1);
    drop(other);
    let before = snapshot(fixture.store.root());
    let third = fixture.reopened();
    third.record(&key).unwrap().unwrap();
    third.barrier().unwrap();
    drop(third);
    assert_eq!(snapshot(fixture.store.root()), before, "a build that found everything wrote something");
}

/// After the clock was set back a record would be the last to be collected until it has caught up.
#[test]
fn a_time_of_use_that_is_to_come_is_set_right() {
    let fixture = Fixture::new();
    let key = Digest::blake3(b"key");
    fixture.store.put_record(&key, &record()).unwrap();
    let path = fixture.store.root().join("records").join(key.hex());
    let far = SystemTime::now() + Duration::from_secs(1 << 20);
    fs::File::options().write(true).open(&path).unwrap().set_modified(far).unwrap();
    assert!(fixture.reopened().record(&key).unwrap().is_some());
    let used = fs::metadata(&path).unwrap().modified().unwrap();
    assert!(used < far - Duration::from_secs(1 << 19), "{used:?}");
}

#[test]
fn garbage_is_no_record() {
    let fixture = Fixture::new();
    let key = Digest::blake3(b"key");
    let path = fixture.store.root().join("records").join(key.hex());
    fixture.store.put_record(&key, &record()).unwrap();
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() - 1 {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(fixture.store.record(&key).unwrap(), None, "cut to {length}");
    }
    for boot in ["", "../../version", "..", "/etc/passwd"] {
        write_record(&fixture.store, &key, boot, 1);
        assert_eq!(fixture.store.record(&key).unwrap(), None, "boot {boot:?}");
    }
}

#[test]
fn exports_are_remembered() {
    let fixture = Fixture::new();
    let key = Digest::blake3(b"export");
    let blob = Some(ExportBlob { digest: Digest::sha256(b"blob"), size: 4 });
    let export = Export { diff_id: Digest::sha256(b"tar"), blob };
    fixture.store.put_export(&key, &export).unwrap();
    assert_eq!(fixture.reopened().export(&key).unwrap(), Some(export));
}

#[test]
fn one_holds_a_key_and_the_others_wait() {
    let fixture = Fixture::new();
    let key = Digest::blake3(b"key");
    let held = fixture.store.lock_key(&key).unwrap();
    let other = fixture.reopened();
    assert!(other.try_lock_key(&key).unwrap().is_none());
    let waiting = std::thread::spawn(move || other.lock_key(&key).map(drop));
    std::thread::sleep(Duration::from_millis(20));
    assert!(!waiting.is_finished());
    drop(held);
    waiting.join().unwrap().unwrap();
    assert!(fixture.store.try_lock_key(&key).unwrap().is_some());
    assert_eq!(fs::read_dir(fixture.store.root().join("locks")).unwrap().count(), 0);
}

#[test]
fn a_lock_has_one_holder_however_often_it_is_made_and_removed() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let fixture = Fixture::new();
    let key = Digest::blake3(b"key");
    let (inside, rounds) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let _held = fixture.store.lock_key(&key).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    rounds.fetch_add(1, Ordering::SeqCst);
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(rounds.into_inner(), 800);
}
