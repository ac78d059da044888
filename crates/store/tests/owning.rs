//! Layers whose bytes become their own, in one file, while something else reads them.

use std::{collections::HashMap, io::Write, num::NonZeroU32, path::PathBuf};

use fs_err as fs;
use galley_oci::{
    Entry, FileContents, Kind, LayerBlob, LayerSink, TimePolicy, Tree,
    erofs::{self, Reader},
    layer::WriteLayerError,
    write_layer,
};
use galley_store::{KeepAll, Layer, Lower, Origin, Origins, Owning, Store, StoreError, Survey};

use crate::support::{Fixture, directory, file, packing};

const FILES: usize = 100;

/// A store that packs, and a layer of a hundred files somewhere else; `None` where nothing is packed.
fn fixture() -> Option<(Fixture, Store, Layer)> {
    let fixture = Fixture::new();
    let store = Store::open(fixture.store.root(), packing()).unwrap();
    if !store.id_map().is_empty() {
        return None;
    }
    let (mut entries, mut origins) = (vec![directory("")], Origins::new());
    for number in 0..FILES {
        // Some are small enough to stand between the metadata, some fill blocks, and one is empty.
        let content = number.to_string().repeat(number * 30);
        let (name, path) = (format!("{number:03}"), source(&fixture, number));
        fs::write(&path, &content).unwrap();
        entries.push(file(&name, content.as_bytes()));
        origins.insert(name.into_bytes(), Origin::Path(path));
    }
    link(&mut entries, 7, "other name", &mut origins);
    let layer = store.commit_origins(Tree::from_entries(entries), origins).unwrap();
    Some((fixture, store, layer))
}

fn source(fixture: &Fixture, number: usize) -> PathBuf {
    fixture.folder("context").join(number.to_string())
}

/// A second name for the file `number`.
fn link(entries: &mut Vec<Entry>, number: usize, name: &str, origins: &mut Origins) {
    let first = &mut entries[number + 1];
    let Kind::File { links, .. } = &mut first.kind else { unreachable!() };
    *links = NonZeroU32::new(1);
    let second = Entry { path: name.as_bytes().into(), ..first.clone() };
    origins.insert(name.as_bytes(), Origin::Path("/nonexistent".into()));
    entries.push(second);
}

fn archive(layer: &Layer, contents: &mut dyn FileContents) -> Result<Vec<u8>, WriteLayerError> {
    let mut out = Vec::new();
    write_layer(&layer.tree().unwrap(), TimePolicy::Keep, contents, &mut out)?;
    Ok(out)
}

fn packed(store: &Store, layer: &Layer) -> PathBuf {
    store.root().join("layers").join(layer.id().hex()).join("packed")
}

/// Everything that the tree says is in the one file.
fn check(store: &Store, layer: &Layer) {
    assert_eq!(store.lower(layer).unwrap(), Lower::Packed(packed(store, layer)));
    let file = fs::File::open(packed(store, layer)).unwrap().into_file();
    Reader::open(file).unwrap().check(&layer.tree().unwrap()).unwrap();
}

#[test]
fn what_is_archived_is_packed_in_the_same_pass() {
    let Some((fixture, store, layer)) = fixture() else { return };
    let before = archive(&layer, &mut store.contents(&layer).unwrap()).unwrap();
    let mut owning = store.begin_owning(&layer).unwrap().unwrap();
    assert!(archive(&layer, &mut owning).unwrap() == before);
    store.finish_owning(&layer, owning).unwrap();
    galley_store::remove_tree(&fixture.dir.path().join("context")).unwrap();
    check(&store, &layer);
    assert!(archive(&layer, &mut store.contents(&layer).unwrap()).unwrap() == before);
    assert!(store.begin_owning(&layer).unwrap().is_none());
}

#[test]
fn a_large_layer_is_packed_and_a_small_one_is_not() {
    let Some((_fixture, store, layer)) = fixture() else { return };
    store.own_bytes(&layer).unwrap();
    check(&store, &layer);
    let (tree, origins) = crate::support::files(&[("a", b"few")]);
    let small = store.commit_origins(tree, origins).unwrap();
    assert!(store.begin_owning(&small).unwrap().is_none());
    assert!(matches!(store.lower(&small).unwrap(), Lower::Directory(_)));
}

#[test]
fn a_layer_that_is_to_be_mounted_is_packed() {
    let Some((_fixture, store, layer)) = fixture() else { return };
    check(&store, &layer);
}

#[test]
fn where_nothing_is_packed_it_becomes_a_directory() {
    let Some((fixture, _, _)) = fixture() else { return };
    let plain = fixture.reopened();
    let (tree, origins) = {
        let names: Vec<String> = (0..FILES).map(|number| number.to_string()).collect();
        let all: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
        crate::support::files(&all)
    };
    let layer = plain.commit_origins(tree, origins).unwrap();
    assert!(plain.begin_owning(&layer).unwrap().is_none());
    assert!(matches!(plain.lower(&layer).unwrap(), Lower::Directory(_)));
}

#[test]
fn a_file_that_changed_meanwhile_is_not_kept() {
    let Some((fixture, store, layer)) = fixture() else { return };
    let path = source(&fixture, 50);
    let same_length = fs::read(&path).unwrap().len();
    fs::write(&path, vec![b'!'; same_length]).unwrap();
    let mut owning = store.begin_owning(&layer).unwrap().unwrap();
    let error = archive(&layer, &mut owning).unwrap_err();
    assert!(error.to_string().contains("\"050\" changed"), "{error}");
    drop(owning);
    let error = store.own_bytes(&layer).unwrap_err();
    assert!(matches!(&error, StoreError::FileChanged { path: named } if *named == path), "{error:?}");
    assert!(!packed(&store, &layer).exists());
    // One folder of this process and one of the fixture's, and nothing in ours.
    for folder in fs::read_dir(store.root().join("tmp")).unwrap() {
        let path = folder.unwrap().path();
        assert!(!path.is_dir() || fs::read_dir(&path).unwrap().count() == 0, "{}", path.display());
    }
}

#[test]
fn a_byte_that_flipped_in_the_store_is_damage_and_nobody_is_said_to_have_changed_a_file() {
    let Some((_fixture, store, layer)) = fixture() else { return };
    store.own_bytes(&layer).unwrap();
    let (mut entries, mut origins) = (vec![directory("")], Origins::new());
    for (index, entry) in layer.tree().unwrap().entries().iter().enumerate() {
        if let Kind::File { size, digest, links: None } = entry.kind {
            let name = [b"copy of ", &*entry.path].concat();
            let kind = Kind::File { size, digest, links: None };
            entries.push(Entry { path: name.clone().into(), kind, ..entry.clone() });
            origins.insert(name, Origin::Layer { layer: layer.clone(), index });
        }
    }
    let copy = store.commit_origins(Tree::from_entries(entries), origins).unwrap();
    let path = packed(&store, &layer);
    let mut bytes = fs::read(&path).unwrap();
    let content = "99".repeat(99 * 30);
    let at = bytes.windows(content.len()).position(|window| window == content.as_bytes()).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    // As another process finds it: what this one has read of the file is no matter here.
    let store = Store::open(store.root(), packing()).unwrap();
    let copy = store.layer(copy.id()).unwrap().unwrap();
    let error = store.own_bytes(&copy).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { path, .. } if path.ends_with("copy of 099")), "{error:?}");
    let archived = archive(&copy, &mut store.contents(&copy).unwrap()).unwrap_err();
    assert!(archived.to_string().contains("copy of 099"), "{archived}");
    let other = copy.other_content("copy of 099".into());
    assert!(matches!(&other, StoreError::Damaged { .. }), "{other:?}");
}

/// A context of two files that nobody has read, and what is made of them.
fn unread(fixture: &Fixture) -> (Survey, Tree, Origins) {
    let dir = fixture.folder("unread");
    fs::write(dir.join("large"), vec![7; 9 << 20]).unwrap();
    fs::write(dir.join("small"), b"few").unwrap();
    let mut survey = fixture.store.survey_context(&dir, &KeepAll).unwrap();
    assert_eq!(survey.new_bytes(), (9 << 20) + 3);
    let tree = Tree::clone(&survey.tree());
    let mut origins = Origins::new();
    for name in ["large", "small"] {
        origins.insert(name.as_bytes(), Origin::Path(dir.join(name)));
    }
    (survey, tree, origins)
}

/// Reads everything once; gives the digests by index.
fn read(tree: &Tree, owning: &mut Owning) -> Result<LayerBlob, WriteLayerError> {
    let mut sink = LayerSink::diff_id().unwrap();
    sink.write_layer(tree, TimePolicy::Keep, owning)?;
    Ok(sink.finish().unwrap().0)
}

fn with_digests(tree: Tree, found: &[(usize, [u8; 32])]) -> Tree {
    let mut entries = tree.into_entries();
    for (index, read) in found {
        let Kind::File { digest, .. } = &mut entries[*index].kind else { unreachable!() };
        *digest = *read;
    }
    Tree::from_entries(entries)
}

fn assert_nothing_is_left(store: &Store) {
    for folder in fs::read_dir(store.root().join("tmp")).unwrap() {
        let path = folder.unwrap().path();
        assert!(!path.is_dir() || fs::read_dir(&path).unwrap().count() == 0, "{}", path.display());
    }
}

#[test]
fn files_that_nobody_has_read_become_a_layer_in_one_pass() {
    let Some((fixture, store, _)) = fixture() else { return };
    let (survey, tree, origins) = unread(&fixture);
    let mut owning = store.begin_unread(&tree, origins).unwrap().unwrap();
    // What was in a file when it was read counts for everything, whatever it was before.
    fs::write(fixture.dir.path().join("unread/large"), vec![8; 9 << 20]).unwrap();
    let made = read(&tree, &mut owning).unwrap();
    let tree = with_digests(tree, &made.contents);
    let (layer, same) = store.commit_read(tree, owning).unwrap().unwrap();
    assert!(same);
    check(&store, &layer);
    let found = survey.read(&store, &made.contents.into_iter().collect()).unwrap();
    assert_eq!(found.tree, *layer.tree().unwrap());
    let again = fixture.reopened().walk_context(&fixture.dir.path().join("unread"), &KeepAll).unwrap();
    let kinds = |tree: &Tree| tree.entries().iter().map(|entry| entry.kind.clone()).collect::<Vec<_>>();
    assert_eq!(kinds(&again.tree), kinds(&found.tree));
    assert_nothing_is_left(&store);
}

#[test]
fn one_pass_that_is_given_up_leaves_nothing() {
    let Some((fixture, store, _)) = fixture() else { return };
    let (survey, tree, origins) = unread(&fixture);
    let layers = fs::read_dir(store.root().join("layers")).unwrap().count();
    let mut owning = store.begin_unread(&tree, origins).unwrap().unwrap();
    // It grows between the look and the reading.
    fs::write(fixture.dir.path().join("unread/small"), b"fewer").unwrap();
    let error = read(&tree, &mut owning).unwrap_err();
    assert!(error.to_string().contains("changed while"), "{error}");
    drop(owning);
    assert_nothing_is_left(&store);
    assert_eq!(fs::read_dir(store.root().join("layers")).unwrap().count(), layers);
    let found = survey.read(&store, &HashMap::new()).unwrap();
    let walked = fixture.reopened().walk_context(&fixture.dir.path().join("unread"), &KeepAll).unwrap();
    let digest = |tree: &Tree| tree.get(b"small").unwrap().kind.clone();
    assert_eq!(digest(&found.tree), digest(&walked.tree));
}

#[test]
fn a_file_with_attributes_is_not_for_one_pass() {
    let Some((fixture, store, _)) = fixture() else { return };
    let (_, tree, origins) = unread(&fixture);
    let path = fixture.dir.path().join("unread/small");
    rustix::fs::setxattr(&path, "user.a", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    let mut owning = store.begin_unread(&tree, origins).unwrap().unwrap();
    let error = read(&tree, &mut owning).unwrap_err();
    assert!(matches!(error, WriteLayerError::Open { .. }), "{error:?}");
}

/// What an engine of tar and packed file side by side relies on.
#[test]
fn a_content_that_nobody_asks_for_does_no_harm() {
    let mut writer = erofs::Writer::new(std::io::Cursor::new(Vec::new())).unwrap();
    writer.file().write_all(b"not finished").unwrap();
    let tree = Tree::from_entries(vec![directory("")]);
    writer.finish(&tree, |_| None).unwrap();
}
