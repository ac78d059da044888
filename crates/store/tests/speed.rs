//! Figures, not checks: `cargo test --release -p galley-store --test main speed -- --ignored --nocapture`.

use std::{
    ffi::CString,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use fs_err as fs;
use galley_oci::{
    Digest, Time,
    archive::{EntryHeader, EntryKind, Writer},
};
use galley_store::{KeepAll, Origin, Origins, Record, ScanOptions, UnpackOptions};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, StatxFlags};

use crate::support::Fixture;

const FOLDERS: usize = 500;
const FILES_EACH: usize = 100;
const FILE_BYTES: usize = 2_000;

fn best<T>(rounds: usize, mut run: impl FnMut() -> T) -> Duration {
    let timed = (0..rounds).map(|_| {
        let start = Instant::now();
        drop(run());
        start.elapsed()
    });
    timed.min().unwrap()
}

fn show(what: &str, time: Duration) {
    println!("{what:<58} {:>9.3} ms", time.as_secs_f64() * 1e3);
}

fn fill(dir: &Path) {
    for folder in 0..FOLDERS {
        let folder_path = dir.join(format!("folder-{folder:03}"));
        fs::create_dir(&folder_path).unwrap();
        for file in 0..FILES_EACH {
            let content = vec![(folder + file) as u8; FILE_BYTES];
            fs::write(folder_path.join(format!("file-{file:03}.txt")), content).unwrap();
        }
    }
}

/// What any walk must do: list and examine.
fn bare_walk(directory: OwnedFd, count: &mut usize) {
    let names: Vec<(CString, FileType)> = Dir::read_from(&directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b".."))
        .map(|entry| (entry.file_name().to_owned(), entry.file_type()))
        .collect();
    for (name, kind) in names {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::statx(directory.as_fd(), &*name, flags, StatxFlags::BASIC_STATS).unwrap();
        *count += 1;
        if kind == FileType::Directory {
            bare_walk(
                rustix::fs::openat(&directory, &*name, OFlags::DIRECTORY, Mode::empty()).unwrap(),
                count,
            );
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn contexts() {
    let fixture = Fixture::new();
    let dir = fixture.folder("context");
    fill(&dir);
    std::thread::sleep(Duration::from_millis(100));
    let bare = best(7, || {
        let mut count = 0;
        bare_walk(rustix::fs::open(&dir, OFlags::DIRECTORY, Mode::empty()).unwrap(), &mut count);
        assert_eq!(count, FOLDERS * (FILES_EACH + 1));
    });
    show("bare walk, dirfd + statx, 50,000 files", bare);
    show("context, nothing known", best(1, || fixture.store.walk_context(&dir, &KeepAll).unwrap()));
    show("context, nothing changed", best(7, || fixture.reopened().walk_context(&dir, &KeepAll).unwrap()));
    fs::write(dir.join("folder-001/file-001.txt"), "other").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    show("context, one file changed", best(1, || fixture.reopened().walk_context(&dir, &KeepAll).unwrap()));
}

fn small_step(fixture: &Fixture) -> Duration {
    let store = &fixture.store;
    let mut number = 0;
    best(50, || {
        number += 1;
        let temp = store.temp_dir("step").unwrap();
        crate::support::write(&temp.diff(), "app", format!("{number}").as_bytes());
        let tree = store.scan(&temp.diff(), &ScanOptions::default()).unwrap();
        let layer = *store.commit_dir(temp, tree).unwrap().id();
        let record =
            Record { layer, created: Time::default(), duration_ms: 0, log: None, made_of: None, boot: None };
        store.put_record(&layer, &record).unwrap();
    })
}

#[test]
#[ignore = "a measurement"]
fn layers() {
    let fixture = Fixture::new();
    let dir = fixture.folder("files");
    fill(&dir);
    show("opening the store", best(20, || fixture.reopened()));
    show("a step that wrote one file: scan, commit, record", small_step(&fixture));
    show(
        "scan, 50,000 files of 2 kB",
        best(3, || fixture.store.scan(&dir, &ScanOptions::default()).unwrap()),
    );
    let tree = fixture.store.scan(&dir, &ScanOptions::default()).unwrap();
    show("tree: encode", best(3, || tree.encode()));
    show("tree: id", best(3, || tree.layer_id()));
    let mut origins = Origins::new();
    for entry in tree.entries() {
        let path = dir.join(std::str::from_utf8(&entry.path).unwrap());
        origins.insert(entry.path.clone(), Origin::Path(path));
    }
    let start = Instant::now();
    let layer = fixture.store.commit_origins(tree, origins).unwrap();
    show("commit by reference", start.elapsed());
    show("own bytes (100 MB)", best(1, || fixture.store.own_bytes(&layer).unwrap()));
    show(
        "known layer and its tree",
        best(3, || fixture.reopened().layer(layer.id()).unwrap().unwrap().tree()),
    );
    show("barrier", best(1, || fixture.store.barrier().unwrap()));
    show("barrier, nothing written", best(1, || fixture.store.barrier().unwrap()));
}

#[test]
#[ignore = "a measurement"]
fn archives() {
    let fixture = Fixture::new();
    let content = vec![7_u8; 13_000];
    let mut writer = Writer::new(Vec::new());
    for number in 0..20_000 {
        let path = format!("folder-{:03}/file-{number:05}", number / 100);
        let size = content.len() as u64;
        let header = EntryHeader {
            path: path.as_bytes(),
            kind: EntryKind::File { size },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 1,
            xattrs: None,
        };
        writer.entry(&header, Some(&mut content.as_slice())).unwrap();
    }
    let bytes = writer.finish().unwrap();
    println!("{} MB in 20,000 files, {}", bytes.len() / 1_000_000, Digest::blake3(&bytes).short());
    let start = Instant::now();
    let temp = fixture.store.temp_dir("unpack").unwrap();
    let tree = fixture.store.unpack(&mut bytes.as_slice(), &temp, &UnpackOptions::layer()).unwrap();
    show("unpack", start.elapsed());
    let start = Instant::now();
    let layer = fixture.store.commit_dir(temp, tree).unwrap();
    show("commit", start.elapsed());
    assert!(fixture.store.has_bytes(&layer));
    let start = Instant::now();
    galley_store::remove_tree(fixture.store.root()).unwrap();
    show("remove", start.elapsed());
}
