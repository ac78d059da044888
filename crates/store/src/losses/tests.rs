use fs_err as fs;
use galley_oci::{Digest, Reference, Time};
use proptest::prelude::*;

use super::*;
use crate::{Image, OpenOptions, Record, images::names_in};

const CONFIG: &[u8] = b"{\"os\":\"linux\"}";

struct Stores {
    folder: tempfile::TempDir,
}

impl Stores {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// As another process would.
    fn open(&self) -> Store {
        Store::open(&self.folder.path().join("store"), OpenOptions::default()).unwrap()
    }

    fn names(&self, folder: &str) -> Vec<String> {
        names_in(&self.folder.path().join("store").join(folder)).unwrap_or_default()
    }
}

fn key(name: &str) -> Digest {
    Digest::blake3(name.as_bytes())
}

fn put(store: &Store, name: &str) {
    let layer = Digest::blake3(b"layer");
    let record =
        Record { layer, created: Time::default(), duration_ms: 1, log: None, made_of: None, boot: None };
    store.put_record(&key(name), &record).unwrap();
}

fn has(store: &Store, name: &str) -> bool {
    store.record(&key(name)).unwrap().is_some()
}

/// The kernel says that something could not be written.
fn fail(store: &Store) {
    store.failure().note(&Errno::IO.into());
}

fn is_lost_error<T: std::fmt::Debug>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Lost { .. }))
}

fn tag_image(store: &Store) -> Result<(), StoreError> {
    let id = Digest::sha256(CONFIG);
    let image =
        Image { id, config: CONFIG.to_vec(), layers: Vec::new(), manifest: None, created: Time::default() };
    store.put_image(&image)?;
    store.tag(&"app".parse::<Reference>().unwrap(), &id)
}

fn inode(path: &Path) -> u64 {
    rustix::fs::stat(path).unwrap().st_ino
}

#[test]
fn what_a_failed_barrier_should_have_covered_is_lost_to_everybody() {
    let stores = Stores::new();
    let first = stores.open();
    put(&first, "before");
    first.barrier().unwrap();
    put(&first, "lost");
    fail(&first);
    assert!(has(&first, "before") && !has(&first, "lost"));
    // Who has met it vouches for nothing any more, whatever the kernel says next.
    assert!(is_lost_error(first.barrier()) && is_lost_error(tag_image(&first)));
    drop(first);
    let second = stores.open();
    assert!(has(&second, "before") && !has(&second, "lost"));
    put(&second, "lost");
    tag_image(&second).unwrap();
    assert!(has(&second, "lost"));
    // Under another boot, with a barrier that came later, too.
    let lost = Stamp { boot: second.boot().to_owned(), nanoseconds: losses_of(&second)[0].until };
    assert_eq!(stores.open().vouched(&lost), None);
    assert_eq!(stores.names("tmp").len(), 2);
    drop(second);
    assert_eq!((stores.names("tmp").len(), stores.names("lost").len()), (0, 1));
}

fn losses_of(store: &Store) -> Vec<Loss> {
    store.read_losses().unwrap()
}

#[test]
fn a_process_that_began_before_it_was_lost_tags_nothing() {
    let stores = Stores::new();
    let (first, second, reader) = (stores.open(), stores.open(), stores.open());
    put(&first, "lost");
    put(&second, "other");
    assert!(has(&second, "lost") && has(&reader, "lost"));
    fail(&first);
    // Both have used it; one had begun to write and one had not.
    assert!(is_lost_error(tag_image(&second)) && is_lost_error(reader.barrier()));
    assert_eq!(stores.names("refs"), [""; 0]);
}

#[test]
fn where_it_cannot_be_noted_its_process_still_vouches_for_nothing() {
    let stores = Stores::new();
    let first = stores.open();
    put(&first, "lost");
    fs::write(first.root().join("lost"), "in the way").unwrap();
    fail(&first);
    assert!(is_lost_error(first.barrier()) && is_lost_error(tag_image(&first)));
}

#[test]
fn a_barrier_never_goes_back() {
    let stores = Stores::new();
    let (early, late) = (stores.open(), stores.open());
    put(&early, "early");
    let stamp = early.stamp();
    put(&late, "late");
    late.barrier().unwrap();
    let named = early.inner.durability.read(early.boot()).unwrap();
    assert!(named > stamp.nanoseconds);
    early.raise_barrier(&stamp).unwrap();
    assert_eq!(early.inner.durability.read(early.boot()), Some(named));
    drop((early, late));
    assert_eq!(stores.names("tmp"), [""; 0]);
}

#[test]
fn files_without_stamps_are_written_again() {
    let stores = Stores::new();
    let first = stores.open();
    let blob = first.put_blob(b"a blob").unwrap();
    tag_image(&first).unwrap();
    // What the barrier has not seen yet.
    fs::write(first.root().join("barriers").join(first.boot()), "1\n").unwrap();
    fail(&first);
    drop(first);
    let second = stores.open();
    let image = second.root().join("images").join(Digest::sha256(CONFIG).hex());
    let tag = second.root().join("refs").join(&stores.names("refs")[0]);
    let paths = [image, tag, second.blob_path(&blob)];
    let before = paths.each_ref().map(|path| inode(path));
    // Held, or the new ones could have the same numbers.
    let _held = paths.each_ref().map(|path| fs::File::open(path).unwrap());
    assert_eq!(second.blob_size(&blob), Some(6));
    tag_image(&second).unwrap();
    let after = paths.each_ref().map(|path| inode(path));
    assert!(before.iter().zip(after).all(|(before, after)| *before != after), "{before:?} {after:?}");
    // Once: they are younger than the loss.
    assert_eq!(second.blob_size(&blob), Some(6));
    tag_image(&second).unwrap();
    assert_eq!(paths.each_ref().map(|path| inode(path)), after);
}

#[test]
fn a_blob_that_cannot_be_written_again_is_none() {
    let stores = Stores::new();
    let first = stores.open();
    let blob = first.put_blob(b"a blob").unwrap();
    fs::write(first.root().join("barriers").join(first.boot()), "1\n").unwrap();
    fail(&first);
    // What the disk has in the place of its bytes.
    fs::write(first.blob_path(&blob), [0; 6]).unwrap();
    drop(first);
    let second = stores.open();
    assert_eq!(second.blob_size(&blob), None);
    second.put_blob(b"a blob").unwrap();
    assert_eq!(second.read_blob(&blob).unwrap().unwrap(), b"a blob");
}

#[test]
fn a_failure_that_a_thread_meets_is_the_barriers() {
    let stores = Stores::new();
    let first = stores.open();
    put(&first, "lost");
    first.inner.losses.failure.note(&Errno::IO.into());
    assert!(is_lost_error(first.barrier()));
    assert!(!has(&stores.open(), "lost"));
    drop(first);
    assert_eq!((stores.names("tmp").len(), stores.names("lost").len()), (0, 1));
}

#[test]
fn an_odd_lock_file_keeps_nobody_from_tidying() {
    let stores = Stores::new();
    let tmp = stores.open().root().join("tmp");
    // Whatever the order of the folder is.
    for name in ["a", "m", "z"] {
        fs::create_dir(tmp.join(format!("{name}.lock"))).unwrap();
        fs::create_dir(tmp.join(format!("{name}-dead"))).unwrap();
        fs::write(tmp.join(format!("{name}-dead.lock")), "").unwrap();
    }
    // Who only looks, and may have nothing to write.
    stores.open().tidy();
    assert_eq!(stores.names("tmp"), ["a.lock", "m.lock", "z.lock"]);
}

proptest! {
    #[test]
    fn names_say_what_was_lost(after: u64, until: u64, real: u64) {
        let loss = Loss { boot: "1f-2e".to_owned(), after, until, real };
        prop_assert_eq!(Loss::parse(&loss.name()), Some(loss.clone()));
        for nanoseconds in [0, after, until, until.saturating_add(1), u64::MAX] {
            let is_in = nanoseconds > after && nanoseconds <= until;
            prop_assert_eq!(loss.has(&Stamp { boot: "1f-2e".to_owned(), nanoseconds }), is_in);
            let other = Stamp { boot: "1f".to_owned(), nanoseconds };
            prop_assert!(!loss.has(&other));
        }
    }

    #[test]
    fn names_of_others_say_nothing(name in "[.a-z0-9/-]{0,60}") {
        prop_assert!(Loss::parse(&name).is_none_or(|loss| loss.name() == name));
    }
}
