use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    Time,
    testing::{directory, file, layers, paths, tree, whiteout},
};

fn below(entries: &[Entry]) -> Stack {
    Stack::new(vec![Arc::new(tree(entries))])
}

fn at(seconds: i64, entry: Entry) -> Entry {
    Entry { meta: Meta { mtime: Time::from_seconds(seconds), ..entry.meta }, ..entry }
}

fn mode(mode: u16, entry: Entry) -> Entry {
    Entry { meta: Meta { mode, ..entry.meta }, ..entry }
}

fn opaque(entry: Entry) -> Entry {
    Entry { kind: Kind::Directory { opaque: true }, ..entry }
}

#[test]
fn nothing_new_leaves_the_root() {
    let stack = below(&[mode(0o700, directory("")), directory("d"), file("d/f", "1")]);
    let changes =
        [at(9, mode(0o700, directory(""))), at(9, directory("d")), file("d/f", "1"), whiteout("d/x")];
    assert_eq!(minimal(tree(&changes), &stack), tree(&[at(9, mode(0o700, directory("")))]));
    assert_eq!(minimal(Tree::default(), &stack), tree(&[mode(0o700, directory(""))]));
    assert_eq!(minimal(Tree::default(), &Stack::default()), tree(&[directory("")]));
}

#[test]
fn a_touched_file_stays_and_a_touched_directory_does_not() {
    let stack = below(&[directory(""), directory("d"), file("d/f", "1"), directory("e")]);
    let layer = minimal(tree(&[at(1, file("d/f", "1")), at(1, directory("e"))]), &stack);
    assert_eq!(layer, tree(&[directory(""), directory("d"), at(1, file("d/f", "1"))]));
}

#[test]
fn directories_above_come_from_the_step_else_from_below_else_from_nowhere() {
    let stack = below(&[directory(""), mode(0o711, directory("old")), mode(0o712, directory("both"))]);
    let changes =
        [at(5, mode(0o712, directory("both"))), file("both/f", ""), file("old/f", ""), file("new/er/f", "")];
    let wanted = [
        directory(""),
        at(5, mode(0o712, directory("both"))),
        file("both/f", ""),
        directory("new"),
        directory("new/er"),
        file("new/er/f", ""),
        mode(0o711, directory("old")),
        file("old/f", ""),
    ];
    assert_eq!(minimal(tree(&changes), &stack), tree(&wanted));
}

#[test]
fn an_opaque_directory_becomes_what_it_hides() {
    let stack = below(&[
        directory(""),
        directory("d"),
        file("d/a", "1"),
        directory("d/b"),
        file("d/b/x", "1"),
        directory("d/c"),
        file("d/c/x", "1"),
        file("d/c/y", "1"),
        file("d-e", "1"),
        file("z", "1"),
    ]);
    let changes = [
        opaque(directory("d")),
        file("d/0", ""),
        directory("d/c"),
        file("d/c/x", "1"),
        opaque(directory("d/n")),
    ];
    let layer = minimal(tree(&changes), &stack);
    let wanted = [
        directory(""),
        directory("d"),
        file("d/0", ""),
        whiteout("d/a"),
        whiteout("d/b"),
        directory("d/c"),
        whiteout("d/c/y"),
        directory("d/n"),
    ];
    assert_eq!(layer, tree(&wanted));
}

#[test]
fn whiteouts_stay_only_where_they_hide() {
    let stack = below(&[directory(""), directory("d"), file("d/f", "1")]);
    let changes = [whiteout("d"), whiteout("e"), directory("n"), whiteout("n/f")];
    assert_eq!(paths(&minimal(tree(&changes), &stack)), ["", "d", "n"]);
}

#[test]
fn a_hard_link_to_a_file_below_is_a_file() {
    let link = |path: &str| {
        let mut entry = file(path, "1");
        if let Kind::File { links, .. } = &mut entry.kind {
            *links = std::num::NonZeroU32::new(4);
        }
        entry
    };
    let stack = below(&[directory(""), file("a", "1")]);
    assert_eq!(minimal(tree(&[link("a"), link("b")]), &stack), tree(&[directory(""), file("b", "1")]));
    let both = minimal(tree(&[link("c"), link("b")]), &stack);
    assert_eq!(both, tree(&[directory(""), link("b"), link("c")]));
}

#[test]
fn a_small_change_of_much_is_looked_up() {
    let names: Vec<Entry> = (0..100).map(|number| file(&format!("d/{number:03}"), "1")).collect();
    let mut entries = vec![directory(""), mode(0o711, directory("d"))];
    entries.extend(names);
    let stack = below(&entries);
    let changes = tree(&[file("d/050", "2"), file("d/051", "1"), whiteout("d/052"), whiteout("d/x")]);
    assert_eq!(touched(&changes, &stack).len(), 5);
    let wanted = [directory(""), mode(0o711, directory("d")), file("d/050", "2"), whiteout("d/052")];
    assert_eq!(minimal(changes, &stack), tree(&wanted));
}

/// What a stack shows, without the times of directories.
fn view(stack: &Stack) -> Tree {
    let mut entries = stack.merged().into_entries();
    for entry in entries.iter_mut().filter(|entry| entry.is_directory()) {
        entry.meta.mtime = Time::default();
    }
    Tree::from_entries(entries)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_layer_does_what_the_changes_do(mut layers in layers(1..5)) {
        let changes = layers.pop().unwrap();
        let stack = Stack::new(layers);
        let layer = minimal((*changes).clone(), &stack);
        let looked_up = smallest((*changes).clone(), &touched(&changes, &stack));
        prop_assert_eq!(&looked_up, &smallest((*changes).clone(), &stack.walk(b"")));
        prop_assert_eq!(&looked_up, &layer);
        let (mut with_changes, mut with_layer) = (stack.clone(), stack.clone());
        with_changes.push(changes);
        with_layer.push(Arc::new(layer.clone()));
        prop_assert_eq!(view(&with_layer), view(&with_changes));
        prop_assert_eq!(minimal(layer.clone(), &stack), layer.clone());

        // The same result reached by making everything anew has the same id.
        let mut anew = with_changes.merged().into_entries();
        if let Some(root) = anew.first_mut() {
            root.kind = Kind::Directory { opaque: true };
        }
        let anew = Tree::from_entries(anew);
        prop_assert_eq!(smallest(anew.clone(), &touched(&anew, &stack)).layer_id(), layer.layer_id());
        prop_assert_eq!(minimal(anew, &stack).layer_id(), layer.layer_id());
        let is_opaque = |entry: &Entry| entry.kind == Kind::Directory { opaque: true };
        prop_assert!(!layer.entries().iter().any(is_opaque));
    }
}
