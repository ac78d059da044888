//! Small trees for tests.

use std::{ops::Range, sync::Arc};

use proptest::prelude::*;

use crate::tree::{Entry, Kind, Meta, Time, Tree, parent};

pub(crate) fn directory(path: &str) -> Entry {
    Entry { path: path.as_bytes().into(), meta: Meta::new(0o755), kind: Kind::Directory { opaque: false } }
}

pub(crate) fn file(path: &str, content: &str) -> Entry {
    let digest = *crate::Digest::blake3(content.as_bytes()).bytes();
    let kind = Kind::File { size: content.len() as u64, digest, links: None };
    Entry { path: path.as_bytes().into(), meta: Meta::new(0o644), kind }
}

pub(crate) fn symlink(path: &str, target: &str) -> Entry {
    let kind = Kind::Symlink { target: target.as_bytes().into() };
    Entry { path: path.as_bytes().into(), meta: Meta::new(0o777), kind }
}

pub(crate) fn whiteout(path: &str) -> Entry {
    Entry { path: path.as_bytes().into(), meta: Meta::new(0), kind: Kind::Whiteout }
}

pub(crate) fn tree(entries: &[Entry]) -> Tree {
    Tree::from_entries(entries.to_vec())
}

pub(crate) fn paths(tree: &Tree) -> Vec<String> {
    tree.entries().iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => any::<bool>().prop_map(|opaque| Kind::Directory { opaque }),
        4 => (0..2_u8).prop_map(|content| Kind::File { size: 1, digest: [content; 32], links: None }),
        1 => prop::sample::select(vec!["a", "/b", "../a", "a/b/.."])
            .prop_map(|target| Kind::Symlink { target: target.as_bytes().into() }),
        2 => Just(Kind::Whiteout),
    ]
}

prop_compose! {
    fn entries()(
        path in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4),
        kind in kinds(),
        mode in prop::sample::select(vec![0o755_u16, 0o700]),
        seconds in 0..2_i64,
    ) -> Entry {
        let meta = Meta { mtime: Time::from_seconds(seconds), ..Meta::new(mode) };
        Entry { path: path.join("/").into_bytes().into(), meta, kind }
    }
}

/// Layers as steps leave them: the directories above every entry are there, and nothing is below what is none.
pub(crate) fn layers(count: Range<usize>) -> impl Strategy<Value = Vec<Arc<Tree>>> {
    let layer = prop::collection::vec(entries(), 0..12).prop_map(|entries| {
        let mut entries = Tree::from_entries(entries).into_entries();
        entries.insert(0, directory(""));
        let mut kept: Vec<Entry> = Vec::new();
        for entry in entries {
            let missing: Vec<&[u8]> = std::iter::successors(parent(&entry.path), |path| parent(path))
                .filter(|path| !kept.iter().any(|kept| *kept.path == **path))
                .collect();
            let made: Vec<Entry> =
                missing.into_iter().rev().map(|path| directory(&String::from_utf8_lossy(path))).collect();
            kept.extend(made);
            let above = parent(&entry.path).and_then(|path| kept.iter().find(|kept| *kept.path == *path));
            if above.is_none_or(Entry::is_directory) {
                kept.push(entry);
            }
        }
        // A parent that was made anew may stand below something that is no directory.
        let all = Tree::from_entries(kept.clone());
        let sound = |entry: &Entry| {
            std::iter::successors(parent(&entry.path), |path| parent(path))
                .all(|path| all.get(path).is_some_and(Entry::is_directory))
        };
        kept.retain(sound);
        Arc::new(Tree::from_entries(kept))
    });
    prop::collection::vec(layer, count)
}
