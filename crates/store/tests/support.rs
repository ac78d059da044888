//! What the tests share: a store in a temporary folder, trees and archives by hand.

use std::{os::unix::fs::PermissionsExt, path::Path};

use fs_err as fs;
use galley_oci::{Digest, Entry, Kind, Meta, Time, Tree, erofs::Reader};
use galley_store::{OpenOptions, Origin, Origins, Store, StoreError, UnpackOptions, pack};

/// A store that goes when dropped.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        // Opened once more: the process that makes a store has a folder under tmp/ already.
        drop(Store::open(&root, options()).unwrap());
        Self { store: Store::open(&root, options()).unwrap(), dir }
    }

    /// The same store as another process sees it.
    pub(crate) fn reopened(&self) -> Store {
        Store::open(self.store.root(), options()).unwrap()
    }

    /// A new folder beside the store.
    pub(crate) fn folder(&self, name: &str) -> std::path::PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

/// Packs `archive` and checks every byte of that against its tree, and the tree or the error against what came of
/// unpacking the same.
pub(crate) fn pack_too(archive: &[u8], options: &UnpackOptions, unpacked: &Result<Tree, StoreError>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("packed");
    match (unpacked, pack(&mut &*archive, &path, options)) {
        (Ok(unpacked), Ok(packed)) => {
            assert_eq!(unpacked.entries(), packed.entries());
            Reader::open(fs::File::open(&path).unwrap().into_file()).unwrap().check(&packed).unwrap();
        }
        (Err(StoreError::Io { .. }), Err(_)) => {}
        (Err(unpacked), Err(packed)) => assert_eq!(unpacked.to_string(), packed.to_string()),
        (unpacked, packed) => panic!("unpacked: {unpacked:?}, packed: {packed:?}"),
    }
}

/// A store whose new layers are packed, whether this process may mount them or not.
pub(crate) fn packing() -> OpenOptions {
    OpenOptions { mount_trial: Some(|_| Ok(())), ..options() }
}

/// As this process must open a store: the tests can be run in a user namespace too.
pub(crate) fn options() -> OpenOptions {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    let map: Vec<_> = map.split_whitespace().collect();
    let id_map = if map == ["0", "0", "4294967295"] { String::new() } else { map.join(":") };
    OpenOptions { id_map, ..OpenOptions::default() }
}

/// Whether devices can be made and trusted attributes be set.
pub(crate) fn is_root_of_the_machine() -> bool {
    is_root() && options().id_map.is_empty()
}

/// Tests that need other owners say so and pass for others.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: this test needs root");
    }
    root
}

/// Owned by whoever runs the tests.
pub(crate) fn meta(mode: u16, seconds: i64) -> Meta {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Meta { uid, gid, mtime: Time { seconds, nanoseconds: 0 }, ..Meta::new(mode) }
}

pub(crate) fn entry(path: &str, meta: Meta, kind: Kind) -> Entry {
    Entry { path: path.as_bytes().into(), meta, kind }
}

pub(crate) fn directory(path: &str) -> Entry {
    entry(path, meta(0o755, 1_000), Kind::Directory { opaque: false })
}

pub(crate) fn file(path: &str, content: &[u8]) -> Entry {
    entry(path, meta(0o644, 2_000), file_kind(content))
}

pub(crate) fn file_kind(content: &[u8]) -> Kind {
    Kind::File { size: content.len() as u64, digest: *Digest::blake3(content).bytes(), links: None }
}

/// A tree of files in the root, with their bytes as origins.
pub(crate) fn files(all: &[(&str, &[u8])]) -> (Tree, Origins) {
    let mut origins = Origins::new();
    let mut entries = vec![directory("")];
    for (path, content) in all {
        entries.push(file(path, content));
        origins.insert(path.as_bytes(), Origin::Bytes((*content).into()));
    }
    (Tree::from_entries(entries), origins)
}

/// Writes a file with its parents.
pub(crate) fn write(root: &Path, path: &str, content: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// All paths below `root` with inode, size and times: equal when nothing was written.
pub(crate) fn snapshot(root: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut lines = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let stamp = (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        lines.push(format!("{} {stamp:?}", path.display()));
        if metadata.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    lines.sort();
    lines
}

/// One entry of an archive by hand, so that it may say what no writer would.
pub(crate) struct TarEntry<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: u8,
    pub(crate) link: &'a str,
    pub(crate) content: &'a [u8],
    pub(crate) mode: u32,
}

impl<'a> TarEntry<'a> {
    pub(crate) fn file(name: &'a str, content: &'a [u8]) -> Self {
        Self { name, kind: b'0', link: "", content, mode: 0o644 }
    }

    pub(crate) fn directory(name: &'a str) -> Self {
        Self { name, kind: b'5', link: "", content: b"", mode: 0o755 }
    }

    pub(crate) fn symlink(name: &'a str, target: &'a str) -> Self {
        Self { name, kind: b'2', link: target, content: b"", mode: 0o777 }
    }

    pub(crate) fn hard_link(name: &'a str, target: &'a str) -> Self {
        Self { name, kind: b'1', link: target, content: b"", mode: 0o644 }
    }

    pub(crate) fn special(name: &'a str, kind: u8) -> Self {
        Self { name, kind, link: "", content: b"", mode: 0o600 }
    }
}

pub(crate) fn tar(entries: &[TarEntry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let mut header = [0_u8; 512];
        header[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
        let mut octal = |from: usize, digits: usize, value: u64| {
            header[from..from + digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
        };
        octal(100, 7, entry.mode.into());
        octal(108, 7, 0);
        octal(116, 7, 0);
        octal(124, 11, entry.content.len() as u64);
        octal(136, 11, 3_000);
        octal(329, 7, 1);
        octal(337, 7, 3);
        header[148..156].fill(b' ');
        header[156] = entry.kind;
        header[157..157 + entry.link.len()].copy_from_slice(entry.link.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(entry.content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}
