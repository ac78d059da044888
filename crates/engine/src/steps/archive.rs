//! ADD of an archive: unpacked apart first, then laid over the destination as a tree.
//!
//! What the archive says reaches the disk only inside a temporary directory of the store, so nothing in it can lead
//! outside. An archive is known by its content, compressed or not; what cannot be read as one is copied as a file.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    io::{self, Read},
    num::NonZeroU32,
    os::unix::ffi::OsStrExt,
};

use fs_err as fs;
use galley_oci::{
    Blake3, Entry, Kind, Tree,
    archive::{ItemKind, Reader, Whiteouts},
    compress::{self, Format},
    tree::{file_name, is_within, join, parent},
};
use galley_store::{Layer, Origin, Store, TempDir, UnpackOptions};

use super::{
    attributes,
    copy::{Manner, join_all},
    draft::{Bytes, Draft, NewDirectory, shown},
    files::{Files, store_error},
    select::Selected,
};
use crate::{Error, ErrorKind};

/// A file that is an archive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Archive<'a> {
    files: &'a Files,
    path: &'a [u8],
}

/// The archive that `selected` is; none when it is anything else.
pub(crate) fn open<'a>(
    store: &Store,
    files: &'a Files,
    selected: &'a Selected,
) -> Result<Option<Archive<'a>>, Error> {
    let archive = Archive { files, path: &selected.path };
    let file = files.stack().get(archive.path).map(|found| &found.entry.kind);
    if !matches!(file, Some(Kind::File { .. })) {
        return Ok(None);
    }
    let Ok(reader) = compress::decoder(archive.raw(store)?) else { return Ok(None) };
    let mut prefix = Vec::new();
    let read = reader.take(compress::PREFIX_BYTES as u64).read_to_end(&mut prefix);
    Ok((read.is_ok() && compress::detect(&prefix) == Some(Format::Tar)).then_some(archive))
}

/// The files of an archive, until the layer has its own.
#[derive(Debug)]
pub(crate) struct Unpacked {
    temp: TempDir,
    /// Where they are in the image.
    root: Vec<u8>,
    /// Whether the layer has them with the names, owners and modes that they have here.
    as_it_is: bool,
}

impl Unpacked {
    /// Makes the unpacked directory the directory of `layer`, if that is possible: nothing is copied then. `layer` must have
    /// nothing but what came from here.
    pub(crate) fn commit(self, store: &Store, layer: Tree) -> Result<Result<Layer, (Self, Tree)>, Error> {
        let above: Vec<_> =
            layer.entries().iter().filter(|entry| is_within(&self.root, &entry.path)).collect();
        let plain = above.iter().all(|entry| entry.is_directory() && entry.meta.xattrs.is_none());
        if !(self.as_it_is && plain) {
            return Ok(Err((self, layer)));
        }
        let moved = store.temp_dir("add").map_err(store_error)?;
        let inside = |path: &[u8]| moved.diff().join(OsStr::from_bytes(path));
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Store, format!("cannot move an unpacked archive: {error}")).because(error)
        };
        for entry in &above {
            if *entry.path != *self.root {
                fs::create_dir(inside(&entry.path)).map_err(failed)?;
            }
        }
        fs::rename(self.temp.diff(), inside(&self.root)).map_err(failed)?;
        for entry in above.iter().rev() {
            attributes::set(&inside(&entry.path), &entry.meta).map_err(failed)?;
        }
        store.commit_dir(moved, layer).map(Ok).map_err(store_error)
    }
}

impl Archive<'_> {
    fn raw(&self, store: &Store) -> Result<Box<dyn Read + Send>, Error> {
        let gone = || Error::new(ErrorKind::Input, format!("{} is gone", shown(self.path)));
        let found = self.files.stack().get(self.path).ok_or_else(gone)?;
        Ok(Box::new(self.files.open(store, found)?))
    }

    fn decoded(&self, store: &Store) -> Result<Box<dyn Read + Send>, Error> {
        compress::decoder(self.raw(store)?).map_err(|error| self.failure(error))
    }

    fn failure(&self, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        let message = format!("cannot unpack {}: {error}", shown(self.path));
        Error::new(ErrorKind::Input, message).label("this archive").because(error)
    }

    /// Whether it still is what the key of the step says: a file of a context may change while it is unpacked.
    fn check(&self, store: &Store) -> Result<(), Error> {
        let mut hasher = Blake3::new();
        io::copy(&mut self.raw(store)?, &mut hasher).map_err(|error| self.failure(error))?;
        match self.files.stack().get(self.path).map(|found| &found.entry.kind) {
            Some(Kind::File { digest, .. }) if digest == hasher.finish().bytes() => Ok(()),
            _ => {
                let message = format!("{} changed while the build used it", shown(self.path));
                Err(Error::new(ErrorKind::Input, message)
                    .help("run the build again when nothing writes to it"))
            }
        }
    }

    /// Lays its files over the destination.
    pub(crate) fn unpack(
        &self,
        store: &Store,
        draft: &mut Draft<'_>,
        manner: &Manner<'_>,
    ) -> Result<Unpacked, Error> {
        let temp = store.temp_dir("add").map_err(store_error)?;
        let unpacked = store.unpack(&mut *self.decoded(store)?, &temp, &UnpackOptions::plain());
        let tree = unpacked
            .map_err(|error| if error.is_machines() { store_error(error) } else { self.failure(error) })?;
        self.check(store)?;
        let root = draft.resolve(manner.destination)?;
        draft.make_directories(&root, &NewDirectory { mode: 0o755, ..manner.new_directory() })?;
        let explicit = self.explicit_directories(store, &tree, draft, &root, manner)?;
        let as_it_is = explicit.is_none() && manner.owner.is_none();
        let mut graft = Graft { draft, manner, explicit, targets: HashMap::new(), groups: HashMap::new() };
        graft.targets.insert(Box::default(), root.clone());
        for entry in tree.entries() {
            let origin = Origin::Path(temp.diff().join(OsStr::from_bytes(&entry.path)));
            graft.add(entry, origin)?;
        }
        Ok(Unpacked { temp, root, as_it_is })
    }

    /// The directories that the archive itself has; none when it makes no difference. Those it leaves out look like any
    /// plain directory once they are unpacked, but must not change what stands in the destination. So the archive is
    /// read a second time, only if there is something that they could change.
    fn explicit_directories(
        &self,
        store: &Store,
        tree: &Tree,
        draft: &Draft<'_>,
        root: &[u8],
        manner: &Manner<'_>,
    ) -> Result<Option<HashSet<Box<[u8]>>>, Error> {
        let doubtful = |entry: &Entry| {
            let plain = entry.is_directory() && (entry.meta.uid, entry.meta.gid) == (0, 0);
            plain && entry.meta.mode == 0o755 && !entry.path.is_empty()
        };
        let matters =
            |entry: &Entry| manner.owner.is_some() || draft.get(&join_all(root, &entry.path)).is_some();
        if !tree.entries().iter().any(|entry| doubtful(entry) && matters(entry)) {
            return Ok(None);
        }
        let mut reader = Reader::new(self.decoded(store)?, Whiteouts::Plain);
        let mut explicit = HashSet::new();
        while let Some(item) = reader.next_item().map_err(|error| self.failure(error))? {
            if item.kind == ItemKind::Directory {
                explicit.insert(item.path);
            }
        }
        Ok(Some(explicit))
    }
}

/// Lays a tree over a draft.
struct Graft<'a, 'b> {
    draft: &'a mut Draft<'b>,
    manner: &'a Manner<'a>,
    /// The directories that the archive has, when some are in doubt.
    explicit: Option<HashSet<Box<[u8]>>>,
    /// Where each directory of the archive is in the draft.
    targets: HashMap<Box<[u8]>, Vec<u8>>,
    groups: HashMap<NonZeroU32, NonZeroU32>,
}

impl Graft<'_, '_> {
    fn add(&mut self, entry: &Entry, origin: Origin) -> Result<(), Error> {
        // The destination itself keeps its attributes.
        let Some(dir) = parent(&entry.path) else { return Ok(()) };
        let lost = || Error::new(ErrorKind::Internal, format!("{} has no directory", shown(&entry.path)));
        let mut target = join(self.targets.get(dir).ok_or_else(lost)?, file_name(&entry.path));
        let mut entry = entry.clone();
        let mut bytes = Bytes::None;
        match &mut entry.kind {
            Kind::Directory { .. } => {
                let implied = self.explicit.as_ref().is_some_and(|explicit| !explicit.contains(&entry.path));
                if implied {
                    target = self.implied(&target)?;
                    self.targets.insert(entry.path, target);
                    return Ok(());
                }
                self.targets.insert(entry.path, target.clone());
            }
            Kind::File { links, .. } => {
                *links = links.map(|group| self.group(group));
                bytes = Bytes::Own(Box::new(origin));
            }
            _ => {}
        }
        if let Some((uid, gid)) = self.manner.owner {
            (entry.meta.uid, entry.meta.gid) = (uid, gid);
        }
        entry.path = target.into();
        self.draft.put(entry, bytes);
        Ok(())
    }

    /// A directory that the archive only implies: what stands there is used, through a link too.
    fn implied(&mut self, target: &[u8]) -> Result<Vec<u8>, Error> {
        let resolved = self.draft.resolve(target)?;
        let mut new = self.manner.new_directory();
        (new.mode, new.uid, new.gid) = (0o755, 0, 0);
        self.draft.make_directories(&resolved, &new)?;
        Ok(resolved)
    }

    fn group(&mut self, group: NonZeroU32) -> NonZeroU32 {
        let draft = &mut *self.draft;
        *self.groups.entry(group).or_insert_with(|| draft.new_group())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use galley_oci::Stack;
    use galley_store::{KeepAll, OpenOptions};
    use galley_testkit::{TarEntry, rootfs_tar};

    use super::*;
    use crate::steps::select;

    #[test]
    fn an_archive_that_changes_meanwhile_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (context, path) = (folder.path().join("context"), folder.path().join("context/a.tar"));
        fs::create_dir(&context).unwrap();
        let write = |text: &[u8]| fs::write(&path, rootfs_tar(&[TarEntry::File("f", 0o644, text)])).unwrap();
        write(b"one");
        let store = Store::open(&folder.path().join("store"), OpenOptions::default()).unwrap();
        let walked = store.walk_context(&context, &KeepAll).unwrap();
        let files = Files::of_directory(&walked.root, Arc::new(walked.tree));
        let selected = select::literal(files.stack(), b"a.tar").unwrap();
        let archive = open(&store, &files, &selected).unwrap().expect("it is one");
        let manner = Manner { destination: b"/", owner: None, mode: None, now: galley_oci::Time::default() };
        let below = Stack::default();
        archive.unpack(&store, &mut Draft::new(&below), &manner).unwrap();
        write(b"two");
        let error = archive.unpack(&store, &mut Draft::new(&below), &manner).unwrap_err();
        assert_eq!(error.message, "/a.tar changed while the build used it");
    }
}
