//! A tree written as the tar of a layer.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    num::NonZeroU32,
};

use crate::{
    Blake3, Time,
    archive::{EntryHeader, EntryKind, WriteArchiveError, Writer},
    tree::{Entry, Kind, Meta, Tree},
};

/// What becomes of file times. Tar holds whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimePolicy {
    /// They stay.
    #[default]
    Keep,
    /// All become this.
    Set(Time),
    /// Later ones become this.
    Clamp(Time),
}

impl TimePolicy {
    /// The time that is written for `time`.
    #[must_use]
    pub fn apply(self, time: Time) -> Time {
        match self {
            Self::Keep => time,
            Self::Set(set) => set,
            Self::Clamp(latest) => time.min(latest),
        }
        .truncated()
    }
}

/// Why a layer was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteLayerError {
    /// The archive could not be written, or a file has another length than the tree says.
    #[error(transparent)]
    Archive(#[from] WriteArchiveError),
    /// The content of a file could not be had.
    #[error("cannot open {path:?}")]
    Open {
        /// The path in the layer, for people.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file has other content than the tree says.
    #[error("the content of {path:?} changed while the layer was being written: build again")]
    Changed {
        /// The path in the layer, for people.
        path: String,
    },
}

/// The attributes of a root directory that is not written.
const PLAIN_ROOT_MODE: u16 = 0o755;

/// Where the contents of a tree's files come from.
pub trait FileContents {
    /// The bytes of the file that is the entry `index`.
    fn open(&mut self, index: usize) -> io::Result<Box<dyn Read + '_>>;
}

impl<F: FnMut(usize) -> io::Result<Box<dyn Read>>> FileContents for F {
    fn open(&mut self, index: usize) -> io::Result<Box<dyn Read + '_>> {
        self(index)
    }
}

/// Writes `tree` as a tar archive. `contents` are asked for each file that has bytes in the order of the tree, once for
/// each group of hard links, and what they give is read to its end. Length and BLAKE3 of every file are checked on the way. The root is written only when it is not 0755 0:0.
pub fn write_layer(
    tree: &Tree,
    times: TimePolicy,
    contents: &mut dyn FileContents,
    out: &mut dyn Write,
) -> Result<(), WriteLayerError> {
    write_with(tree, times, &mut Checked { contents }, out)
}

/// The same, with contents that come into the archive as `bodies` will have it.
pub(crate) fn write_with<W: Write>(
    tree: &Tree,
    times: TimePolicy,
    bodies: &mut impl Bodies<W>,
    out: W,
) -> Result<(), WriteLayerError> {
    let mut layer = LayerWriter { archive: Writer::new(out), times, first_names: HashMap::new() };
    for (index, entry) in tree.entries().iter().enumerate() {
        if !(entry.path.is_empty() && is_plain_root(&entry.meta)) {
            layer.entry(entry, index, bodies)?;
        }
        if entry.kind == (Kind::Directory { opaque: true }) {
            layer.archive.opaque(&entry.path)?;
        }
    }
    layer.archive.finish()?;
    Ok(())
}

/// How the contents of files come into an archive.
pub(crate) trait Bodies<W> {
    /// Writes a file of `size` bytes, the entry `index`, with its header.
    fn file(
        &mut self,
        archive: &mut Writer<W>,
        header: &EntryHeader<'_>,
        entry: (usize, &Entry),
        size: u64,
    ) -> Result<(), WriteLayerError>;
}

fn is_plain_root(meta: &Meta) -> bool {
    (meta.mode, meta.uid, meta.gid) == (PLAIN_ROOT_MODE, 0, 0) && meta.xattrs.is_none()
}

struct LayerWriter<'t, W> {
    archive: Writer<W>,
    times: TimePolicy,
    /// The first path of each group of hard links.
    first_names: HashMap<NonZeroU32, &'t [u8]>,
}

impl<'t, W: Write> LayerWriter<'t, W> {
    fn entry(
        &mut self,
        entry: &'t Entry,
        index: usize,
        bodies: &mut impl Bodies<W>,
    ) -> Result<(), WriteLayerError> {
        let kind = match &entry.kind {
            Kind::Whiteout => return Ok(self.archive.whiteout(&entry.path)?),
            Kind::File { size, links, .. } => match links.and_then(|group| self.first_names.get(&group)) {
                Some(&target) => EntryKind::HardLink { target },
                None => {
                    self.first_names.extend(links.map(|group| (group, &*entry.path)));
                    let header = self.header(entry, EntryKind::File { size: *size });
                    return bodies.file(&mut self.archive, &header, (index, entry), *size);
                }
            },
            Kind::Directory { .. } => EntryKind::Directory,
            Kind::Symlink { target } => EntryKind::Symlink { target },
            &Kind::CharDevice { major, minor } => EntryKind::CharDevice { major, minor },
            &Kind::BlockDevice { major, minor } => EntryKind::BlockDevice { major, minor },
            Kind::Fifo => EntryKind::Fifo,
        };
        Ok(self.archive.entry(&self.header(entry, kind), None)?)
    }

    fn header<'e>(&self, entry: &'e Entry, kind: EntryKind<'e>) -> EntryHeader<'e> {
        let Meta { mode, uid, gid, mtime, xattrs } = &entry.meta;
        EntryHeader {
            path: &entry.path,
            kind,
            mode: *mode,
            uid: *uid,
            gid: *gid,
            mtime: self.times.apply(*mtime).seconds,
            xattrs: xattrs.as_deref(),
        }
    }
}

/// Contents are checked while they are read.
struct Checked<'c> {
    contents: &'c mut dyn FileContents,
}

impl<W: Write> Bodies<W> for Checked<'_> {
    fn file(
        &mut self,
        archive: &mut Writer<W>,
        header: &EntryHeader<'_>,
        (index, entry): (usize, &Entry),
        size: u64,
    ) -> Result<(), WriteLayerError> {
        // Nothing to read, and nothing that could have changed unnoticed but the length, which is in the tree.
        let content =
            if size == 0 { Box::new(io::empty()) } else { open(&mut *self.contents, index, entry)? };
        let mut content = Hashing { content, hasher: Blake3::new() };
        archive.entry(header, Some(&mut content))?;
        match &entry.kind {
            Kind::File { digest, .. } if content.hasher.finish().bytes() != digest => {
                Err(WriteLayerError::Changed { path: lossy(entry) })
            }
            _ => Ok(()),
        }
    }
}

/// The content of a file.
pub(crate) fn open<'c>(
    contents: &'c mut dyn FileContents,
    index: usize,
    entry: &Entry,
) -> Result<Box<dyn Read + 'c>, WriteLayerError> {
    contents.open(index).map_err(|source| WriteLayerError::Open { path: lossy(entry), source })
}

pub(crate) fn lossy(entry: &Entry) -> String {
    String::from_utf8_lossy(&entry.path).into_owned()
}

/// Hashes what is read.
struct Hashing<'c> {
    content: Box<dyn Read + 'c>,
    hasher: Blake3,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
