//! Packed layers, as the kernel mounts them and `fsck.erofs` reads them: the same as directories of files.

use std::{
    io::Write,
    num::NonZeroU32,
    path::{Path, PathBuf},
    process::Command,
};

use fs_err as fs;
use galley_oci::{Entry, Kind, Meta, Time, Tree, erofs::Writer};
use galley_store::ScanOptions;
use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use crate::support::{Fixture, file_kind, is_root_of_the_machine};

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
    fn new(image: &Path, at: PathBuf) -> Option<Self> {
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
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

fn everything() -> Layer {
    let mut layer = Layer::default();
    layer
        .directory("")
        .directory("bin")
        .directory("empty")
        .file("bin/a", "a")
        .file("bin/big", vec![7; 10_000]);
    layer.file("none", "").linked("bin/x", "twin", 1).linked("y", "twin", 1);
    layer.add("opaque", meta(0o1777, -5), Kind::Directory { opaque: true });
    layer.add("opaque/gone", Meta::new(0), Kind::Whiteout);
    layer
}

fn fsck(image: &Path, options: &[&str]) {
    let output = Command::new("fsck.erofs").args(options).arg(image).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn privileged_what_is_mounted_is_what_a_directory_shows() {
    if !is_root_of_the_machine() {
        return;
    }
    let fixture = Fixture::new();
    let layer = everything();
    let image = fixture.dir.path().join("image");
    layer.pack(&image);
    fsck(&image, &["--extract"]);
    let Some(mounted) = Mounted::new(&image, fixture.dir.path().join("mounted")) else { return };
    let scanned = fixture.store.scan(&mounted.0, &ScanOptions::default()).unwrap();
    for (found, expected) in scanned.entries().iter().zip(layer.tree().entries()) {
        assert_eq!(found, expected);
    }
    assert_eq!(scanned.entries().len(), layer.tree().entries().len());
}
