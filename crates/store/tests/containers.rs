use fs_err as fs;
use galley_store::StoreError;

use crate::support::Fixture;

#[test]
fn a_container_comes_back_by_name_id_and_prefix() {
    let fixture = Fixture::new();
    let made = fixture.store.create_container("web", b"{}").unwrap();
    made.write_state(b"running").unwrap();
    let store = fixture.reopened();
    for name in ["web", made.id(), &made.id()[..12]] {
        let found = store.container(name).unwrap().unwrap();
        assert_eq!(found.id(), made.id());
    }
    let found = store.container("web").unwrap().unwrap();
    assert_eq!((found.config().unwrap(), found.name().unwrap()), (b"{}".to_vec(), "web".to_owned()));
    assert_eq!(found.state().unwrap().unwrap(), b"running");
    assert!(found.upper().is_dir() && found.work().is_dir());
    for name in ["other", "../names", "..", "", "names"] {
        assert!(store.container(name).unwrap().is_none(), "{name:?}");
    }
}

#[test]
fn a_name_is_taken_until_its_container_goes() {
    let fixture = Fixture::new();
    let first = fixture.store.create_container("web", b"{}").unwrap();
    let error = fixture.store.create_container("web", b"{}").unwrap_err();
    assert!(
        matches!(&error, StoreError::NameTaken { holder, .. } if holder.contains(&first.id()[..12])),
        "{error}"
    );
    let path = first.path().to_owned();
    first.remove().unwrap();
    assert!(!path.exists());
    fixture.store.create_container("web", b"{}").unwrap();
    assert_eq!(fixture.store.containers().unwrap().len(), 1);
}

#[test]
fn the_lock_tells_whether_it_runs() {
    let fixture = Fixture::new();
    let container = fixture.store.create_container("web", b"{}").unwrap();
    let running = container.try_lock().unwrap().unwrap();
    let other = fixture.reopened().container("web").unwrap().unwrap();
    assert!(other.try_lock().unwrap().is_none() && other.is_held().unwrap());
    drop(running);
    assert!(!other.is_held().unwrap() && other.try_lock().unwrap().is_some());
    container.remove().unwrap();
    assert!(!other.is_held().unwrap(), "what is gone does not run");
}

/// Who prunes must not take a container between its making and its start.
#[test]
fn a_new_container_is_held_until_it_ran_or_is_handed_over() {
    let fixture = Fixture::new();
    let first = fixture.store.create_container("first", b"{}").unwrap();
    let found = fixture.reopened().container("first").unwrap().unwrap();
    assert!(found.is_held().unwrap() && found.try_lock().unwrap().is_none());
    let running = first.try_lock().unwrap();
    assert!(running.is_some() && found.is_held().unwrap());
    drop(running);
    assert!(!found.is_held().unwrap());
    let second = fixture.store.create_container("second", b"{}").unwrap();
    second.hand_over();
    assert!(!second.is_held().unwrap());
    let third = fixture.store.create_container("third", b"{}").unwrap();
    let path = third.path().to_owned();
    drop(third);
    let found = fixture.store.containers().unwrap().into_iter().find(|found| found.path() == path).unwrap();
    assert!(!found.is_held().unwrap(), "who made it is gone");
}

#[test]
fn who_looks_keeps_no_container_from_running() {
    let fixture = Fixture::new();
    let container = fixture.store.create_container("web", b"{}").unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                container.is_held().unwrap();
            }
        });
        let locked = (0..300).filter(|_| container.try_lock().unwrap().is_some()).count();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(locked, 300);
    });
}

/// A lock on the names of containers, as another process has it.
fn names_locked(fixture: &Fixture) -> rustix::fd::OwnedFd {
    let path = fixture.store.root().join("locks/containers");
    let file = rustix::fs::open(&path, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    file
}

/// A name may have another container by the time that the lock on names is free.
#[test]
fn who_removes_takes_no_name_of_another() {
    let fixture = Fixture::new();
    let first = fixture.store.create_container("aa", b"{}").unwrap();
    let second = fixture.store.create_container("bb", b"{}").unwrap();
    let names = names_locked(&fixture);
    std::thread::scope(|scope| {
        let removing = first.clone();
        scope.spawn(move || removing.remove().unwrap());
        // Time to look at the name before the lock, if that is what is done.
        std::thread::sleep(std::time::Duration::from_millis(200));
        // `rename aa cc; rename bb aa`, whose processes had the lock first.
        let folder = fixture.store.root().join("containers");
        for (container, name) in [(&first, "cc"), (&second, "aa")] {
            fs::write(folder.join("names").join(name), container.id()).unwrap();
            fs::write(container.path().join("name"), name).unwrap();
        }
        fs::remove_file(folder.join("names/bb")).unwrap();
        drop(names);
    });
    let left = fixture.store.container("aa").unwrap().expect("it has its name");
    assert_eq!(left.id(), second.id());
    assert!(fixture.store.container("cc").unwrap().is_none());
    assert!(fixture.store.create_container("aa", b"{}").is_err());
}

/// A container whose maker died before the name was its own says a name that another got since.
#[test]
fn a_name_that_was_never_its_own_is_left_to_its_container() {
    let fixture = Fixture::new();
    let half = fixture.store.create_container("aa", b"{}").unwrap();
    fs::remove_file(fixture.store.root().join("containers/names/aa")).unwrap();
    let whole = fixture.store.create_container("aa", b"{}").unwrap();
    half.clone().remove().unwrap();
    assert_eq!(fixture.store.container("aa").unwrap().expect("it has its name").id(), whole.id());
    let other = fixture.store.create_container("bb", b"{}").unwrap();
    fs::write(other.path().join("name"), "aa").unwrap();
    fixture.store.rename_container(&other, "cc").unwrap();
    assert_eq!(fixture.store.container("aa").unwrap().expect("it has its name").id(), whole.id());
}

#[test]
fn what_is_gone_gets_no_name() {
    let fixture = Fixture::new();
    let container = fixture.store.create_container("aa", b"{}").unwrap();
    container.clone().remove().unwrap();
    fixture.store.rename_container(&container, "bb").unwrap_err();
    assert!(!fixture.store.root().join("containers/names/bb").exists());
}
