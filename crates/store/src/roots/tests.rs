use std::{
    fs::Permissions,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use fs_err as fs;
use galley_oci::minimal;

use super::*;
use crate::{OpenOptions, ScanOptions};

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store"), OpenOptions::default()).unwrap();
    (folder, store)
}

/// A layer of what `make` leaves in a directory.
fn layer(store: &Store, below: &Stack, make: impl FnOnce(&Path)) -> Layer {
    let temp = store.temp_dir("test").unwrap();
    fs::create_dir(temp.diff()).unwrap();
    make(&temp.diff());
    let tree = store.scan(&temp.diff(), &ScanOptions::default()).unwrap();
    store.commit_dir(temp, minimal(tree, below)).unwrap()
}

fn base(store: &Store) -> Layer {
    layer(store, &Stack::default(), |dir| {
        for folder in ["etc", "old/deep", "kept"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        for file in ["etc/passwd", "etc/group", "old/a", "old/deep/b", "kept/c", "kept/d"] {
            fs::write(dir.join(file), file).unwrap();
        }
        fs::hard_link(dir.join("kept/c"), dir.join("kept/e")).unwrap();
    })
}

fn stack(layers: &[&Layer]) -> Stack {
    Stack::new(layers.iter().map(|layer| layer.tree().unwrap()).collect())
}

/// What a step that does `act` adds to `root`.
fn step(store: &Store, root: &mut Root, below: &Stack, act: impl FnOnce(&Path)) -> (TempDir, Tree) {
    store.mark_root(root).unwrap();
    act(&root.path());
    store.root_changes(root, below).unwrap()
}

fn paths(tree: &Tree) -> Vec<String> {
    let mark = |entry: &galley_oci::Entry| match entry.kind {
        galley_oci::Kind::Whiteout => "-",
        galley_oci::Kind::Directory { .. } => "/",
        _ => "",
    };
    tree.entries()
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.path).into_owned() + mark(entry))
        .collect()
}

#[test]
fn nothing_done_is_nothing_found() {
    let (_folder, store) = store();
    let base = base(&store);
    let mut root = store.new_root(std::slice::from_ref(&base)).unwrap();
    let (_, tree) = step(&store, &mut root, &stack(&[&base]), |_| {});
    assert_eq!(paths(&tree), ["/"]);
}

#[test]
fn every_kind_of_change_is_found() {
    let (_folder, store) = store();
    let base = base(&store);
    let mut root = store.new_root(std::slice::from_ref(&base)).unwrap();
    let (_, tree) = step(&store, &mut root, &stack(&[&base]), |root| {
        // Same size, and the old time is put back: only the time of change tells.
        let passwd = root.join("etc/passwd");
        let time = fs::metadata(&passwd).unwrap().modified().unwrap();
        fs::write(&passwd, "ETC/passwd").unwrap();
        fs::File::options().write(true).open(&passwd).unwrap().file().set_modified(time).unwrap();
        fs::set_permissions(root.join("etc/group"), Permissions::from_mode(0o600)).unwrap();
        fs::remove_dir_all(root.join("old")).unwrap();
        fs::rename(root.join("kept/d"), root.join("kept/f")).unwrap();
        fs::create_dir(root.join("new")).unwrap();
        fs_err::os::unix::fs::symlink("etc", root.join("new/link")).unwrap();
    });
    let expected =
        ["/", "etc/", "etc/group", "etc/passwd", "kept/", "kept/d-", "kept/f", "new/", "new/link", "old-"];
    assert_eq!(paths(&tree), expected);
}

#[test]
fn a_directory_made_anew_hides_what_it_held() {
    let (_folder, store) = store();
    let base = base(&store);
    let mut root = store.new_root(std::slice::from_ref(&base)).unwrap();
    let (_, tree) = step(&store, &mut root, &stack(&[&base]), |root| {
        fs::remove_dir_all(root.join("old")).unwrap();
        fs::create_dir_all(root.join("old")).unwrap();
        fs::write(root.join("old/deep"), "a file now").unwrap();
    });
    assert_eq!(paths(&tree), ["/", "old/", "old/a-", "old/deep"]);
}

#[test]
fn files_below_lose_their_links_when_they_are_written_to() {
    let (_folder, store) = store();
    let base = base(&store);
    let mut root = store.new_root(std::slice::from_ref(&base)).unwrap();
    assert_eq!(fs::metadata(root.path().join("kept/e")).unwrap().nlink(), 2);
    store.mark_root(&mut root).unwrap();
    // As where the kernel has no room to watch more directories: nobody knows by which name.
    root.watch = None;
    fs::set_permissions(root.path().join("kept/c"), Permissions::from_mode(0o700)).unwrap();
    fs::write(root.path().join("x"), "new").unwrap();
    fs::hard_link(root.path().join("x"), root.path().join("y")).unwrap();
    let (_, tree) = store.root_changes(&mut root, &stack(&[&base])).unwrap();
    assert_eq!(paths(&tree), ["/", "kept/", "kept/c", "kept/e", "x", "y"]);
    let links = |path: &[u8]| match tree.get(path).unwrap().kind {
        galley_oci::Kind::File { links, .. } => links,
        _ => None,
    };
    assert!(links(b"kept/c").is_none() && links(b"kept/e").is_none());
    assert!(links(b"x").is_some() && links(b"x") == links(b"y"));
}

#[test]
fn only_the_name_that_was_written_to_has_changed() {
    let (_folder, store) = store();
    let base = base(&store);
    let below = stack(&[&base]);
    let append = |path: &Path| {
        use std::io::Write;
        fs::File::options().append(true).open(path).unwrap().write_all(b"more").unwrap();
    };
    let mut root = store.new_root(std::slice::from_ref(&base)).unwrap();
    let (_, tree) = step(&store, &mut root, &below, |root| append(&root.join("kept/c")));
    assert_eq!(paths(&tree), ["/", "kept/", "kept/c"]);
    assert!(!root.is_exact(), "kept/e has more in it than it should");
    // Nothing but a change of attributes, by the other name.
    let mut root = store.new_root(std::slice::from_ref(&base)).unwrap();
    let mode = Permissions::from_mode(0o700);
    let (_, tree) =
        step(&store, &mut root, &below, |root| fs::set_permissions(root.join("kept/e"), mode).unwrap());
    assert_eq!(paths(&tree), ["/", "kept/", "kept/e"]);
    // A name that goes is no change of the others, and a new file of the directory none of them.
    let mut root = store.new_root(std::slice::from_ref(&base)).unwrap();
    let (_, tree) = step(&store, &mut root, &below, |root| {
        fs::remove_file(root.join("kept/c")).unwrap();
        fs::write(root.join("kept/new"), "").unwrap();
        append(&root.join("kept/new"));
    });
    assert_eq!(
        (paths(&tree), root.is_exact()),
        (vec!["/".into(), "kept/".into(), "kept/c-".into(), "kept/new".into()], true)
    );
}

#[test]
fn a_file_that_got_a_name_is_new_under_all_of_them() {
    // Over an overlay the new name and the one that it was made of go on together, and nobody knows which that was.
    for (gone, new) in [(None, "kept/new"), (None, "etc/new"), (Some("kept/e"), "etc/new")] {
        let (_folder, store) = store();
        let base = base(&store);
        let mut root = store.new_root(std::slice::from_ref(&base)).unwrap();
        let (temp, tree) = step(&store, &mut root, &stack(&[&base]), |root| {
            fs::hard_link(root.join("kept/e"), root.join(new)).unwrap();
            fs::File::options().append(true).open(root.join(new)).unwrap().write_all(b"more").unwrap();
            if let Some(gone) = gone {
                fs::remove_file(root.join(gone)).unwrap();
            }
            fs::set_permissions(root.join("kept/c"), Permissions::from_mode(0o600)).unwrap();
        });
        let size = |path: &str| fs::metadata(temp.diff().join(path)).unwrap().len();
        let names = ["kept/c", new].into_iter().chain(gone.is_none().then_some("kept/e"));
        assert!(names.map(size).all(|bytes| bytes == size(new)), "{:?}", paths(&tree));
        assert!(size(new) > "kept/c".len() as u64);
    }
}

#[test]
fn what_is_written_to_in_place_never_reaches_the_store() {
    let (folder, store) = store();
    let base = base(&store);
    let mut root = store.new_root(std::slice::from_ref(&base)).unwrap();
    let inodes = |path: &Path| -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        let mut left = vec![path.to_owned()];
        while let Some(path) = left.pop() {
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                found.push((metadata.dev(), metadata.ino()));
            }
        }
        found
    };
    let of_layers = inodes(&folder.path().join("store/layers"));
    assert!(inodes(&root.path()).iter().all(|inode| !of_layers.contains(inode)));
    let (temp, tree) = step(&store, &mut root, &stack(&[&base]), |root| {
        fs::write(root.join("kept/c"), "overwritten").unwrap();
        fs::write(root.join("etc/passwd"), "overwritten").unwrap();
    });
    let above = store.commit_dir(temp, tree).unwrap();
    let of_layers = inodes(&folder.path().join("store/layers"));
    assert!(inodes(&root.path()).iter().all(|inode| !of_layers.contains(inode)));
    fs::write(root.path().join("kept/c"), "once more").unwrap();
    let read = |layer: &Layer, path: &[u8]| {
        let index = layer.tree().unwrap().position(path).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut store.open_file(layer, index).unwrap(), &mut text).unwrap();
        text
    };
    assert_eq!(read(&base, b"kept/c"), "kept/c");
    assert_eq!(read(&base, b"etc/passwd"), "etc/passwd");
    assert_eq!(read(&above, b"kept/c"), "overwritten");
}

#[test]
fn a_root_goes_on_with_more_layers() {
    let (_folder, store) = store();
    let base = base(&store);
    let mut root = store.new_root(std::slice::from_ref(&base)).unwrap();
    let (temp, tree) = step(&store, &mut root, &stack(&[&base]), |root| {
        fs::remove_dir_all(root.join("old")).unwrap();
        fs::write(root.join("etc/new"), "1").unwrap();
    });
    let first = store.commit_dir(temp, tree.clone()).unwrap();
    root.has_become(&tree);
    let below = stack(&[&base, &first]);
    let second = layer(&store, &below, |dir| {
        fs::create_dir(dir.join("etc")).unwrap();
        fs::create_dir(dir.join("etc/passwd")).unwrap();
        fs::write(dir.join("etc/passwd/file"), "2").unwrap();
        fs::write(dir.join("kept"), "a file").unwrap();
    });
    let all = [base, first, second];
    assert_eq!(root.is_below(&all), Some(2));
    store.extend_root(&mut root, &all[2..]).unwrap();
    let anew = store.new_root(&all).unwrap();
    let seen = |root: &Root| store.scan(&root.path(), &ScanOptions::default()).unwrap();
    assert_eq!(seen(&root), seen(&anew));
    assert_eq!((root.is_below(&all), anew.is_below(&all[..2])), (Some(3), None));
}
