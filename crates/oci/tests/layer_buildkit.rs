//! Layers against those of BuildKit (Dockerfile frontend 1.26): what a RUN step left in an overlay upper, the minimal layer made of it, and
//! its tar.

use std::{
    io::{self, Cursor, Read},
    num::NonZeroU32,
    sync::Arc,
};

use galley_oci::{
    Entry, Kind, Meta, Stack, Time, TimePolicy, Tree,
    archive::{ItemKind, Reader, Whiteouts},
    minimal, write_layer,
};

use crate::helpers::golden;

/// Paths and contents.
type Contents = Vec<(Box<[u8]>, Vec<u8>)>;

/// The tree of a layer, and the contents of its files.
fn tree_of(name: &str) -> (Tree, Contents) {
    let archive = golden(name);
    let mut reader = Reader::new(archive.as_slice(), Whiteouts::Read);
    let mut entries: Vec<Entry> = vec![directory("")];
    let mut contents = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        let kind = match item.kind {
            ItemKind::Directory => Kind::Directory { opaque: false },
            ItemKind::File { size } => {
                let mut content = Vec::new();
                reader.content().read_to_end(&mut content).unwrap();
                let digest = *galley_oci::Digest::blake3(&content).bytes();
                contents.push((item.path.clone(), content));
                Kind::File { size, digest, links: None }
            }
            ItemKind::HardLink { target } => link(&mut entries, &target),
            ItemKind::Symlink { target } => Kind::Symlink { target },
            ItemKind::CharDevice { major, minor } => Kind::CharDevice { major, minor },
            ItemKind::Fifo => Kind::Fifo,
            ItemKind::Whiteout => Kind::Whiteout,
            other => panic!("{other:?}"),
        };
        entries.push(Entry { path: item.path, meta: item.meta, kind });
    }
    (Tree::from_entries(entries), contents)
}

/// Puts the file at `target` into a group and returns its kind.
fn link(entries: &mut [Entry], target: &[u8]) -> Kind {
    let number = u32::try_from(entries.len()).unwrap();
    let entry = entries.iter_mut().find(|entry| *entry.path == *target).unwrap();
    if let Kind::File { links: links @ None, .. } = &mut entry.kind {
        *links = NonZeroU32::new(number);
    }
    entry.kind.clone()
}

fn directory(path: &str) -> Entry {
    Entry { path: path.as_bytes().into(), meta: Meta::new(0o755), kind: Kind::Directory { opaque: false } }
}

#[test]
fn the_tar_is_that_of_buildkit() {
    for name in ["buildkit-below.tar.gz", "buildkit-changes.tar.gz"] {
        let (tree, contents) = tree_of(name);
        let mut open = |index: usize| -> io::Result<Box<dyn Read>> {
            let path = &tree.entries()[index].path;
            let (_, content) = contents.iter().find(|(known, _)| known == path).unwrap();
            Ok(Box::new(Cursor::new(content.clone())))
        };
        let mut written = Vec::new();
        write_layer(&tree, TimePolicy::Keep, &mut open, &mut written).unwrap();
        assert!(written == golden(name), "{name}");
    }
}

/// What the step leaves in its overlay upper, on top of what the minimal layer has.
fn upper(layer: &Tree, below: &Tree) -> Tree {
    let mut entries = layer.clone().into_entries();
    // Whiteouts in d2 are BuildKit's way to say that it was made anew.
    entries.retain(|entry| !(entry.path.starts_with(b"l/d2/") && entry.kind == Kind::Whiteout));
    for entry in &mut entries {
        if matches!(&*entry.path, b"l/d2" | b"l/d7/f" | b"l/d6") {
            entry.kind = Kind::Directory { opaque: true };
        }
    }
    let below = |path: &str| below.get(path.as_bytes()).unwrap().clone();
    let touched = |path: &str| {
        let entry = below(path);
        let meta = Meta { mtime: Time::from_seconds(1_700_000_002), ..entry.meta };
        Entry { meta, ..entry }
    };
    entries.extend([
        // Copied up for nothing: chmod there and back, another name, a touched directory.
        below("l/d4/same"),
        below("l/d5/a"),
        below("l/d2/same"),
        touched("l/d3"),
        touched("l/d11"),
        below("l/d11/keep"),
        // Made and removed again.
        Entry { path: b"l/created"[..].into(), meta: Meta::new(0), kind: Kind::Whiteout },
    ]);
    // `ln d5/a d5/b` made a group of the copied-up file and its new name.
    let group = NonZeroU32::new(99);
    for entry in &mut entries {
        if let (b"l/d5/a" | b"l/d5/b", Kind::File { links, .. }) = (&*entry.path, &mut entry.kind) {
            *links = group;
        }
    }
    Tree::from_entries(entries)
}

#[test]
fn the_minimal_layer_is_that_of_buildkit() {
    let (below, _) = tree_of("buildkit-below.tar.gz");
    let (wanted, _) = tree_of("buildkit-changes.tar.gz");
    let changes = upper(&wanted, &below);
    let stack = Stack::new(vec![Arc::new(below)]);
    let layer = minimal(changes, &stack);
    assert_eq!(layer, wanted);
    assert_eq!(layer.layer_id(), wanted.layer_id());
}

#[test]
fn a_file_that_changes_while_it_is_written_is_named() {
    let (tree, _) = tree_of("buildkit-below.tar.gz");
    let write = |content: &'static str| {
        let mut open = |_: usize| -> io::Result<Box<dyn Read>> { Ok(Box::new(content.as_bytes())) };
        write_layer(&tree, TimePolicy::Keep, &mut open, &mut io::sink()).unwrap_err().to_string()
    };
    assert_eq!(
        write("d1/gonE\n"),
        r#"the content of "l/d1/gone" changed while the layer was being written: build again"#
    );
    let length = |found| {
        format!(r#""l/d1/gone" was 8 bytes long and is now {found}: it changed while it was being archived"#)
    };
    assert_eq!(write("short"), length("5"));
    assert_eq!(write("longer than that"), length("9"));
}

#[test]
fn times_are_kept_set_or_clamped() {
    let (early, late) = (Time::from_seconds(5), Time { seconds: 9, nanoseconds: 7 });
    assert_eq!(TimePolicy::Keep.apply(late), Time::from_seconds(9));
    assert_eq!(TimePolicy::Set(early).apply(late), early);
    assert_eq!(TimePolicy::Set(late).apply(early), Time::from_seconds(9));
    assert_eq!(TimePolicy::Clamp(early).apply(late), early);
    assert_eq!(TimePolicy::Clamp(late).apply(early), early);
}
