use std::{thread::sleep, time::Duration};

use fs_err as fs;
use galley_oci::{Kind, Tree};
use galley_store::{ContextFilter, Decision, KeepAll};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

use crate::support::{Fixture, chmod, file_kind, snapshot, write};

/// Longer than a file stays young.
const AGE: Duration = Duration::from_millis(80);

struct Only(fn(&[u8], bool) -> Decision);

impl ContextFilter for Only {
    fn decide(&self, path: &[u8], is_directory: bool) -> Decision {
        (self.0)(path, is_directory)
    }

    fn twin(&self) -> Box<dyn ContextFilter + Send + '_> {
        Box::new(Self(self.0))
    }
}

fn paths(tree: &Tree) -> Vec<String> {
    tree.entries().iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
}

fn stamp(path: &std::path::Path, seconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: 5 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
}

#[test]
fn a_context_is_what_is_there_owned_by_nobody() {
    let fixture = Fixture::new();
    let dir = fixture.folder("context");
    write(&dir, "a/b", b"content");
    chmod(&dir.join("a/b"), 0o751);
    stamp(&dir.join("a/b"), 1234);
    fs::hard_link(dir.join("a/b"), dir.join("c")).unwrap();
    std::os::unix::fs::symlink("a/b", dir.join("link")).unwrap();
    rustix::fs::mknodat(CWD, dir.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    std::os::unix::fs::symlink(&dir, fixture.dir.path().join("alias")).unwrap();
    let found = fixture.store.walk_context(&fixture.dir.path().join("alias"), &KeepAll).unwrap();
    assert_eq!(paths(&found.tree), ["", "a", "a/b", "c", "link", "pipe"]);
    let entry = found.tree.get(b"a/b").unwrap();
    assert_eq!((entry.meta.mode, entry.meta.uid, entry.meta.mtime.seconds), (0o751, 0, 1234));
    let twin = found.tree.get(b"c").unwrap();
    assert!(matches!(twin.kind, Kind::File { links: Some(_), size: 7, .. }));
    assert_eq!(twin.kind, entry.kind);
    assert_eq!(fs::read(found.host_path(b"a/b")).unwrap(), b"content");
}

#[test]
fn a_filter_keeps_skips_and_looks_inside() {
    let fixture = Fixture::new();
    let dir = fixture.folder("context");
    for path in ["node_modules/x/y", "src/main.go", "src/deep/er/keep", "src/other", "top"] {
        write(&dir, path, b"x");
    }
    chmod(&dir.join("node_modules"), 0);
    let filter = Only(|path, is_directory| match path {
        b"src/deep/er/keep" | b"top" => Decision::Keep,
        b"src" | b"src/deep" | b"src/deep/er" => {
            assert!(is_directory);
            Decision::SkipButLookInside
        }
        _ => {
            assert!(!path.starts_with(b"node_modules/"), "a skipped directory was entered");
            Decision::Skip
        }
    });
    let found = fixture.store.walk_context(&dir, &filter).unwrap();
    assert_eq!(paths(&found.tree), ["", "src", "src/deep", "src/deep/er", "src/deep/er/keep", "top"]);
    let nothing = fixture.store.walk_context(&dir, &Only(|_, _| Decision::SkipButLookInside));
    if rustix::process::geteuid().is_root() {
        assert_eq!(paths(&nothing.unwrap().tree), [""]);
    } else {
        assert!(nothing.unwrap_err().to_string().contains("node_modules"));
    }
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let fixture = Fixture::new();
    let dir = fixture.folder("context");
    (0..50).for_each(|number| write(&dir, &format!("f{number}"), format!("{number}").as_bytes()));
    sleep(AGE);
    let first = fixture.store.walk_context(&dir, &KeepAll).unwrap();
    let index = fs::read_dir(fixture.store.root().join("contexts")).unwrap().count();
    assert_eq!(index, 1);
    let before = snapshot(fixture.store.root());
    let again = fixture.reopened().walk_context(&dir, &KeepAll).unwrap();
    assert_eq!(again.tree, first.tree);
    assert_eq!(snapshot(fixture.store.root()), before);
}

#[test]
fn other_content_with_the_same_size_and_time_is_noticed() {
    let fixture = Fixture::new();
    let dir = fixture.folder("context");
    write(&dir, "f", b"one");
    stamp(&dir.join("f"), 1000);
    sleep(AGE);
    fixture.store.walk_context(&dir, &KeepAll).unwrap();
    fs::write(dir.join("f"), b"two").unwrap();
    stamp(&dir.join("f"), 1000);
    let found = fixture.store.walk_context(&dir, &KeepAll).unwrap();
    assert_eq!(found.tree.get(b"f").unwrap().kind, file_kind(b"two"));
}

#[test]
fn a_file_that_changes_right_after_it_was_read_is_read_again() {
    let fixture = Fixture::new();
    let dir = fixture.folder("context");
    for round in 0..200_u32 {
        let content = format!("{round:05}");
        fs::write(dir.join("f"), &content).unwrap();
        let found = fixture.store.walk_context(&dir, &KeepAll).unwrap();
        assert_eq!(found.tree.get(b"f").unwrap().kind, file_kind(content.as_bytes()), "round {round}");
    }
}

#[test]
fn a_damaged_index_is_no_index() {
    let fixture = Fixture::new();
    let dir = fixture.folder("context");
    write(&dir, "f", b"one");
    sleep(AGE);
    let first = fixture.store.walk_context(&dir, &KeepAll).unwrap();
    let folder = fs::read_dir(fixture.store.root().join("contexts")).unwrap();
    let path = folder.map(|entry| entry.unwrap().path()).next().unwrap();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(&path, damaged).unwrap();
        assert_eq!(fixture.store.walk_context(&dir, &KeepAll).unwrap().tree, first.tree, "byte {at}");
    }
}

#[test]
fn extended_attributes_are_part_of_it() {
    let fixture = Fixture::new();
    let dir = fixture.folder("context");
    write(&dir, "f", b"one");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(dir.join("f"), "user.a", b"1", flags).unwrap();
    sleep(AGE);
    for _ in 0..2 {
        let found = fixture.store.walk_context(&dir, &KeepAll).unwrap();
        assert!(found.tree.get(b"f").unwrap().meta.xattrs.is_some());
    }
}

#[test]
fn the_store_is_never_part_of_it() {
    let fixture = Fixture::new();
    write(fixture.dir.path(), "f", b"x");
    let found = fixture.store.walk_context(fixture.dir.path(), &KeepAll).unwrap();
    assert_eq!(paths(&found.tree), ["", "f"]);
}

#[test]
fn an_unreadable_file_is_named() {
    let fixture = Fixture::new();
    let dir = fixture.folder("context");
    write(&dir, "secret", b"x");
    chmod(&dir.join("secret"), 0);
    if !rustix::process::geteuid().is_root() {
        let error = fixture.store.walk_context(&dir, &KeepAll).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot open {}", dir.join("secret").display()));
    }
    let error = fixture.store.walk_context(&dir.join("missing"), &KeepAll).unwrap_err();
    assert!(error.to_string().ends_with("context/missing"), "{error}");
}
