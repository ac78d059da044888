use std::time::Duration;

use fs_err as fs;
use galley_oci::Digest;
use galley_store::{OpenOptions, Store, StoreError};
use rustix::time::{ClockId, clock_gettime};

use crate::support::{Fixture, options, snapshot};

#[test]
fn an_open_store_is_not_written_to() {
    let fixture = Fixture::new();
    drop(fixture.reopened());
    let before = snapshot(fixture.store.root());
    let store = fixture.reopened();
    assert_eq!(
        store.images().unwrap().len() + store.tags().unwrap().len() + store.containers().unwrap().len(),
        0
    );
    store.barrier().unwrap();
    drop(store);
    assert_eq!(snapshot(fixture.store.root()), before);
}

/// The time that this thread had a processor; others may be busy on it.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

#[test]
fn opening_is_quick() {
    let fixture = Fixture::new();
    let quickest = (0..20).map(|_| {
        let start = processor_time();
        let _ = fixture.reopened();
        processor_time() - start
    });
    assert!(quickest.min().unwrap().as_micros() < 1000);
}

#[test]
fn a_newer_format_and_another_id_map_are_refused() {
    let fixture = Fixture::new();
    let options = OpenOptions { id_map: "0:1000:1,1:100000:65536".to_owned(), ..OpenOptions::default() };
    let error = Store::open(fixture.store.root(), options).unwrap_err();
    assert!(matches!(&error, StoreError::OtherIdMap { .. }), "{error:?}");
    fs::write(fixture.store.root().join("version"), r#"{"format":4,"what":"ever"}"#).unwrap();
    let error = Store::open(fixture.store.root(), OpenOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::NewerFormat { found: 4, known: 3, .. }), "{error:?}");
    assert!(error.to_string().ends_with("use a newer galley, or another folder with --root"), "{error}");
}

#[test]
fn a_folder_with_other_things_in_it_is_left_alone() {
    let fixture = Fixture::new();
    let folder = fixture.folder("home");
    crate::support::chmod(&folder, 0o755);
    fs::write(folder.join("thesis.tex"), "").unwrap();
    let before = snapshot(&folder);
    let error = Store::open(&folder, OpenOptions::default()).unwrap_err();
    assert!(matches!(&error, StoreError::NotAStore { found, .. } if found == "thesis.tex"), "{error:?}");
    assert_eq!(snapshot(&folder), before);
    fs::rename(folder.join("thesis.tex"), folder.join("lost+found")).unwrap();
    Store::open(&folder, OpenOptions::default()).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&folder).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o700, "what was an open folder is for us alone");
}

#[test]
fn the_version_file_is_pinned() {
    let fixture = Fixture::new();
    let version = fs::read_to_string(fixture.store.root().join("version")).unwrap();
    assert_eq!(version, format!("{{\"format\":1,\"id_map\":\"{}\"}}\n", options().id_map));
}

/// What a power cut may leave of a file that nobody wrote back: nothing, an empty one, or one of zeros.
const CUT: [Option<&[u8]>; 3] = [None, Some(b""), Some(&[0; 29])];

#[test]
fn a_store_that_a_power_cut_hit_before_its_first_barrier_is_an_empty_one() {
    for (number, cut) in CUT.into_iter().enumerate() {
        let fixture = Fixture::new();
        let before = fs::read(fixture.store.root().join("version")).unwrap();
        // What a build of that boot left, and what people have.
        let (root, key) = (fixture.store.root(), Digest::blake3(b"key"));
        let record = format!(
            "{{\"layer\":\"{key}\",\"created\":[5,6],\"duration_ms\":7,\"stamp\":{{\"boot\":\"0f\",\"nanoseconds\":5}}}}\n"
        );
        fs::write(root.join("records").join(key.hex()), record).unwrap();
        fs::create_dir_all(root.join("builds")).unwrap();
        fs::create_dir_all(root.join("seen")).unwrap();
        fs::create_dir_all(root.join("volumes/data/mine")).unwrap();
        let version = root.join("version");
        fs::remove_file(&version).unwrap();
        if let Some(bytes) = cut {
            fs::write(&version, bytes).unwrap();
        }
        let opened = fixture.reopened();
        assert_eq!(fs::read(&version).unwrap(), before, "{number}");
        assert!(opened.record(&key).unwrap().is_none(), "{number}: nothing vouches for it");
        assert!(root.join("volumes/data/mine").exists() && !root.join("locks/version").exists());
    }
}

#[test]
fn a_version_file_that_a_barrier_covers_is_never_made_anew() {
    let fixture = Fixture::new();
    fs::write(fixture.store.root().join("barriers/0f"), "1\n").unwrap();
    let version = fixture.store.root().join("version");
    for bytes in [&b""[..], &[0; 29]] {
        fs::write(&version, bytes).unwrap();
        let error = Store::open(fixture.store.root(), options()).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { path, .. } if *path == version), "{error:?}");
        assert_eq!(fs::read(&version).unwrap(), bytes);
    }
}

#[test]
fn of_many_who_make_a_store_at_once_one_does() {
    for cut in CUT {
        let fixture = Fixture::new();
        let root = fixture.dir.path().join("new");
        if let Some(bytes) = cut {
            fs::create_dir(&root).unwrap();
            fs::write(root.join("version"), bytes).unwrap();
        }
        std::thread::scope(|scope| {
            let open = || scope.spawn(|| Store::open(&root, options()).unwrap());
            let all: Vec<_> = (0..8).map(|_| open()).collect();
            all.into_iter().for_each(|one| drop(one.join().unwrap()));
        });
        assert_eq!(fs::read_dir(root.join("locks")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0);
    }
}

#[test]
fn temporary_folders_of_the_dead_are_swept_and_those_of_the_living_stay() {
    let fixture = Fixture::new();
    let ours = fixture.store.temp_dir("ours").unwrap();
    let tmp = fixture.store.root().join("tmp");
    fs::create_dir_all(tmp.join("dead/deep/er")).unwrap();
    fs::write(tmp.join("dead.lock"), "").unwrap();
    let other = fixture.reopened();
    let _theirs = other.temp_dir("theirs").unwrap();
    assert!(!tmp.join("dead").exists() && !tmp.join("dead.lock").exists());
    assert!(ours.path().exists());
}

#[test]
fn a_temporary_folder_goes_whatever_is_in_it() {
    let fixture = Fixture::new();
    let temp = fixture.store.temp_dir("deep").unwrap();
    let path = temp.path().to_owned();
    let mut at = rustix::fs::open(&path, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    // Deeper than any path, and than there are file handles.
    for _ in 0..1_200 {
        rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::from_raw_mode(0o700)).unwrap();
        at = rustix::fs::openat(&at, "d", rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    }
    rustix::fs::mkdirat(&at, "locked", rustix::fs::Mode::empty()).unwrap();
    drop(temp);
    assert!(!path.exists());
    let sessions = || fs::read_dir(fixture.store.root().join("tmp")).unwrap().count();
    assert_eq!(sessions(), 2);
}
