use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    testing::{directory, file, layers, paths, symlink, tree, whiteout},
    tree::{is_within, parent},
};

/// The merged view as unpacking one layer after the other makes it.
fn model(layers: &[Arc<Tree>]) -> BTreeMap<Vec<u8>, Entry> {
    let mut files: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
    for layer in layers {
        for entry in layer.entries() {
            let below = |path: &[u8]| is_within(path, &entry.path) && *path != *entry.path;
            match entry.kind {
                Kind::Directory { opaque: false } => {}
                _ => files.retain(|path, _| !below(path)),
            }
            files.remove(&*entry.path);
        }
        let own = layer.entries().iter().filter(|entry| entry.kind != Kind::Whiteout);
        files.extend(own.map(|entry| (entry.path.to_vec(), entry.clone())));
    }
    files
}

fn stack(layers: &[&[Entry]]) -> Stack {
    Stack::new(layers.iter().map(|entries| Arc::new(tree(entries))).collect())
}

fn shown(found: &[Found<'_>]) -> Vec<(String, usize)> {
    found.iter().map(|found| (String::from_utf8_lossy(found.path()).into_owned(), found.layer)).collect()
}

fn pairs(pairs: &[(&str, usize)]) -> Vec<(String, usize)> {
    pairs.iter().map(|&(path, layer)| (path.to_owned(), layer)).collect()
}

#[test]
fn upper_layers_hide_and_merge() {
    let stack = stack(&[
        &[
            directory(""),
            directory("d"),
            file("d/a", "1"),
            file("d/b", "1"),
            directory("e"),
            file("e/x", "1"),
            file("f", "1"),
        ],
        &[
            directory(""),
            directory("d"),
            whiteout("d/a"),
            file("d/c", "2"),
            Entry { kind: Kind::Directory { opaque: true }, ..directory("e") },
        ],
        &[
            directory(""),
            directory("d"),
            file("d/a", "3"),
            file("e/y", "3"),
            directory("f"),
            file("f/z", "3"),
        ],
    ]);
    let wanted = pairs(&[
        ("", 2),
        ("d", 2),
        ("d/a", 2),
        ("d/b", 0),
        ("d/c", 1),
        ("e", 1),
        ("e/y", 2),
        ("f", 2),
        ("f/z", 2),
    ]);
    assert_eq!(shown(&stack.walk(b"")), wanted);
    assert_eq!(shown(&stack.walk(b"d")), wanted[1..5]);
    assert_eq!(shown(&stack.list(b"")), pairs(&[("d", 2), ("e", 1), ("f", 2)]));
    assert_eq!(shown(&stack.list(b"e")), pairs(&[("e/y", 2)]));
    assert_eq!(stack.get(b"e/x"), None);
    assert_eq!(stack.get(b"d/b").map(|found| (found.layer, found.index)), Some((0, 3)));
    assert_eq!(paths(&stack.merged()), ["", "d", "d/a", "d/b", "d/c", "e", "e/y", "f", "f/z"]);
}

#[test]
fn links_cannot_make_endless_paths() {
    let links = [symlink("long", &"x/".repeat(10_000)), symlink("up", &"../".repeat(10_000))];
    let stack = stack(&[&links]);
    assert_eq!(stack.resolve(b"up", Last::Follow), Ok(Vec::new()));
    let too_long = ResolveError::TooLong { path: "/long".to_owned() };
    assert_eq!(stack.resolve(b"long", Last::Follow), Err(too_long));
}

#[test]
fn hard_links_of_two_layers_stay_apart() {
    let link = |path: &str, content: &str| {
        let mut entry = file(path, content);
        if let Kind::File { links, .. } = &mut entry.kind {
            *links = std::num::NonZeroU32::new(1);
        }
        entry
    };
    let stack =
        stack(&[&[link("a", "1"), link("b", "1"), link("c", "1")], &[link("b", "2"), link("d", "2")]]);
    let groups: Vec<Option<u32>> = stack
        .merged()
        .entries()
        .iter()
        .map(|entry| match entry.kind {
            Kind::File { links, .. } => links.map(std::num::NonZeroU32::get),
            _ => None,
        })
        .collect();
    assert_eq!(groups, [Some(1), Some(2), Some(1), Some(2)]);
}

#[test]
fn paths_resolve_inside_the_root() {
    let stack = stack(&[&[
        directory(""),
        directory("usr"),
        directory("usr/bin"),
        file("usr/bin/sh", ""),
        symlink("bin", "usr/bin"),
        symlink("abs", "/usr"),
        symlink("up", "../../../usr"),
        symlink("loop", "loop"),
        symlink("usr/bin/here", "sh"),
        symlink("dangling", "no/where"),
        file("file", ""),
    ]]);
    let resolve = |path: &str, last| match stack.resolve(path.as_bytes(), last) {
        Ok(path) => String::from_utf8(path).unwrap(),
        Err(error) => error.to_string(),
    };
    for (path, followed, kept) in [
        ("/", "", ""),
        ("bin/sh", "usr/bin/sh", "usr/bin/sh"),
        ("/bin", "usr/bin", "bin"),
        ("bin/", "usr/bin", "bin"),
        ("abs/bin/../bin/sh", "usr/bin/sh", "usr/bin/sh"),
        ("up/bin", "usr/bin", "usr/bin"),
        ("../../bin/./here", "usr/bin/sh", "usr/bin/here"),
        ("bin/..", "usr", "usr"),
        ("dangling", "no/where", "dangling"),
        ("dangling/../x", "no/x", "no/x"),
        ("new/../bin/x", "usr/bin/x", "usr/bin/x"),
    ] {
        assert_eq!(resolve(path, Last::Follow), followed, "{path}");
        assert_eq!(resolve(path, Last::Keep), kept, "{path}");
    }
    assert_eq!(resolve("loop", Last::Keep), "loop");
    assert_eq!(
        resolve("loop", Last::Follow),
        r#""/loop" passes more than 255 symbolic links: is there a loop?"#
    );
    assert_eq!(
        resolve("file/../x", Last::Follow),
        r#""/file/../x" cannot be reached: "/file" is not a directory"#
    );
}

proptest! {
    #[test]
    fn every_view_agrees_with_unpacking(layers in layers(0..5)) {
        let model = model(&layers);
        let stack = Stack::new(layers);
        let merged: Vec<&Entry> = stack.walk(b"").iter().map(|found| found.entry).collect();
        let mut wanted: Vec<&Entry> = model.values().collect();
        wanted.sort_by(|a, b| crate::tree::compare_paths(&a.path, &b.path));
        prop_assert_eq!(&merged, &wanted);
        let names = ["", "a", "b", "c", "a/a", "a/b", "b/a", "a/a/a", "a/a/b", "x", "a/x"];
        for path in names.map(str::as_bytes) {
            prop_assert_eq!(stack.get(path).map(|found| found.entry), model.get(path));
            let below: Vec<&Entry> = stack.walk(path).iter().map(|found| found.entry).collect();
            let wanted_below: Vec<&Entry> =
                wanted.iter().copied().filter(|entry| is_within(&entry.path, path)).collect();
            prop_assert_eq!(below, wanted_below);
            let listed: Vec<&Entry> = stack.list(path).iter().map(|found| found.entry).collect();
            let wanted_listed: Vec<&Entry> =
                wanted.iter().copied().filter(|entry| parent(&entry.path) == Some(path)).collect();
            prop_assert_eq!(listed, wanted_listed);
        }
        for found in stack.walk(b"") {
            prop_assert_eq!(&stack.layers()[found.layer].entries()[found.index], found.entry);
        }
    }

    #[test]
    fn no_path_panics_and_none_leads_out(layers in layers(0..3), path in "[abc./]{0,12}") {
        if let Ok(path) = Stack::new(layers).resolve(path.as_bytes(), Last::Follow) {
            let proper = |part: &[u8]| !matches!(part, b"" | b"." | b"..");
            prop_assert!(path.is_empty() || path.split(|&byte| byte == b'/').all(proper));
        }
    }
}
