use std::{
    env,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, ExitStatus},
    sync::mpsc,
    time::Duration,
};

use fs_err as fs;
use galley_store::{OpenOptions, Store, StoreError};

use crate::support::{Fixture, options};

const ROOT: &str = "GALLEY_TEST_STORE";
const FAILPOINT: &str = "GALLEY_TEST_FAILPOINT";

fn make(store: &Store, name: &str) -> std::path::PathBuf {
    store.lock_volumes().unwrap().make(name).unwrap();
    store.volume(name).unwrap().unwrap()
}

/// A directory as an image has it.
fn image(path: &Path) {
    for name in ["a", "b", "c"] {
        fs::create_dir_all(path.join(name)).unwrap();
        fs::write(path.join(name).join("file"), name).unwrap();
    }
    fs::set_permissions(path, std::fs::Permissions::from_mode(0o1750)).unwrap();
}

fn fill(store: &Store, name: &str) -> bool {
    let Some(filling) = store.begin_filling(name).unwrap() else { return false };
    image(&filling.path());
    filling.finish().unwrap();
    true
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path)
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

#[test]
fn volumes_have_plain_names() {
    let fixture = Fixture::new();
    assert_eq!(fixture.store.volume("data").unwrap(), None);
    let volumes = fixture.store.lock_volumes().unwrap();
    assert!(volumes.make("data").unwrap() && !volumes.make("data").unwrap());
    let path = fixture.store.volume("data").unwrap().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fixture.store.volumes().unwrap(), ["data"]);
    for name in ["", "..", "a/b", "/etc", ".hidden", "a b"] {
        assert!(matches!(volumes.make(name), Err(StoreError::BadName { .. })), "{name:?}");
        assert!(matches!(volumes.remove(name), Err(StoreError::BadName { .. })), "{name:?}");
    }
    assert!(volumes.remove("data").unwrap().is_some());
    assert!(!path.exists() && volumes.remove("data").unwrap().is_none());
}

/// It is out of sight before its files are removed, so that nobody waits for that and a kill leaves no half of it.
#[test]
fn a_volume_goes_as_a_whole() {
    let fixture = Fixture::new();
    image(&make(&fixture.store, "data"));
    let removed = fixture.store.lock_volumes().unwrap().remove("data").unwrap().unwrap();
    assert_eq!(fixture.store.volumes().unwrap(), Vec::<String>::new());
    assert!(removed.bytes() > 0);
    make(&fixture.store, "data");
    removed.delete().unwrap();
    assert_eq!(fixture.store.volumes().unwrap(), ["data"]);
}

#[test]
fn volumes_on_a_disk_of_their_own_go_too() {
    let fixture = Fixture::new();
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("SKIPPED: /dev/shm cannot be written to");
        return;
    };
    if fs::metadata(other.path()).unwrap().dev() == fs::metadata(fixture.store.root()).unwrap().dev() {
        eprintln!("SKIPPED: /dev/shm is on the disk of the store");
        return;
    }
    let volumes = fixture.store.root().join("volumes");
    fs::remove_dir(&volumes).unwrap();
    std::os::unix::fs::symlink(other.path(), &volumes).unwrap();
    image(&make(&fixture.store, "data"));
    let removed = fixture.store.lock_volumes().unwrap().remove("data").unwrap().unwrap();
    assert_eq!(fixture.store.volumes().unwrap(), Vec::<String>::new());
    removed.delete().unwrap();
}

#[test]
fn what_is_empty_is_filled_and_stays_the_same_directory() {
    let fixture = Fixture::new();
    let path = make(&fixture.store, "data");
    let inode = fs::metadata(&path).unwrap().ino();
    assert!(fill(&fixture.store, "data"));
    let found = fs::metadata(&path).unwrap();
    assert_eq!((found.ino(), found.mode() & 0o7777), (inode, 0o1750));
    assert_eq!(names(&path), ["a", "b", "c"]);
    assert_eq!(fs::read(path.join("b/file")).unwrap(), b"b");
    assert!(!fill(&fixture.store, "data"), "it is full");
    for folder in ["filling", "locks"] {
        assert_eq!(names(&fixture.store.root().join(folder)), Vec::<String>::new(), "{folder}");
    }
}

/// A container that runs with an empty volume writes to it while another one's start copies.
#[test]
fn what_somebody_has_written_meanwhile_stays() {
    let fixture = Fixture::new();
    let path = make(&fixture.store, "data");
    let filling = fixture.store.begin_filling("data").unwrap().unwrap();
    image(&filling.path());
    fs::write(path.join("mine"), "mine").unwrap();
    filling.finish().unwrap();
    assert_eq!(names(&path), ["mine"]);
}

#[test]
fn one_fills_and_the_others_wait_and_find_all_of_it() {
    let fixture = Fixture::new();
    let path = make(&fixture.store, "data");
    let filling = fixture.store.begin_filling("data").unwrap().unwrap();
    let (sender, filled) = mpsc::channel();
    std::thread::scope(|scope| {
        let (store, path) = (fixture.reopened(), &path);
        scope.spawn(move || sender.send((fill(&store, "data"), names(path))));
        assert!(filled.recv_timeout(Duration::from_millis(50)).is_err(), "it waits");
        image(&filling.path());
        filling.finish().unwrap();
        assert_eq!(filled.recv().unwrap(), (false, ["a", "b", "c"].map(str::to_owned).to_vec()));
    });
}

/// Runs in processes of its own, started by the test below.
#[test]
#[ignore = "a part of another test"]
fn child() {
    let Ok(root) = env::var(ROOT) else { return };
    let options = OpenOptions { failpoint: env::var(FAILPOINT).ok(), ..options() };
    fill(&Store::open(Path::new(&root), options).unwrap(), "data");
}

#[test]
fn a_volume_is_filled_as_a_whole_whoever_is_killed() {
    for point in ["volume-stage", "volume-stage.done", "volume-entry", "volume-entry.done"] {
        let fixture = Fixture::new();
        let path = make(&fixture.store, "data");
        let status: ExitStatus = Command::new(env::current_exe().unwrap())
            .args(["--exact", "volumes::child", "--ignored", "--quiet"])
            .env(ROOT, fixture.store.root())
            .env(FAILPOINT, point)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(!status.success(), "{point}: {status}");
        assert_eq!(names(&path).len(), usize::from(point == "volume-entry.done"), "{point}");
        let begun = point != "volume-stage";
        // What is there is what was begun with, also where the next one would have something else.
        let store = fixture.reopened();
        assert_eq!(store.begin_filling("data").unwrap().is_none(), begun, "{point}");
        assert_eq!(fill(&store, "data"), !begun, "{point}");
        assert_eq!(names(&path), ["a", "b", "c"], "{point}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o1750, "{point}");
        assert_eq!(names(&store.root().join("filling")), Vec::<String>::new(), "{point}");
        drop(store);
        assert_eq!(names(&fixture.store.root().join("tmp")).len(), 0, "{point}");
    }
}

#[test]
fn a_new_volume_has_nothing_of_an_old_one() {
    for by_hand in [false, true] {
        let fixture = Fixture::new();
        let path = make(&fixture.store, "data");
        image(&fixture.store.root().join("filling/data"));
        if by_hand {
            fs::remove_dir(&path).unwrap();
        } else {
            drop(fixture.store.lock_volumes().unwrap().remove("data").unwrap().unwrap());
            assert!(!fixture.store.root().join("filling/data").exists());
        }
        make(&fixture.store, "data");
        assert!(fixture.store.begin_filling("data").unwrap().is_some(), "it is empty");
        assert_eq!(names(&path), Vec::<String>::new());
    }
}
