//! Packed layers, as the kernel mounts them and `fsck.erofs` reads them: the same as directories of files.

use std::{
    ffi::{CString, OsStr},
    io::{Read, Write},
    num::NonZeroU32,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
    process::Command,
};

use fs_err as fs;
use galley_oci::{Entry, Kind, Meta, Time, Tree, erofs::Writer};
use galley_store::{Origin, Origins, ScanOptions, Store};
use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use crate::support::{Fixture, file_kind, is_root, is_root_of_the_machine, write};

/// A tree with its bytes.
#[derive(Default)]
struct Layer {
    entries: Vec<(Entry, Vec<u8>)>,
}

impl Layer {
    fn add(&mut self, path: impl AsRef<[u8]>, meta: Meta, kind: Kind) -> &mut Self {
        self.entries.push((Entry { path: path.as_ref().into(), meta, kind }, Vec::new()));
        self
    }

    fn directory(&mut self, path: impl AsRef<[u8]>) -> &mut Self {
        self.add(path, meta(0o755, 1), Kind::Directory { opaque: false })
    }

    fn file(&mut self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> &mut Self {
        self.linked(path, content, 0)
    }

    fn linked(&mut self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>, group: u32) -> &mut Self {
        let Kind::File { size, digest, .. } = file_kind(content.as_ref()) else { unreachable!() };
        let kind = Kind::File { size, digest, links: NonZeroU32::new(group) };
        let entry = Entry { path: path.as_ref().into(), meta: meta(0o644, 2), kind };
        self.entries.push((entry, content.as_ref().to_vec()));
        self
    }

    fn origins(&self) -> Origins {
        let mut origins = Origins::new();
        for (entry, bytes) in self.entries.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            origins.insert(entry.path.clone(), Origin::Bytes(bytes.as_slice().into()));
        }
        origins
    }

    fn tree(&self) -> Tree {
        Tree::from_entries(self.entries.iter().map(|(entry, _)| entry.clone()).collect())
    }

    /// Writes it as an archive would come: contents in the order of the entries.
    fn pack(&self, path: &Path) {
        let tree = self.tree();
        let mut writer = Writer::new(fs::File::create(path).unwrap()).unwrap();
        let mut contents = vec![None; tree.entries().len()];
        for (entry, bytes) in &self.entries {
            let mut file = writer.file();
            file.write_all(bytes).unwrap();
            contents[tree.position(&entry.path).unwrap()] = Some(file.finish());
        }
        writer.finish(&tree, |index| contents[index]).unwrap();
    }
}

fn meta(mode: u16, seconds: i64) -> Meta {
    Meta { mtime: Time { seconds, nanoseconds: 0 }, ..Meta::new(mode) }
}

/// A mount that goes when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`, and says why, where the kernel does not mount files like this.
    fn packed(image: &Path) -> Option<Self> {
        let at = image.with_extension("mounted");
        fs::create_dir(&at).unwrap();
        match mount(image, &at, "erofs", MountFlags::RDONLY, None) {
            Ok(()) => Some(Self(at)),
            Err(error @ (Errno::PERM | Errno::NODEV | Errno::NOTBLK)) => {
                eprintln!("skipped: this kernel mounts no EROFS file: {error}");
                None
            }
            Err(error) => panic!("cannot mount {}: {error}", image.display()),
        }
    }

    /// `top` over `below`.
    fn overlay(top: &Path, below: &Path) -> Option<Self> {
        let at = top.with_extension("overlay");
        fs::create_dir(&at).unwrap();
        let options = format!("lowerdir={}:{}", top.display(), below.display());
        let options = CString::new(options).unwrap();
        match mount("overlay", &at, "overlay", MountFlags::RDONLY, Some(&*options)) {
            Ok(()) => Some(Self(at)),
            Err(error) => {
                eprintln!("skipped: no overlay can be mounted here: {error}");
                None
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// User and group may read and write, user 1000 may read.
const ACL: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 6, 0, 255, 255, 255, 255, 16,
    0, 6, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
];

fn with_xattrs(meta: Meta, all: &[(&str, &[u8])]) -> Meta {
    let all = all.iter().map(|&(name, value)| (name.as_bytes().into(), value.into())).collect();
    Meta { xattrs: Some(Box::new(all)), ..meta }
}

/// One of everything that a directory of any file system can have.
fn everything() -> Layer {
    let mut layer = Layer::default();
    layer.add("", Meta { uid: 7, gid: 8, ..meta(0o751, 5) }, Kind::Directory { opaque: false });
    layer.directory("bin").directory("deep").directory("deep/deeper").directory("empty");
    layer.file("bin/a", "a").file("bin/held", [1; 2048]).file("bin/not-held", [2; 2049]).file("none", "");
    layer.file("bin/block", [3; 4096]).file("bin/tail", [4; 10_000]).file("bin/zeros", vec![0; 300_000]);
    layer.file(b"bin/\xff\xfe", "no text").file([b'n'; 255], "long").file("deep/deeper/file", "x");
    layer.linked("bin/x", "twin", 1).linked("deep/y", "twin", 1).linked("z", "twin", 1);
    for (name, mode) in [("su", 0o4755), ("sg", 0o2711), ("secret", 0o600)] {
        let time = Time { seconds: 1_700_000_000, nanoseconds: 123_456_789 };
        let meta = Meta { uid: 70_000, gid: 5, mtime: time, ..meta(mode, 0) };
        layer.add(name, meta, file_kind(b""));
    }
    let labelled = [("security.capability", &CAPABILITY[..]), ("user.mime", b"text"), ("trusted.t", b"")];
    layer.add("labelled", with_xattrs(meta(0o755, 13), &labelled), file_kind(b""));
    layer.add("acl", with_xattrs(meta(0o664, 14), &[("system.posix_acl_access", ACL)]), file_kind(b""));
    layer.add("sticky", with_xattrs(meta(0o1777, -5), &[("user.d", b"d")]), Kind::Directory { opaque: true });
    layer.add("gone", Meta::new(0), Kind::Whiteout).add("sticky/gone", Meta::new(0), Kind::Whiteout);
    layer.add("null", meta(0o666, 17), Kind::CharDevice { major: 1, minor: 3 });
    layer.add("zero", meta(0o600, 17), Kind::CharDevice { major: 0, minor: 0 });
    layer.add("disk", Meta { gid: 6, ..meta(0o660, 18) }, Kind::BlockDevice { major: 259, minor: 70_000 });
    layer.add("pipe", meta(0o622, 21), Kind::Fifo);
    for length in [1, 50, 3900, 4000, 4095] {
        let kind = Kind::Symlink { target: vec![b't'; length].into() };
        layer.add(format!("link-{length}"), Meta { uid: 3, ..meta(0o777, -20) }, kind);
    }
    layer
}

/// What only a packed layer can have on any file system.
fn extremes() -> Layer {
    let mut layer = Layer::default();
    layer.directory("").directory("full");
    for (name, seconds) in [("past", -1_000_000_000_000), ("future", 1_000_000_000_000)] {
        layer.add(name, meta(0o644, seconds), file_kind(b""));
    }
    let large: Vec<Vec<u8>> = (1..5).map(|byte| vec![byte; 65_000]).collect();
    let large = [("user.a", &*large[0]), ("user.b", &large[1]), ("user.c", &large[2]), ("user.d", &large[3])];
    layer.add("labels", with_xattrs(meta(0o644, 1), &large), file_kind(b""));
    for number in 0..100_000 {
        layer.add(format!("full/some-name-{number}"), meta(0o644, 1), file_kind(b""));
    }
    layer.linked("name", "of many", 1);
    let Some((many, _)) = layer.entries.last().cloned() else { unreachable!() };
    for number in 0..70_000 {
        layer.add(format!("name-{number}"), many.meta.clone(), many.kind.clone());
    }
    layer
}

fn fsck(image: &Path, options: &[&str]) {
    let output = Command::new("fsck.erofs").args(options).arg(image).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

fn scan(store: &Store, dir: &Path) -> Tree {
    store.scan(dir, &ScanOptions::default()).unwrap()
}

fn assert_same(found: &Tree, expected: &Tree) {
    for (found, expected) in found.entries().iter().zip(expected.entries()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.entries().len(), expected.entries().len());
}

/// All that the kernel says about a file without following it.
fn attributes(path: &Path) -> String {
    let stat = fs::symlink_metadata(path).unwrap();
    // File systems differ in how they count directories, and how large they are.
    let counts = if stat.is_dir() { (0, 0) } else { (stat.nlink(), stat.size()) };
    let mut list = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut list).unwrap();
    let mut names: Vec<_> = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    let value = |name: &&[u8]| {
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, *name, &mut value).unwrap();
        format!("{}={:?}", String::from_utf8_lossy(name), &value[..length])
    };
    let values: Vec<_> = names.iter().map(value).collect();
    let (mode, owner, device) = (stat.mode(), (stat.uid(), stat.gid()), stat.rdev());
    format!("{mode:o} {owner:?} {device} {counts:?} {} {} {values:?}", stat.mtime(), stat.mtime_nsec())
}

#[test]
fn privileged_what_is_mounted_is_what_a_directory_shows() {
    if !is_root_of_the_machine() {
        return;
    }
    let fixture = Fixture::new();
    let (layer, image) = (everything(), fixture.dir.path().join("image"));
    layer.pack(&image);
    let tree = layer.tree();
    let stored = fixture.store.commit_origins(tree.clone(), layer.origins()).unwrap();
    let diff = fixture.dir.path().join("diff");
    fixture.store.copy_files(&stored, &diff).unwrap();
    let Some(mounted) = Mounted::packed(&image) else { return };
    assert_same(&scan(&fixture.store, &mounted.0), &tree);
    // Whiteouts have no attributes: those of a directory are of the moment when they were made.
    for entry in tree.entries().iter().filter(|entry| entry.kind != Kind::Whiteout) {
        let path = Path::new(OsStr::from_bytes(&entry.path));
        let [found, expected] = [&mounted.0, &diff].map(|root| attributes(&root.join(path)));
        assert_eq!(found, expected, "{}", path.display());
    }
    assert_eq!(fs::metadata(mounted.0.join("deep")).unwrap().nlink(), 3);
}

#[test]
fn privileged_an_overlay_sees_the_same_in_both() {
    if !is_root_of_the_machine() {
        return;
    }
    let fixture = Fixture::new();
    let below = fixture.folder("below");
    for path in ["gone", "sticky/gone", "sticky/hidden", "bin/kept", "zero/hidden"] {
        write(&below, path, b"of below");
    }
    let (layer, image) = (everything(), fixture.dir.path().join("image"));
    layer.pack(&image);
    let stored = fixture.store.commit_origins(layer.tree(), layer.origins()).unwrap();
    let diff = fixture.dir.path().join("diff");
    fixture.store.copy_files(&stored, &diff).unwrap();
    let Some(mounted) = Mounted::packed(&image) else { return };
    let (Some(packed), Some(unpacked)) =
        (Mounted::overlay(&mounted.0, &below), Mounted::overlay(&diff, &below))
    else {
        return;
    };
    let merged = scan(&fixture.store, &packed.0);
    assert_same(&merged, &scan(&fixture.store, &unpacked.0));
    let has = |path: &str| merged.get(path.as_bytes()).is_some();
    let hidden = ["gone", "sticky/gone", "sticky/hidden", "zero/hidden"];
    assert!(has("bin/kept") && has("bin/a") && has("zero") && !hidden.into_iter().any(has));
}

#[test]
fn privileged_extremes_are_mounted() {
    if !is_root_of_the_machine() {
        return;
    }
    let fixture = Fixture::new();
    let (layer, image) = (extremes(), fixture.dir.path().join("image"));
    layer.pack(&image);
    let Some(mounted) = Mounted::packed(&image) else { return };
    assert_same(&scan(&fixture.store, &mounted.0), &layer.tree());
    assert_eq!(fs::metadata(mounted.0.join("name-69999")).unwrap().nlink(), 70_001);
}

#[test]
fn other_tools_accept_packed_layers() {
    let folder = tempfile::tempdir().unwrap();
    for (name, layer) in [("everything", everything()), ("extremes", extremes())] {
        let image = folder.path().join(name);
        layer.pack(&image);
        fsck(&image, &["--extract"]);
    }
}

#[test]
fn privileged_other_tools_extract_the_same_files() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let (layer, image) = (everything(), fixture.dir.path().join("image"));
    layer.pack(&image);
    let extracted = fixture.dir.path().join("extracted");
    fsck(&image, &[&format!("--extract={}", extracted.display())]);
    // It knows neither hard links nor attributes, and clears set-id bits when it sets the owner.
    let without = |tree: Tree| {
        let mut entries = tree.into_entries();
        // A stand-in, which is told from an empty file by its attribute.
        entries.retain(|entry| *entry.path != *b"zero");
        for entry in &mut entries {
            entry.meta.xattrs = None;
            entry.meta.mode &= 0o1777;
            match &mut entry.kind {
                Kind::File { links, .. } => *links = None,
                Kind::Directory { opaque } => *opaque = false,
                _ => {}
            }
        }
        Tree::from_entries(entries)
    };
    assert_same(&without(scan(&fixture.store, &extracted)), &without(layer.tree()));
}

#[test]
#[ignore = "writes and reads 5 GB"]
fn privileged_a_file_of_more_than_four_gigabytes_is_mounted() {
    const BYTES: u64 = 5 << 30;
    if !is_root_of_the_machine() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let mut writer = Writer::new(fs::File::create(&image).unwrap()).unwrap();
    let mut file = writer.file();
    std::io::copy(&mut std::io::repeat(0).take(BYTES - 3), &mut file).unwrap();
    file.write_all(b"end").unwrap();
    let content = file.finish();
    let kind = Kind::File { size: BYTES, digest: [0; 32], links: None };
    let mut layer = Layer::default();
    layer.directory("").add("large", meta(0o644, 1), kind);
    writer.finish(&layer.tree(), |_| Some(content)).unwrap();
    assert!(fs::metadata(&image).unwrap().blocks() < 2048, "zeros are holes");
    let Some(mounted) = Mounted::packed(&image) else { return };
    let large = fs::File::open(mounted.0.join("large")).unwrap();
    let mut end = [1; 6];
    large.file().read_exact_at(&mut end, BYTES - 6).unwrap();
    assert_eq!((large.metadata().unwrap().len(), &end), (BYTES, b"\0\0\0end"));
}
