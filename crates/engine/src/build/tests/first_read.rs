//! A COPY of much that is new: one pass makes its key and its layer.

use galley_oci::{LayerSink, TimePolicy};
use galley_store::Layer;

use super::*;
use crate::blobs::{Wanted, diff_ids};

const TEXT: &str = "FROM scratch\nCOPY . /to/";

/// Whose images are kept, with a context of which a part is a hole; none where layers are not packed.
fn bench() -> Option<Bench> {
    let mut bench = Bench::new();
    bench.kept = Some(TimePolicy::Keep);
    if bench.store().packed_obstacle().is_some() {
        return None;
    }
    let path = bench.context().join("dir/large");
    bench.write("dir/large", "begin");
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(9 << 20).unwrap();
    for (name, text) in [("empty", ""), ("one", "content"), ("small", "x")] {
        bench.write(name, text);
    }
    fs::hard_link(bench.context().join("one"), bench.context().join("two")).unwrap();
    Some(bench)
}

fn layer(built: &Built) -> Layer {
    built.targets[0].layers().unwrap().pop().unwrap()
}

fn is_packed(bench: &Bench, layer: &Layer) -> bool {
    bench.store().root().join("layers").join(layer.id().hex()).join("packed").exists()
}

/// What `layer` really is as an archive.
fn diff_id(store: &Store, layer: &Layer) -> Digest {
    let mut sink = LayerSink::diff_id().unwrap();
    let tree = layer.tree().unwrap();
    sink.write_layer(&tree, TimePolicy::Keep, &mut store.contents(layer).unwrap()).unwrap();
    let (made, _) = sink.finish().unwrap();
    made.check(&tree).unwrap();
    made.diff_id
}

fn assert_nothing_is_left(bench: &Bench) {
    for folder in fs::read_dir(bench.store().root().join("tmp")).unwrap() {
        let path = folder.unwrap().path();
        assert!(!path.is_dir() || fs::read_dir(&path).unwrap().count() == 0, "{}", path.display());
    }
}

#[test]
fn what_is_new_is_a_layer_at_once_and_the_same_one() {
    let Some(mut bench) = bench() else { return };
    let built = bench.build(TEXT).unwrap();
    assert_eq!(built.counts.copies, 1);
    let (store, found) = (bench.store(), layer(&built));
    assert!(is_packed(&bench, &found));
    let packed = store.root().join("layers").join(found.id().hex()).join("packed");
    assert!(std::os::unix::fs::MetadataExt::blocks(&fs::metadata(packed).unwrap()) * 512 < 1 << 20);
    let wanted = Wanted { layer: found.clone(), times: TimePolicy::Keep, own: true };
    assert_eq!(diff_ids(&fetcher(&store), &[wanted]).unwrap(), [diff_id(&store, &found)]);
    // The same context, as a build that keeps nothing sees it.
    fs::rename(store.root(), bench.dir.path().join("other")).unwrap();
    bench.kept = None;
    let plain = bench.build(TEXT).unwrap();
    assert_eq!(layer(&plain).id(), found.id());
    assert!(!is_packed(&bench, &layer(&plain)));
}

#[test]
fn when_the_key_is_known_already_it_is_thrown_away() {
    let Some(bench) = bench() else { return };
    let first = bench.build(TEXT).unwrap();
    let before = layer(&first);
    drop(first);
    // As in a fresh checkout: nothing is known of the files.
    let contexts = bench.store().root().join("contexts");
    fs::read_dir(contexts).unwrap().for_each(|entry| fs::remove_file(entry.unwrap().path()).unwrap());
    let again = bench.build(TEXT).unwrap();
    assert_eq!((again.counts.copies, again.counts.hits), (0, 1));
    assert_eq!(layer(&again).integrity(), before.integrity());
    assert_nothing_is_left(&bench);
}

#[test]
fn what_turns_out_to_be_below_already_is_left_out() {
    let Some(bench) = bench() else { return };
    let built = bench.build("FROM scratch\nCOPY . /to/\nCOPY dir/large /to/dir/large").unwrap();
    let second = layer(&built).tree().unwrap();
    assert!(second.entries().iter().all(|entry| !matches!(entry.kind, Kind::File { .. })));
}

#[test]
fn attributes_that_nobody_expected_make_two_passes() {
    let Some(bench) = bench() else { return };
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(bench.context().join("small"), "user.a", b"1", flags).unwrap();
    let built = bench.build(TEXT).unwrap();
    let found = layer(&built);
    assert!(!is_packed(&bench, &found));
    assert!(found.tree().unwrap().get(b"to/small").unwrap().meta.xattrs.is_some());
    assert_nothing_is_left(&bench);
}

#[test]
fn only_the_part_that_is_copied_is_in_the_layer() {
    let Some(bench) = bench() else { return };
    let built = bench.build("FROM scratch\nCOPY --chown=7:8 dir /a\nCOPY one empty /b/").unwrap();
    let all = files(&built);
    assert_eq!(content(&bench, &built, "b/one"), "content");
    assert!(content(&bench, &built, "a/large").starts_with("begin\0"));
    assert_eq!(all.get(b"a/large").unwrap().meta.uid, 7);
    assert_eq!(all.get(b"b/empty").unwrap().kind, all_of(b""));
}

fn all_of(content: &[u8]) -> Kind {
    let digest = *Digest::blake3(content).bytes();
    Kind::File { size: content.len() as u64, digest, links: None }
}
