//! `galley cp` with an archive on standard input or output.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use galley_oci::{
    Entry, Kind, Meta, TimePolicy, Tree,
    archive::{Item, ItemKind, Reader, Whiteouts},
    compress, tree, write_layer,
};
use galley_store::Store;

use super::{
    Container,
    access::Access,
    anchor::{Anchor, Look},
    copy::{NOT_COPIED, Wanted},
    export::View,
};
use crate::{Error, ErrorKind};

/// Permissions of a directory that an archive only implies.
const IMPLIED_MODE: u16 = 0o755;

/// Unpacks the archive `input`, compressed or not, in the directory `target` of `container`; what it says of owners counts.
pub fn copy_archive_in(
    store: &Store,
    container: &Container,
    input: Box<dyn Read + Send>,
    target: &str,
) -> Result<(), Error> {
    let access = Access::open(store, container)?;
    let target_path = Path::new(target);
    if !access.root.is_directory(target_path) {
        let message = format!("{target} in {} is no directory that is there", container.name);
        return Err(Error::new(ErrorKind::Usage, message).help("an archive is unpacked in a directory"));
    }
    let failed = |error: io::Error| {
        let message = format!("cannot copy the archive to {target} in {}", container.name);
        Error::new(ErrorKind::Input, message).because(error)
    };
    let plain = compress::decoder(input).map_err(failed)?;
    Unpacking { root: &access.root, target: target_path, directories: BTreeMap::new() }
        .all(Reader::new(plain, Whiteouts::Plain))
        .map_err(failed)
}

struct Unpacking<'a> {
    root: &'a Anchor,
    target: &'a Path,
    /// Those that were made, to be finished when nothing is written into them any more.
    directories: BTreeMap<PathBuf, Look>,
}

impl Unpacking<'_> {
    fn all<R: Read>(mut self, mut archive: Reader<R>) -> io::Result<()> {
        while let Some(item) = archive.next_item().map_err(io::Error::other)? {
            let to = self.place(&item.path);
            let done = self.implied(&to, &item).and_then(|()| self.one(&to, &item, &mut archive));
            done.map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", String::from_utf8_lossy(&item.path)))
            })?;
        }
        // Whoever writes into a pipe wants to write to the end.
        io::copy(&mut archive.into_inner(), &mut io::sink())?;
        // The deepest first: what is made in a directory changes its time, and one may be read-only.
        self.directories.iter().rev().try_for_each(|(path, look)| self.root.finish_directory(path, *look))
    }

    fn place(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() { self.target.to_owned() } else { self.target.join(OsStr::from_bytes(path)) }
    }

    /// Makes the directories above that the archive has not named.
    fn implied(&mut self, to: &Path, item: &Item) -> io::Result<()> {
        let above = to.parent().unwrap_or(to);
        if item.path.is_empty() || self.root.is_directory(above) {
            return Ok(());
        }
        let look = look_of(&Meta { uid: 0, gid: 0, mtime: item.meta.mtime, ..Meta::new(IMPLIED_MODE) });
        let missing: Vec<&Path> =
            above.ancestors().take_while(|path| !self.root.is_directory(path)).collect();
        missing.into_iter().rev().try_for_each(|path| self.directory(path, look))
    }

    fn directory(&mut self, to: &Path, look: Look) -> io::Result<()> {
        // One that was there keeps its permissions; one that the archive names twice has the last ones.
        if self.root.make_directory(to)? || self.directories.contains_key(to) {
            self.directories.insert(to.to_owned(), look);
        }
        Ok(())
    }

    fn one<R: Read>(&mut self, to: &Path, item: &Item, archive: &mut Reader<R>) -> io::Result<()> {
        let look = look_of(&item.meta);
        match &item.kind {
            ItemKind::Directory => self.directory(to, look),
            ItemKind::File { .. } => self.root.make_file(to, look, &mut archive.content()),
            ItemKind::Symlink { target } => self.root.make_link(to, OsStr::from_bytes(target), look.owner),
            ItemKind::HardLink { target } => self.root.make_name(to, &self.place(target)),
            _ => Err(io::Error::other(NOT_COPIED)),
        }
    }
}

fn look_of(meta: &Meta) -> Look {
    Look {
        mode: meta.mode.into(),
        seconds: meta.mtime.seconds,
        nanoseconds: meta.mtime.nanoseconds.into(),
        owner: Some((meta.uid, meta.gid)),
    }
}

/// Writes `source`, an absolute path of `container`, to `out` as an archive: under its name, or the contents of a directory alone
/// when it ends with `/.`.
pub fn copy_archive_out(
    store: &Store,
    container: &Container,
    source: &str,
    follow: bool,
    out: &mut dyn io::Write,
) -> Result<(), Error> {
    let view = View::of(store, container)?;
    let Wanted { path, contents, .. } = Wanted::find(&view, container, source, follow)?;
    let top = if contents { &b""[..] } else { tree::file_name(&path) };
    let origins = view.stack.walk(b"").into_iter().map(|found| (found.layer, found.index));
    let all = view.stack.merged().into_entries().into_iter().zip(origins);
    let chosen = all.filter(|(entry, _)| tree::is_within(&entry.path, &path)).map(|(entry, origin)| {
        let below = entry.path.strip_prefix(&path[..]).unwrap_or_default();
        let below = below.strip_prefix(b"/").unwrap_or(below);
        let path = if below.is_empty() { top.into() } else { tree::join(top, below).into() };
        (Entry { path, ..entry }, origin)
    });
    let (entries, origins): (Vec<Entry>, Vec<_>) = chosen.unzip();
    let tree = Tree::from_entries(with_files_of_one_name(entries));
    let mut open = |index: usize| view.open(store, origins[index]);
    write_layer(&tree, TimePolicy::Keep, &mut open, out).map_err(|error| {
        Error::new(ErrorKind::Store, format!("cannot copy {source} of {}", container.name)).because(error)
    })
}

/// Of several names of a file perhaps one is among these, and then it has no other.
fn with_files_of_one_name(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut names = BTreeMap::new();
    for entry in &entries {
        if let Kind::File { links: Some(group), .. } = entry.kind {
            *names.entry(group).or_insert(0) += 1;
        }
    }
    for entry in &mut entries {
        if let Kind::File { links, .. } = &mut entry.kind {
            *links = links.filter(|group| names.get(group).is_some_and(|count| *count > 1));
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use fs_err as fs;
    use galley_oci::archive::{EntryHeader, EntryKind, Writer};

    use super::*;

    const LINK: EntryKind<'static> = EntryKind::Symlink { target: b"../../../../../../../../tmp" };
    const FILE: EntryKind<'static> = EntryKind::File { size: 4 };

    fn archive(entries: &[(&str, EntryKind<'_>)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for &(path, kind) in entries {
            let path = path.as_bytes();
            let header = EntryHeader { path, kind, mode: 0o750, uid: 0, gid: 0, mtime: 7, xattrs: None };
            let content = &mut &b"text"[..];
            writer
                .entry(&header, matches!(kind, EntryKind::File { .. }).then_some(content as &mut dyn Read))
                .unwrap();
        }
        writer.finish().unwrap()
    }

    /// Into the directory `in` of a container's root, as an ordinary user too.
    fn unpack(root: &Path, bytes: &[u8]) -> io::Result<()> {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, rustix::fs::Mode::empty())?;
        let root = Anchor::of_container(root).without_owners();
        Unpacking { root: &root, target: Path::new("/in"), directories: BTreeMap::new() }
            .all(Reader::new(bytes, Whiteouts::Plain))
    }

    #[test]
    fn an_archive_is_unpacked_over_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("in");
        fs::create_dir_all(inside.join("old")).unwrap();
        let bytes = archive(&[
            ("old", EntryKind::Directory),
            ("new", EntryKind::Directory),
            ("new/file", FILE),
            ("implied/deep/file", FILE),
            ("other", EntryKind::HardLink { target: b"new/file" }),
            ("other", EntryKind::HardLink { target: b"new/file" }),
            ("link", EntryKind::Symlink { target: b"new" }),
            ("link/through", FILE),
        ]);
        unpack(dir.path(), &bytes).unwrap();
        let look = |path: &str| {
            let found = fs::metadata(inside.join(path)).unwrap();
            (found.mode() & 0o7777, found.mtime())
        };
        assert_eq!([look("new"), look("new/file"), look("new/through")], [(0o750, 7); 3]);
        assert_eq!(look("implied/deep"), (0o755, 7));
        assert_eq!(look("old").0, 0o755);
        // Again, over all of it.
        unpack(dir.path(), &bytes).unwrap();
        assert_eq!(fs::metadata(inside.join("other")).unwrap().nlink(), 2);
        assert_eq!(fs::read_to_string(inside.join("implied/deep/file")).unwrap(), "text");
    }

    #[test]
    fn no_archive_writes_outside() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(dir.path().join("in")).unwrap();
        symlink(outside.path(), dir.path().join("in/there")).unwrap();
        let out = outside.path().to_str().unwrap();
        let all = [
            archive(&[("there/file", FILE)]),
            archive(&[("l", LINK), ("l/galley-evil", FILE)]),
            archive(&[("l", EntryKind::Symlink { target: out.as_bytes() }), ("l", EntryKind::Directory)]),
            archive(&[("h", EntryKind::HardLink { target: b"there/file" })]),
            archive(&[("d", EntryKind::CharDevice { major: 1, minor: 3 })]),
            archive(&[("p", EntryKind::Fifo)]),
        ];
        for bytes in all {
            // What is refused, and what stays inside.
            let _ = unpack(dir.path(), &bytes);
            let _ = unpack(dir.path(), &bytes[..bytes.len() / 2]);
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(!Path::new("/tmp/galley-evil").exists());
        let names = fs::read_dir(dir.path().join("in")).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| *name == *"d" || *name == *"p" || *name == *"h"), "{names:?}");
    }

    #[test]
    fn a_file_never_takes_the_place_of_a_directory_or_the_other_way_round() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("in/d/below")).unwrap();
        fs::write(dir.path().join("in/f"), "old").unwrap();
        assert!(unpack(dir.path(), &archive(&[("d", FILE)])).is_err());
        let error = unpack(dir.path(), &archive(&[("f", EntryKind::Directory)])).unwrap_err().to_string();
        assert!(error.starts_with("f: "), "{error}");
        assert_eq!(fs::read_to_string(dir.path().join("in/f")).unwrap(), "old");
    }

    #[test]
    fn a_file_whose_other_names_are_elsewhere_has_one() {
        let file = |path: &str, group| Entry {
            path: path.as_bytes().into(),
            meta: Meta::new(0o644),
            kind: Kind::File { size: 0, digest: [0; 32], links: std::num::NonZeroU32::new(group) },
        };
        let entries = with_files_of_one_name(vec![file("a", 1), file("b", 2), file("c", 1)]);
        let links: Vec<bool> =
            entries.iter().map(|entry| matches!(entry.kind, Kind::File { links: Some(_), .. })).collect();
        assert_eq!(links, [true, false, true]);
    }
}
