//! Packed layers: all of a layer's files in one that the kernel mounts.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    num::NonZeroU32,
    path::Path,
    sync::Arc,
};

use galley_oci::{
    Blake3, Entry, Kind, Tree,
    erofs::{Reader, RecordKind, Writer},
};

use crate::{Content, Store, StoreError, error::At, files::copier::BUFFER_BYTES};

/// Tries to mount the packed layer in a file; nothing stays mounted.
pub type MountTrial = fn(&Path) -> io::Result<()>;

/// A packed layer that is open.
#[derive(Debug)]
pub(crate) struct Packed {
    file: Arc<File>,
    reader: Reader<File>,
}

impl Packed {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let damaged = |error: &dyn ToString| StoreError::damaged("the packed layer", path, error.to_string());
        let file = fs_err::File::open(path).at("open", path)?.into_file();
        let reader = Reader::open(file.try_clone().at("open", path)?).map_err(|error| damaged(&error))?;
        Ok(Self { file: Arc::new(file), reader })
    }

    /// The content of the file `entry`, which has `size` bytes. `path` is this layer's, for messages.
    pub(crate) fn content(&self, path: &Path, entry: &[u8], size: u64) -> Result<Content, StoreError> {
        let damaged =
            |reason: &dyn ToString| StoreError::damaged("the packed layer", path, reason.to_string());
        let found = self.reader.find(entry).map_err(|error| damaged(&error))?;
        match found.map(|record| record.kind) {
            Some(RecordKind::File(runs)) if runs.len() == size => {
                Ok(Content::parts(Arc::clone(&self.file), runs.iter()))
            }
            _ => Err(damaged(&format!("it lacks {}", String::from_utf8_lossy(entry)))),
        }
    }
}

impl Packed {
    /// Everything in it, with the digests of what the files hold: for a check.
    pub(crate) fn scan(&self, path: &Path) -> Result<Tree, StoreError> {
        let damaged = |error: &dyn ToString| StoreError::damaged("the packed layer", path, error.to_string());
        let (mut entries, mut groups) = (Vec::new(), HashMap::new());
        for record in self.reader.walk() {
            let record = record.map_err(|error| damaged(&error))?;
            let kind = match record.kind {
                RecordKind::Directory { opaque } => Kind::Directory { opaque },
                RecordKind::Other(kind) => kind,
                RecordKind::File(runs) => {
                    // A file of several names is read once.
                    let (links, digest) = match groups.get(&record.inode) {
                        Some(&(group, digest)) => (Some(group), digest),
                        None => {
                            let content = Content::parts(Arc::clone(&self.file), runs.iter());
                            let digest = digest_of(content).at("read", path)?;
                            let group = (record.links > 1).then(|| group_after(groups.len()));
                            groups.extend(group.map(|group| (record.inode, (group, digest))));
                            (group, digest)
                        }
                    };
                    Kind::File { size: runs.len(), digest, links }
                }
            };
            entries.push(Entry { path: record.path, meta: record.meta, kind });
        }
        Ok(Tree::from_entries(entries))
    }
}

fn group_after(count: usize) -> NonZeroU32 {
    u32::try_from(count).ok().and_then(|count| NonZeroU32::MIN.checked_add(count)).unwrap_or(NonZeroU32::MAX)
}

fn digest_of(mut content: Content) -> io::Result<[u8; 32]> {
    let mut hasher = Blake3::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = content.read(&mut buffer)?;
        if count == 0 {
            return Ok(*hasher.finish().bytes());
        }
        hasher.update(&buffer[..count]);
    }
}

impl Store {
    /// Why packed layers cannot be mounted here; `None` when they can. Asked of the kernel, once in a process: it costs less
    /// than to read what was found out before.
    pub fn packed_obstacle(&self) -> Option<&str> {
        let why = || self.try_packed().err().map(|error| error.to_string());
        self.inner.packed_obstacle.get_or_init(why).as_deref()
    }

    pub(crate) fn mounts_packed(&self) -> bool {
        self.packed_obstacle().is_none()
    }

    fn try_packed(&self) -> Result<(), Obstacle> {
        let trial = self.inner.options.mount_trial.ok_or(Obstacle::Unwanted)?;
        if self.in_user_namespace() {
            return Err(Obstacle::UserNamespace);
        }
        let temp = self.temp_dir("trial")?;
        let path = temp.path().join("packed");
        let file = fs_err::File::create_new(&path).at("create", &path)?.into_file();
        let root = Entry {
            path: Box::default(),
            meta: galley_oci::Meta::new(0o755),
            kind: Kind::Directory { opaque: false },
        };
        let tree = Tree::from_entries(vec![root]);
        Writer::new(file)?.finish(&tree, |_| None).map_err(io::Error::other)?;
        Ok(trial(&path)?)
    }
}

/// Why layers are not packed.
#[derive(Debug, thiserror::Error)]
enum Obstacle {
    #[error("it is switched off")]
    Unwanted,
    #[error("Linux mounts no such files in a user namespace")]
    UserNamespace,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the kernel does not mount files of this file system: {0}")]
    Kernel(#[from] io::Error),
}
