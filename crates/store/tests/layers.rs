use std::{io::Read, thread};

use fs_err as fs;
use galley_oci::{Entry, Kind, Time, Tree};
use galley_store::{Busy, Layer, Origin, Origins, ScanOptions, Store, StoreError, TempDir};

use crate::support::{Fixture, directory, file, files, write};

fn content(store: &Store, layer: &Layer, path: &str) -> Vec<u8> {
    let index = layer.tree().unwrap().position(path.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    store.open_file(layer, index).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// A layer with a directory of its own.
fn owning(fixture: &Fixture, all: &[(&str, &[u8])]) -> Layer {
    let (tree, origins) = files(all);
    let layer = fixture.store.commit_origins(tree, origins).unwrap();
    fixture.store.own_bytes(&layer).unwrap();
    layer
}

/// A layer that has the files of `below` under new names.
fn referring(fixture: &Fixture, below: &Layer, renames: &[(&str, &str)]) -> Layer {
    let tree = below.tree().unwrap();
    let mut origins = Origins::new();
    let mut entries = vec![directory("")];
    for (from, to) in renames {
        let index = tree.position(from.as_bytes()).unwrap();
        entries.push(Entry { path: to.as_bytes().into(), ..tree.entries()[index].clone() });
        origins.insert(to.as_bytes(), Origin::Layer { layer: below.clone(), index });
    }
    fixture.store.commit_origins(Tree::from_entries(entries), origins).unwrap()
}

#[test]
fn bytes_in_memory_live_in_one_process() {
    let fixture = Fixture::new();
    let (tree, origins) = files(&[("empty", b""), ("hello", b"world")]);
    let layer = fixture.store.commit_origins(tree.clone(), origins).unwrap();
    assert_eq!(layer.id(), &tree.layer_id());
    assert!(fixture.store.has_bytes(&layer));
    assert_eq!(content(&fixture.store, &layer, "hello"), b"world");
    assert_eq!(content(&fixture.store, &layer, "empty"), b"");
    let other = fixture.reopened();
    let known = other.layer(layer.id()).unwrap().unwrap();
    assert_eq!(*known.tree().unwrap(), tree);
    assert!(!other.has_bytes(&known));
    assert!(matches!(other.directory(&known).unwrap_err(), StoreError::NoBytes { .. }));
    fixture.store.own_bytes(&layer).unwrap();
    assert!(other.has_bytes(&known));
    assert_eq!(content(&other, &known, "hello"), b"world");
}

#[test]
fn references_outlive_the_process_and_lead_to_the_bytes_at_once() {
    let fixture = Fixture::new();
    let base = owning(&fixture, &[("a", b"first"), ("b", b"second")]);
    let middle = referring(&fixture, &base, &[("a", "x"), ("b", "y")]);
    let top = referring(&fixture, &middle, &[("y", "deep")]);
    let other = fixture.reopened();
    let known = other.layer(top.id()).unwrap().unwrap();
    assert!(other.has_bytes(&known));
    assert_eq!(content(&other, &known, "deep"), b"second");
    // What it refers to is the base, not the layer between.
    galley_store::remove_tree(&fixture.store.root().join("layers").join(middle.id().hex())).unwrap();
    let other = fixture.reopened();
    let known = other.layer(top.id()).unwrap().unwrap();
    assert_eq!(content(&other, &known, "deep"), b"second");
    other.own_bytes(&known).unwrap();
    galley_store::remove_tree(&fixture.store.root().join("layers").join(base.id().hex())).unwrap();
    let last = fixture.reopened();
    let known = last.layer(top.id()).unwrap().unwrap();
    assert_eq!(content(&last, &known, "deep"), b"second");
    assert!(!last.root().join("layers").join(top.id().hex()).join("refs").exists());
}

#[test]
fn a_layer_without_its_base_has_no_bytes() {
    let fixture = Fixture::new();
    let base = owning(&fixture, &[("a", b"first")]);
    let top = referring(&fixture, &base, &[("a", "x")]);
    galley_store::remove_tree(&fixture.store.root().join("layers").join(base.id().hex())).unwrap();
    let other = fixture.reopened();
    let known = other.layer(top.id()).unwrap().unwrap();
    assert!(!other.has_bytes(&known));
    assert!(matches!(other.open_file(&known, 1).unwrap_err(), StoreError::NoBytes { .. }));
}

#[test]
fn a_file_that_changes_under_the_build_is_named() {
    let fixture = Fixture::new();
    let dir = fixture.folder("context");
    for (written, name) in [(b"other".as_slice(), "changed"), (b"longer than it was", "grown"), (b"", "cut")]
    {
        let path = dir.join(name);
        let mut origins = Origins::new();
        origins.insert(b"file".as_slice(), Origin::Path(path.clone()));
        let tree = Tree::from_entries(vec![directory(name), directory(""), file("file", b"bytes")]);
        write(&dir, name, b"bytes");
        let layer = fixture.store.commit_origins(tree, origins).unwrap();
        write(&dir, name, written);
        let error = fixture.store.own_bytes(&layer).unwrap_err();
        assert!(matches!(&error, StoreError::FileChanged { path: named } if *named == path), "{error:?}");
        assert!(!fixture.reopened().has_bytes(&layer) || fixture.store.has_bytes(&layer));
        write(&dir, name, b"bytes");
        fixture.store.own_bytes(&layer).unwrap();
    }
}

#[test]
fn a_file_without_an_origin_is_named() {
    let fixture = Fixture::new();
    let (tree, _) = files(&[("lost", b"bytes")]);
    let error = fixture.store.commit_origins(tree, Origins::new()).unwrap_err();
    assert!(error.to_string().contains("the file lost of layer blake3:"), "{error}");
}

fn with_times(tree: &Tree, seconds: i64) -> Tree {
    let mut entries = tree.entries().to_vec();
    entries.iter_mut().for_each(|entry| entry.meta.mtime = Time { seconds, nanoseconds: 0 });
    Tree::from_entries(entries)
}

#[test]
fn the_first_of_two_equal_layers_stays_with_its_times() {
    let fixture = Fixture::new();
    let first = owning(&fixture, &[("a", b"same")]);
    let times = first.tree().unwrap();
    let (tree, origins) = files(&[("a", b"same")]);
    let again = fixture.store.commit_origins(with_times(&tree, 77), origins).unwrap();
    assert_eq!((again.id(), again.integrity()), (first.id(), first.integrity()));
    assert_eq!(again.tree().unwrap(), times);
    let other = fixture.reopened();
    assert_eq!(other.layer(first.id()).unwrap().unwrap().integrity(), first.integrity());
}

#[test]
fn bytes_that_come_later_get_the_times_of_the_layer() {
    let fixture = Fixture::new();
    let (tree, origins) = files(&[("a", b"same")]);
    let first = fixture.store.commit_origins(tree.clone(), origins).unwrap();
    let later = fixture.reopened();
    let temp = later.temp_dir("step").unwrap();
    write(&temp.diff(), "a", b"same");
    crate::support::chmod(&temp.diff(), 0o755);
    crate::support::chmod(&temp.diff().join("a"), 0o644);
    let twin = later.scan(&temp.diff(), &ScanOptions::default()).unwrap();
    let ids_differ = twin.layer_id() != tree.layer_id();
    if ids_differ && !rustix::process::geteuid().is_root() {
        return; // Owned by an ordinary user, it is another layer.
    }
    let layer = later.commit_dir(temp, twin).unwrap();
    assert_eq!(layer.integrity(), first.integrity());
    let path = later.directory(&layer).unwrap();
    let scanned = later.scan(&path, &ScanOptions::default()).unwrap();
    assert_eq!(scanned.integrity(), tree.integrity());
    assert!(fixture.store.has_bytes(&first));
}

/// A step's directory with one file.
fn step(store: &Store, busy: &Busy) -> (TempDir, Tree) {
    let mut temp = store.temp_dir("step").unwrap().removed_later();
    temp.keep_while(busy.clone());
    write(&temp.diff(), "a", b"same");
    let tree = store.scan(&temp.diff(), &ScanOptions::default()).unwrap();
    (temp, tree)
}

#[test]
fn what_is_still_mounted_is_neither_mounted_again_nor_removed() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let (first, second) = (Busy::default(), Busy::default());
    let (temp, tree) = step(store, &first);
    let layer = store.commit_dir(temp, tree).unwrap();
    let (temp, tree) = step(store, &second);
    let path = temp.path().to_owned();
    store.commit_dir(temp, tree).unwrap();
    thread::scope(|scope| {
        let lower = scope.spawn(|| store.lower(&layer).map(drop));
        thread::yield_now();
        assert!(!lower.is_finished());
        first.end();
        lower.join().unwrap().unwrap();
    });
    assert!(path.join("diff/a").exists());
    second.end();
    while path.exists() {
        thread::yield_now();
    }
}

#[test]
fn a_damaged_tree_is_not_believed() {
    let fixture = Fixture::new();
    let layer = owning(&fixture, &[("a", b"x")]);
    let path = fixture.store.root().join("layers").join(layer.id().hex()).join("tree");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let other = fixture.reopened();
    let known = other.layer(layer.id()).unwrap().unwrap();
    assert!(matches!(known.tree().unwrap_err(), StoreError::Damaged { what: "the tree", .. }));
}

#[test]
fn a_layer_that_a_power_cut_may_have_hit_is_made_anew() {
    let fixture = Fixture::new();
    let layer = owning(&fixture, &[("a", b"x")]);
    let folder = fixture.store.root().join("layers").join(layer.id().hex());
    let info = fs::read_to_string(folder.join("info")).unwrap();
    let boot = info.split("\"boot\":\"").nth(1).unwrap().split('"').next().unwrap();
    fs::write(folder.join("info"), info.replace(boot, "0-1-2-3-4")).unwrap();
    fs::write(folder.join("diff/a"), "").unwrap();
    let other = fixture.reopened();
    assert!(other.layer(layer.id()).unwrap().is_none());
    let (tree, origins) = files(&[("a", b"x")]);
    let anew = other.commit_origins(tree, origins).unwrap();
    other.own_bytes(&anew).unwrap();
    assert_eq!(content(&other, &anew, "a"), b"x");
    assert_eq!(fs::read_to_string(folder.join("diff/a")).unwrap(), "x");
}

#[test]
fn what_others_may_write_to_is_hashed_again() {
    let fixture = Fixture::new();
    let step = |name| {
        let temp = fixture.store.temp_dir("step").unwrap();
        write(&temp.diff(), name, b"x");
        let tree = fixture.store.scan(&temp.diff(), &ScanOptions::default()).unwrap();
        fixture.store.commit_dir(temp, tree).unwrap()
    };
    let (one, other) = (step("one"), step("other"));
    other.mistrust();
    assert_eq!([one, other].map(|layer| layer.was_hashed_here()), [true, false]);
}

#[test]
fn no_file_of_a_layer_leads_out_of_it() {
    let fixture = Fixture::new();
    let layer = owning(&fixture, &[("a", b"x")]);
    let diff = fixture.store.directory(&layer).unwrap();
    fs::remove_file(diff.join("a")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", diff.join("a")).unwrap();
    assert!(fixture.store.open_file(&layer, 1).is_err());
    assert!(matches!(
        fixture.store.open_file(&layer, 9).unwrap_err(),
        StoreError::NoSuchEntry { index: 9, .. }
    ));
    assert_eq!(layer.tree().unwrap().entries()[0].kind, Kind::Directory { opaque: false });
}
