use fs_err as fs;

use super::*;
use crate::{CacheMount, OpenOptions, Sharing, Taken};

/// What becomes of a directory, by its home.
type Move<'a> = &'a dyn Fn(&Store, &Path);

fn open(root: &Path) -> Store {
    Store::open(root, OpenOptions::default()).unwrap()
}

fn mount(store: &Store) -> CacheMount {
    store.cache_mount("cache", Sharing::Locked, |_| Ok::<_, StoreError>(())).unwrap()
}

/// A process that dies after `borrow` has taken the mount away, with the file `kept` in it.
fn died(root: &Path, borrow: impl FnOnce(&Store, &Path)) {
    let store = open(root);
    let mount = mount(&store);
    fs::write(mount.path().join("kept"), "1").unwrap();
    let lent = store.lend(mount.path()).unwrap().unwrap();
    borrow(&store, mount.path());
    // It can do nothing any more; its locks are let go, its folder is not removed.
    let session = store.begin_session().unwrap();
    let away = root.with_file_name("away");
    rustix::fs::rename(&session, &away).unwrap();
    let note = store.note_path(mount.path());
    let written = fs::read(&note).unwrap();
    drop((lent, mount));
    drop(store);
    rustix::fs::rename(&away, &session).unwrap();
    fs::write(session.with_extension("lock"), "").unwrap();
    fs::write(note, written).unwrap();
}

fn taken(store: &Store, home: &Path) -> PathBuf {
    let temp = store.begin_session().unwrap().join("root-7/deep/down");
    fs::create_dir_all(&temp).unwrap();
    rustix::fs::rename(home, temp.join("cache")).unwrap();
    temp
}

#[test]
fn what_a_dead_process_had_is_back_for_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let moves: [Move<'_>; 3] = [
        &|_, _| (),
        &|store, home| drop(taken(store, home)),
        // The step has moved it.
        &|store, home| {
            let place = taken(store, home);
            rustix::fs::rename(place.join("cache"), place.join("../other")).unwrap();
        },
    ];
    for borrow in moves {
        died(&root, borrow);
        let store = open(&root);
        let mount = mount(&store);
        assert_eq!(fs::read(mount.path().join("kept")).unwrap(), b"1");
        store.begin_session().unwrap();
        assert_eq!(names_in(&root.join(FOLDER)).unwrap(), [""; 0]);
    }
}

#[test]
fn sweeping_brings_back_what_nobody_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    died(&root, |store, home| drop(taken(store, home)));
    let store = open(&root);
    store.begin_session().unwrap();
    let mount = names_in(&root.join("mounts")).unwrap().remove(0);
    assert!(root.join("mounts").join(mount).join("0/kept").exists());
    assert_eq!(names_in(&root.join("tmp")).unwrap().len(), 2, "its own");
}

#[test]
fn an_emptied_mount_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    died(&root, |store, home| drop(taken(store, home)));
    let store = open(&root);
    assert!(store.remove_cache_mount("cache").unwrap());
    assert!(!mount(&store).path().join("kept").exists());
}

#[test]
fn what_the_step_removed_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    died(&root, |store, home| fs::remove_dir_all(taken(store, home).join("cache")).unwrap());
    let store = open(&root);
    assert_eq!(fs::read_dir(mount(&store).path()).unwrap().count(), 0);
    assert_eq!(names_in(&root.join(FOLDER)).unwrap(), [""; 0]);
}

#[test]
fn what_is_lent_is_home_again_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    let mount = mount(&store);
    let lent = store.lend(mount.path()).unwrap();
    taken(&store, mount.path());
    assert!(lent.is_some() && !mount.path().exists());
    drop(lent);
    assert!(mount.path().exists());
    assert!(!store.root().join("locks/lent").exists(), "a check would find it");
    assert!(store.lend(folder.path()).unwrap().is_none(), "no cache mount");
}

#[test]
fn what_a_dead_process_had_is_not_taken_from_what_outlives_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    died(&root, |store, home| drop(taken(store, home)));
    let locks = names_in(&root.join("tmp")).unwrap().into_iter().filter(|name| name.ends_with(".lock"));
    let [lock] = &locks.collect::<Vec<_>>()[..] else { panic!("there is one dead process") };
    let guard = FileLock::attempt_now(&root.join("tmp").join(lock), LockMode::Exclusive).unwrap().unwrap();
    {
        let store = open(&root);
        let taken = store.try_cache_mount("cache", Sharing::Locked, |_| Ok::<_, StoreError>(()));
        assert_eq!(taken.unwrap().map(drop), Err(Taken::Left));
        assert!(!store.remove_cache_mount("cache").unwrap());
    }
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let store = open(&root);
            let mount = mount(&store);
            assert!(
                ended.load(std::sync::atomic::Ordering::SeqCst),
                "taken home from below a step that runs"
            );
            assert_eq!(fs::read_to_string(mount.path().join("kept")).unwrap(), "1");
        });
        // Whoever does not wait is through by then; on a slow machine it just is not noticed.
        std::thread::sleep(std::time::Duration::from_millis(200));
        ended.store(true, std::sync::atomic::Ordering::SeqCst);
        drop(guard);
    });
}

#[test]
fn a_shared_lock_says_that_a_process_lives() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = open(&root);
    let session = store.begin_session().unwrap();
    let handed = store.session_lock().unwrap();
    // As a killed process leaves it.
    let away = root.with_file_name("away");
    let lock = session.with_extension("lock");
    rustix::fs::rename(&lock, &away).unwrap();
    let is_free = || FileLock::existing(&away, LockMode::Exclusive, false).unwrap().is_some();
    assert!(!is_free());
    drop(store);
    assert!(is_free(), "who ends by itself needs nobody to let go of it");
    drop(handed);
}
