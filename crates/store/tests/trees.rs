//! Trees to files and back.

use std::num::NonZeroU32;

use fs_err as fs;
use galley_oci::{Digest, Kind, Meta, Tree};
use galley_store::{Origin, Origins, ScanOptions, StoreError};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use crate::support::{Fixture, chmod, directory, entry, file, file_kind, is_root, meta, options, write};

const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn with_xattrs(meta: Meta, all: &[(&str, &[u8])]) -> Meta {
    let all = all.iter().map(|&(name, value)| (name.as_bytes().into(), value.into())).collect();
    Meta { xattrs: Some(Box::new(all)), ..meta }
}

fn owned(meta: Meta, uid: u32, gid: u32) -> Meta {
    Meta { uid, gid, ..meta }
}

/// One of everything.
fn everything() -> (Tree, Origins) {
    let meta = |mode, seconds| owned(meta(mode, seconds), 0, 0);
    let linked = |content: &[u8], group| match file_kind(content) {
        Kind::File { size, digest, .. } => Kind::File { size, digest, links: NonZeroU32::new(group) },
        other => other,
    };
    let mut origins = Origins::new();
    for (path, content) in
        [("bin/su", "su"), ("bin/ping", "ping"), ("a", "twin"), ("z/a", "twin"), ("data", "data")]
    {
        origins.insert(path.as_bytes(), Origin::Bytes(content.as_bytes().into()));
    }
    let device = Kind::CharDevice { major: 1, minor: 3 };
    let entries = vec![
        entry("", owned(meta(0o751, 5), 7, 8), Kind::Directory { opaque: false }),
        entry("a", meta(0o600, 11), linked(b"twin", 1)),
        entry("bin", meta(0o555, 12), Kind::Directory { opaque: false }),
        entry(
            "bin/ping",
            with_xattrs(meta(0o755, 13), &[("security.capability", &CAPABILITY)]),
            file_kind(b"ping"),
        ),
        entry("bin/su", owned(meta(0o4755, 14), 1, 2), file_kind(b"su")),
        entry(
            "data",
            with_xattrs(owned(meta(0, 15), 1000, 1000), &[("user.mime", b"text")]),
            file_kind(b"data"),
        ),
        entry("dev", meta(0o1777, 16), Kind::Directory { opaque: true }),
        entry("dev/null", owned(meta(0o666, 17), 0, 5), device),
        entry("dev/sda", meta(0o660, 18), Kind::BlockDevice { major: 8, minor: 0 }),
        entry("empty", meta(0o640, 19), file_kind(b"")),
        entry("gone", Meta::new(0), Kind::Whiteout),
        entry(
            "link",
            owned(meta(0o777, -20), 3, 4),
            Kind::Symlink { target: b"/nowhere/\xff".as_slice().into() },
        ),
        entry("pipe", meta(0o622, 21), Kind::Fifo),
        entry("z", owned(meta(0o2700, 22), 9, 9), Kind::Directory { opaque: false }),
        entry("z/a", meta(0o600, 11), linked(b"twin", 1)),
    ];
    (Tree::from_entries(entries), origins)
}

#[test]
fn privileged_a_directory_says_all_that_its_tree_says() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let (tree, origins) = everything();
    let layer = fixture.store.commit_origins(tree.clone(), origins).unwrap();
    let path = fixture.store.directory(&layer).unwrap();
    let scanned = fixture.store.scan(&path, &ScanOptions::default()).unwrap();
    assert_eq!(scanned.entries().len(), tree.entries().len());
    for (found, expected) in scanned.entries().iter().zip(tree.entries()) {
        assert_eq!(found, expected);
    }
    assert_eq!(rustix::fs::stat(path.join("a")).unwrap().st_nlink, 2);
}

#[test]
fn a_stand_in_stays_a_device_until_it_gets_content() {
    let fixture = Fixture::new();
    let dir = fixture.folder("dir");
    for (name, content) in [("null", b"".as_slice()), ("filled", b"x")] {
        write(&dir, name, content);
        rustix::fs::setxattr(dir.join(name), "user.galley.device", b"c 1:3", XattrFlags::empty()).unwrap();
    }
    fs::hard_link(dir.join("null"), dir.join("other")).unwrap();
    let tree = fixture.store.scan(&dir, &ScanOptions::default()).unwrap();
    let kind = |path: &[u8]| tree.get(path).unwrap().kind.clone();
    let device = Kind::CharDevice { major: 1, minor: 3 };
    assert_eq!([kind(b"null"), kind(b"other"), kind(b"filled")], [device.clone(), device, file_kind(b"x")]);
    assert!(tree.entries().iter().all(|entry| entry.meta.xattrs.is_none()));
}

#[test]
fn a_scan_drops_what_is_not_of_the_image() {
    let fixture = Fixture::new();
    let dir = fixture.folder("dir");
    write(&dir, "file", b"x");
    write(&dir, "proc/self", b"x");
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    rustix::fs::setxattr(dir.join("file"), "user.overlay.origin", b"x", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(dir.join("file"), "user.kept", b"y", XattrFlags::empty()).unwrap();
    let options = ScanOptions { leave_out: vec![b"proc".as_slice().into()] };
    let tree = fixture.store.scan(&dir, &options).unwrap();
    let paths: Vec<_> = tree.entries().iter().map(|entry| &*entry.path).collect();
    assert_eq!(paths, [b"".as_slice(), b"file"]);
    let xattrs = tree.get(b"file").unwrap().meta.xattrs.as_ref().unwrap();
    assert_eq!(**xattrs, [(b"user.kept".as_slice().into(), b"y".as_slice().into())]);
}

#[test]
fn overlay_marks_of_user_namespaces_are_understood() {
    let fixture = Fixture::new();
    let dir = fixture.folder("upper");
    write(&dir, "gone", b"");
    write(&dir, "fresh/file", b"x");
    rustix::fs::mknodat(CWD, dir.join("hidden"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    rustix::fs::setxattr(dir.join("gone"), "user.overlay.whiteout", b"", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(dir.join("fresh"), "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    let tree = fixture.store.scan(&dir, &ScanOptions::default()).unwrap();
    assert_eq!(tree.get(b"gone").unwrap().kind, Kind::Whiteout);
    assert_eq!(tree.get(b"hidden").unwrap().kind, Kind::Whiteout);
    assert_eq!(tree.get(b"fresh").unwrap().kind, Kind::Directory { opaque: true });
    assert_eq!(tree.get(b"fresh").unwrap().meta.xattrs, None);
    for (attribute, path) in [("user.overlay.redirect", "fresh"), ("user.overlay.metacopy", "fresh/file")] {
        rustix::fs::setxattr(dir.join(path), attribute, b"/other", XattrFlags::empty()).unwrap();
        let error = fixture.store.scan(&dir, &ScanOptions::default()).unwrap_err();
        assert!(matches!(error, StoreError::Unsupported { .. }), "{error:?}");
        rustix::fs::removexattr(dir.join(path), attribute).unwrap();
    }
}

#[test]
fn many_files_are_hashed_as_one_would_be() {
    let fixture = Fixture::new();
    let dir = fixture.folder("many");
    let mut expected = Vec::new();
    for number in 0..500 {
        let path = format!("d{}/f{number:03}", number % 7);
        let content = vec![number as u8; number * 37];
        write(&dir, &path, &content);
        expected.push((path, content));
    }
    write(&dir, "big", &vec![1; 3_000_000]);
    let tree = fixture.store.scan(&dir, &ScanOptions::default()).unwrap();
    assert_eq!(tree.entries().len(), 1 + 7 + 500 + 1);
    for (path, content) in expected {
        assert_eq!(tree.get(path.as_bytes()).unwrap().kind, file_kind(&content), "{path}");
    }
}

#[test]
fn what_is_deeper_than_handles_and_paths_go_is_scanned() {
    let fixture = Fixture::new();
    let dir = fixture.folder("deep");
    let mut at = rustix::fs::open(&dir, rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..400 {
        rustix::fs::mkdirat(&at, "twelve-bytes", Mode::from_raw_mode(0o700)).unwrap();
        at = rustix::fs::openat(&at, "twelve-bytes", rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
        rustix::fs::symlinkat("t", &at, "l").unwrap();
    }
    let tree = fixture.store.scan(&dir, &ScanOptions::default()).unwrap();
    assert_eq!(tree.entries().len(), 1 + 2 * 400);
    let layer = fixture.store.commit_origins(tree.clone(), Origins::new()).unwrap();
    let lower = fixture.store.directory(&layer).unwrap();
    let again = fixture.store.scan(&lower, &ScanOptions::default()).unwrap();
    assert_eq!(again.layer_id(), tree.layer_id());
    galley_store::remove_tree(&dir).unwrap();
}

/// A step's directory and what is to be its layer.
fn committed(fixture: &Fixture, tree: &Tree, fill: impl FnOnce(&std::path::Path)) -> std::path::PathBuf {
    let temp = fixture.store.temp_dir("step").unwrap();
    fs::create_dir(temp.diff()).unwrap();
    fill(&temp.diff());
    let layer = fixture.store.commit_dir(temp, tree.clone()).unwrap();
    assert!(fixture.store.has_bytes(&layer));
    fixture.store.directory(&layer).unwrap()
}

#[test]
fn privileged_a_committed_directory_holds_what_its_tree_says_and_nothing_else() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let whiteout = entry("kept/hidden", Meta::new(0), Kind::Whiteout);
    let entries = vec![
        directory(""),
        directory("above"),
        directory("above/it"),
        directory("kept"),
        file("kept/file", b"kept"),
        whiteout,
    ];
    let tree = Tree::from_entries(entries);
    let path = committed(&fixture, &tree, |diff| {
        write(diff, "kept/file", b"kept");
        write(diff, "kept/same/deep/er", b"copied up for nothing");
        write(diff, "same", b"copied up for nothing");
        chmod(&diff.join("kept/file"), 0o644);
        let time = rustix::fs::Timespec { tv_sec: 2_000, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, diff.join("kept/file"), &times, rustix::fs::AtFlags::empty()).unwrap();
        let opaque =
            if options().id_map.is_empty() { "trusted.overlay.opaque" } else { "user.overlay.opaque" };
        rustix::fs::setxattr(diff.join("kept"), opaque, b"y", XattrFlags::empty()).unwrap();
    });
    let scanned = fixture.store.scan(&path, &ScanOptions::default()).unwrap();
    assert_eq!(scanned.entries(), tree.entries());
}

#[test]
fn a_tree_with_a_file_that_is_not_there_is_refused() {
    let fixture = Fixture::new();
    let temp = fixture.store.temp_dir("step").unwrap();
    fs::create_dir(temp.diff()).unwrap();
    let tree = Tree::from_entries(vec![directory(""), file("missing", b"x")]);
    let id = tree.layer_id();
    assert!(matches!(fixture.store.commit_dir(temp, tree).unwrap_err(), StoreError::Damaged { .. }));
    assert!(fixture.store.layer(&id).unwrap().is_none());
}

#[test]
fn a_layer_id_is_pinned() {
    let (tree, _) = everything();
    assert_eq!(tree.layer_id().short(), "9000c5cb49ee");
    assert_ne!(tree.integrity(), Digest::blake3(b""));
}
