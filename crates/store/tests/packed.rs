//! Layers that are one file.

use std::io::Read;

use fs_err as fs;
use galley_oci::{Entry, Time, Tree, erofs::Reader};
use galley_store::{Layer, Lower, OpenOptions, Origin, Origins, Store, StoreError, remove_tree};

use crate::support::{Fixture, TarEntry, directory, is_root, options, packing, tar};

/// A store that packs.
fn fixture() -> (Fixture, Store) {
    let fixture = Fixture::new();
    let store = Store::open(fixture.store.root(), packing()).unwrap();
    (fixture, store)
}

fn archive() -> Vec<u8> {
    tar(&[
        TarEntry::directory("d"),
        TarEntry::file("d/large", &[7; 9_000]),
        TarEntry::file("d/small", b"few"),
        TarEntry::hard_link("linked", "d/large"),
        TarEntry::file("empty", b""),
        TarEntry::file("d/.wh.gone", b""),
    ])
}

fn layer(store: &Store) -> Layer {
    let new = store.unpack_layer(&mut archive().as_slice()).unwrap();
    store.commit_new(new).unwrap()
}

fn folder(store: &Store, layer: &Layer) -> std::path::PathBuf {
    store.root().join("layers").join(layer.id().hex())
}

fn names(store: &Store, layer: &Layer) -> Vec<String> {
    let names = fs::read_dir(folder(store, layer)).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn content(store: &Store, layer: &Layer, path: &str) -> Vec<u8> {
    let index = layer.tree().unwrap().position(path.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    store.open_file(layer, index).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_packed_layer_is_one_file_that_owns_its_bytes() {
    let (_fixture, store) = fixture();
    if !store.id_map().is_empty() {
        return; // Nothing is packed in a user namespace.
    }
    let layer = layer(&store);
    assert_eq!(names(&store, &layer), ["info", "packed", "tree"]);
    let path = folder(&store, &layer).join("packed");
    assert_eq!(store.lower(&layer).unwrap(), Lower::Packed(path.clone()));
    let reader = Reader::open(fs::File::open(path).unwrap().into_file()).unwrap();
    reader.check(&layer.tree().unwrap()).unwrap();
    for (name, bytes) in
        [("d/large", &[7; 9_000][..]), ("linked", &[7; 9_000]), ("d/small", b"few"), ("empty", b"")]
    {
        assert_eq!(content(&store, &layer, name), bytes, "{name}");
    }
    store.own_bytes(&layer).unwrap();
    assert_eq!(names(&store, &layer), ["info", "packed", "tree"]);
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 2);
}

/// In both forms a file of several names is read once, which the check says in bytes.
#[test]
fn a_check_reads_a_file_of_several_names_once() {
    if !is_root() {
        return;
    }
    let (packed, unpacked) = (fixture(), Fixture::new());
    for store in [&packed.1, &unpacked.store] {
        layer(store);
        let checked = store.check(&|_| ()).unwrap();
        assert_eq!(checked.findings, []);
        assert_eq!(checked.bytes, 9_003);
    }
}

#[test]
fn the_same_archive_is_the_same_layer_in_both_forms() {
    let (fixture, store) = fixture();
    if !is_root() {
        return;
    }
    let packed = layer(&store);
    let other = Fixture::new();
    let unpacked = layer(&other.store);
    assert_eq!((packed.id(), packed.integrity()), (unpacked.id(), unpacked.integrity()));
    assert_eq!(names(&other.store, &unpacked), ["diff", "info", "tree"]);
    // A process that cannot mount it makes a directory of it, which is the same.
    let cannot = fixture.reopened();
    let known = cannot.layer(packed.id()).unwrap().unwrap();
    let Lower::Directory(path) = cannot.lower(&known).unwrap() else { panic!("mounted") };
    let scanned = cannot.scan(&path, &galley_store::ScanOptions::default()).unwrap();
    assert_eq!(scanned.entries(), packed.tree().unwrap().entries());
}

#[test]
fn a_store_with_a_packed_layer_is_closed_to_programs_that_know_none() {
    let (_fixture, store) = fixture();
    let version = || fs::read_to_string(store.root().join("version")).unwrap();
    let before = version();
    assert!(before.contains("\"format\":1,"), "{before}");
    if !store.id_map().is_empty() {
        return;
    }
    layer(&store);
    assert_eq!(version(), before.replace("\"format\":1,", "\"format\":2,"));
    Store::open(store.root(), options()).unwrap();
}

#[test]
fn a_reference_to_a_packed_layer_is_as_good_as_any() {
    let (fixture, store) = fixture();
    if !is_root() {
        return;
    }
    let base = layer(&store);
    let tree = base.tree().unwrap();
    let index = tree.position(b"d/large").unwrap();
    let mut origins = Origins::new();
    origins.insert(b"copy".as_slice(), Origin::Layer { layer: base.clone(), index });
    let copied = Entry { path: b"copy".as_slice().into(), ..tree.entries()[index].clone() };
    let top = store.commit_origins(Tree::from_entries(vec![directory(""), copied]), origins).unwrap();
    let other = fixture.reopened();
    let known = other.layer(top.id()).unwrap().unwrap();
    assert!(other.has_bytes(&known));
    assert_eq!(content(&other, &known, "copy"), [7; 9_000]);
    other.own_bytes(&known).unwrap();
    remove_tree(&folder(&store, &base)).unwrap();
    assert_eq!(content(&fixture.reopened(), &known, "copy"), [7; 9_000]);
}

/// A layer whose bytes are gone, with times that the archive has not, gets them from a twin.
#[test]
fn a_packed_twin_lends_its_bytes() {
    if !is_root() || !options().id_map.is_empty() {
        return;
    }
    for (seconds, form) in [(None, "packed"), (Some(77), "diff")] {
        let (fixture, elsewhere) = (Fixture::new(), Fixture::new());
        let tree = layer(&elsewhere.store).tree().unwrap();
        let mut entries = tree.entries().to_vec();
        let mut origins = Origins::new();
        for entry in &mut entries {
            let time = seconds.map_or(entry.meta.mtime, |seconds| Time { seconds, nanoseconds: 0 });
            if entry.kind != galley_oci::Kind::Whiteout {
                entry.meta.mtime = time;
            }
            origins.insert(entry.path.clone(), Origin::Bytes([].into()));
        }
        let tree = Tree::from_entries(entries);
        let first = fixture.store.commit_origins(tree.clone(), origins).unwrap();
        let store = Store::open(fixture.store.root(), packing()).unwrap();
        let known = store.layer(first.id()).unwrap().unwrap();
        assert!(!store.has_bytes(&known));
        let adopted = layer(&store);
        assert_eq!(adopted.integrity(), first.integrity());
        assert_eq!(
            names(&store, &adopted),
            if form == "diff" { ["diff", "info", "tree"] } else { ["info", "packed", "tree"] }
        );
        assert_eq!(content(&store, &adopted, "d/large"), [7; 9_000]);
        let scanned = store.scan(&store.directory(&adopted).unwrap(), &galley_store::ScanOptions::default());
        assert_eq!(scanned.unwrap().entries(), tree.entries());
    }
}

#[test]
fn a_packed_layer_that_is_cut_off_is_damaged_and_no_panic() {
    let (fixture, store) = fixture();
    if !store.id_map().is_empty() {
        return;
    }
    let packed = layer(&store);
    let path = folder(&store, &packed).join("packed");
    let whole = fs::read(&path).unwrap();
    let index = packed.tree().unwrap().position(b"d/large").unwrap();
    for length in [0, 100, 4_096, whole.len() - 4_096] {
        fs::write(&path, &whole[..length]).unwrap();
        let store = fixture.reopened();
        let known = store.layer(packed.id()).unwrap().unwrap();
        let read = store.open_file(&known, index).map(|mut content| content.read_to_end(&mut Vec::new()));
        assert!(matches!(read, Err(StoreError::Damaged { .. }) | Ok(Err(_))), "{length}: {read:?}");
    }
}

#[test]
fn the_kernel_is_asked_once_and_the_reason_is_told() {
    let fixture = Fixture::new();
    let with =
        |mount_trial| Store::open(fixture.store.root(), OpenOptions { mount_trial, ..options() }).unwrap();
    assert_eq!(with(None).packed_obstacle(), Some("it is switched off"));
    if options().id_map.is_empty() {
        let store = with(Some(|_| Err(std::io::Error::other("no such file system"))));
        let why = "the kernel does not mount files of this file system: no such file system";
        assert_eq!(store.packed_obstacle(), Some(why));
        let layer = layer(&store);
        assert_eq!(names(&store, &layer), ["diff", "info", "tree"]);
    } else {
        let why = "Linux mounts no such files in a user namespace";
        assert_eq!(with(Some(|_| Ok(()))).packed_obstacle(), Some(why));
    }
}

/// Another process mounts it and works on it.
fn mounted(fixture: &Fixture, layer: &Layer) -> (Store, Lower) {
    let store = Store::open(fixture.store.root(), packing()).unwrap();
    let known = store.layer(layer.id()).unwrap().unwrap();
    let lower = store.lower(&known).unwrap();
    assert_eq!(store.lower(&known).unwrap(), lower);
    // Twice in one process is once.
    store.count_use(&known);
    store.count_use(&known);
    (store, lower)
}

#[test]
fn what_is_used_often_is_unpacked() {
    let (fixture, store) = fixture();
    if !is_root() || !store.id_map().is_empty() {
        return; // Nothing is packed in a user namespace; and devices stand for what is gone.
    }
    let layer = layer(&store);
    drop(store);
    for _ in 0..3 {
        let (store, lower) = mounted(&fixture, &layer);
        assert!(matches!(lower, Lower::Packed(_)));
        store.unpack_worn().unwrap();
        assert_eq!(names(&store, &layer), ["info", "packed", "tree", "uses"]);
    }
    let (fourth, lower) = mounted(&fixture, &layer);
    assert!(matches!(lower, Lower::Packed(_)));
    fourth.unpack_worn().unwrap();
    assert_eq!(names(&fourth, &layer), ["diff", "info", "tree", "uses"]);
    drop(fourth);
    let (fifth, lower) = mounted(&fixture, &layer);
    assert_eq!(lower, Lower::Directory(folder(&fifth, &layer).join("diff")));
    let known = fifth.layer(layer.id()).unwrap().unwrap();
    assert_eq!(content(&fifth, &known, "d/small"), b"few");
    let scanned = fifth.scan(&folder(&fifth, &known).join("diff"), &Default::default()).unwrap();
    assert_eq!(scanned.entries(), known.tree().unwrap().entries());
}

#[test]
fn what_another_process_uses_stays_packed_too() {
    let (fixture, store) = fixture();
    if !is_root() || !store.id_map().is_empty() {
        return;
    }
    let layer = layer(&store);
    let others: Vec<_> = (0..3).map(|_| mounted(&fixture, &layer)).collect();
    others.iter().for_each(|(other, _)| other.settle());
    let (last, _) = mounted(&fixture, &layer);
    last.unpack_worn().unwrap();
    assert_eq!(names(&last, &layer), ["diff", "info", "packed", "tree", "uses"]);
    assert!(last.check(&|_| {}).unwrap().findings.is_empty());
    // Nor does it go while one of them is left, whoever comes.
    let (next, lower) = mounted(&fixture, &layer);
    assert!(matches!(lower, Lower::Directory(_)));
    next.unpack_worn().unwrap();
    assert!(folder(&next, &layer).join("packed").exists());
    drop((others, last, next, store));
    let (next, _) = mounted(&fixture, &layer);
    next.unpack_worn().unwrap();
    assert_eq!(names(&next, &layer), ["diff", "info", "tree", "uses"]);
    let info = fs::read_to_string(folder(&next, &layer).join("info")).unwrap();
    assert!(!info.contains("packed_left"), "{info}");
    assert!(next.check(&|_| {}).unwrap().findings.is_empty());
}
