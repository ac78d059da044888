//! The reader. Streams; holds one entry at a time; every length that the archive claims has a limit.

use std::{
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
};

use super::{
    block::*,
    name::{self, BadName, Meaning},
    pax,
    sparse::{self, Pieces},
};
use crate::{Time, tree::Meta};

/// The most entries of one archive.
pub const MAX_ENTRIES: u64 = 1 << 24;
/// The longest PAX header or GNU long name.
pub const MAX_EXTENSION_BYTES: u64 = 1 << 20;
/// The longest value of an extended attribute, as in Linux.
pub const MAX_XATTR_BYTES: usize = 64 << 10;

/// Whether `.wh.` names mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// The archive is a layer: they hide files.
    Read,
    /// The archive is any archive: they are names like others.
    Plain,
}

/// One entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Clean: relative, without `.`, `..`, double and final slashes. Empty for the root. Of a whiteout, what it hides.
    pub path: Box<[u8]>,
    /// Mode, owner, time, extended attributes. Zero for whiteouts and opaque markers.
    pub meta: Meta,
    /// What it is.
    pub kind: ItemKind,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A directory.
    Directory,
    /// A regular file, whose bytes [`Reader::content`] gives.
    File {
        /// Its length.
        size: u64,
    },
    /// Another name of a file, which came before or is in a lower layer.
    HardLink {
        /// The clean path of that file.
        target: Box<[u8]>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, unresolved.
        target: Box<[u8]>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// Hides its path in lower layers.
    Whiteout,
    /// Hides everything that lower layers have in the directory at its path.
    OpaqueMarker,
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadArchiveError {
    /// The input failed.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// The input ends inside an entry.
    #[error("the archive is cut off")]
    CutOff,
    /// A header block with a wrong checksum.
    #[error("entry {0} of the archive has a broken header: this is no tar archive, or it is damaged")]
    Header(u64),
    /// A field without a sensible value.
    #[error("entry {path:?} of the archive has a bad {field}")]
    Field {
        /// The name of the entry, for people.
        path: String,
        /// What is bad.
        field: &'static str,
    },
    /// A path or the target of a hard link that is refused.
    #[error("the name {name:?} in the archive is refused: {reason}")]
    Name {
        /// The name as the archive has it, for people.
        name: String,
        /// Why.
        reason: BadName,
    },
    /// A kind of entry that means nothing in an image.
    #[error("entry {path:?} of the archive has type {kind:?}, which is not supported")]
    Unsupported {
        /// The name of the entry, for people.
        path: String,
        /// The type flag.
        kind: char,
    },
    /// Above one of the limits.
    #[error("entry {path:?} of the archive has more than {limit} {what}")]
    TooMuch {
        /// The name of the entry, for people.
        path: String,
        /// The limit.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
}

/// Reads a tar archive, entry by entry.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    whiteouts: Whiteouts,
    entries: u64,
    ended: bool,
    /// What the current entry has left in the input.
    content: Remaining,
}

#[derive(Debug, Default)]
struct Remaining {
    stored: u64,
    padding: u64,
    sparse: Option<sparse::Cursor>,
}

/// The bytes of the current entry.
#[derive(Debug)]
pub struct Content<'a, R>(&'a mut Reader<R>);

/// What extension headers say about the entry after them.
#[derive(Debug, Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Extensions {
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.records.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_slice())
    }
}

type Block = [u8; BLOCK];

impl<R: Read> Reader<R> {
    /// Reads from `input`, which should be buffered or fast for reads of 512 bytes.
    pub fn new(input: R, whiteouts: Whiteouts) -> Self {
        Self { input, whiteouts, entries: 0, ended: false, content: Remaining::default() }
    }

    /// The next entry; what was not read of the current one is skipped. `None` at the end of the archive.
    pub fn next_item(&mut self) -> Result<Option<Item>, ReadArchiveError> {
        while let Some((extensions, block)) = self.next_header()? {
            if let Some(item) = self.item(&extensions, &block)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// The bytes of the current entry that were not read yet; holes of sparse files are zeros.
    pub fn content(&mut self) -> Content<'_, R> {
        Content(self)
    }

    /// How many bytes of the current entry are in holes: they cost the archive nothing.
    pub fn hole_bytes(&self) -> u64 {
        self.content.sparse.as_ref().map_or(0, sparse::Cursor::hole_bytes)
    }

    /// The input, which stands after the end of the archive when that was reached.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// The next header that is no extension, with the extensions before it.
    fn next_header(&mut self) -> Result<Option<(Extensions, Block)>, ReadArchiveError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_content()?;
            let Some(block) = self.block()? else { return Ok(None) };
            match block[TYPE] {
                b'x' | b'X' => {
                    let bytes = self.extension(&block)?;
                    let records: Option<Vec<_>> = pax::records(&bytes)
                        .map(|record| record.map(|(key, value)| (key.to_vec(), value.to_vec())))
                        .collect();
                    extensions.records = records.ok_or_else(|| bad(&block[NAME], "PAX header"))?;
                }
                // Global records are comments of git and the like; Go's users ignore them as well.
                b'g' => drop(self.extension(&block)?),
                b'L' => extensions.long_name = Some(until_nul(self.extension(&block)?)),
                b'K' => extensions.long_link = Some(until_nul(self.extension(&block)?)),
                _ => return Ok(Some((extensions, block))),
            }
        }
    }

    /// The next block; `None` at the end, which is a block of zeros or the end of the input.
    fn block(&mut self) -> Result<Option<Block>, ReadArchiveError> {
        let mut block = [0; BLOCK];
        if self.ended {
            return Ok(None);
        }
        let length = read_full(&mut self.input, &mut block).map_err(ReadArchiveError::Read)?;
        if length == 0 || (length == BLOCK && block == [0; BLOCK]) {
            self.ended = true;
            return Ok(None);
        }
        if length < BLOCK {
            return Err(ReadArchiveError::CutOff);
        }
        self.entries += 1;
        if !is_sealed(&block) {
            return Err(ReadArchiveError::Header(self.entries));
        }
        if self.entries > MAX_ENTRIES {
            return Err(too_much(&block[NAME], MAX_ENTRIES, "entries before it"));
        }
        Ok(Some(block))
    }

    /// The content of an extension header.
    fn extension(&mut self, block: &Block) -> Result<Vec<u8>, ReadArchiveError> {
        let size = unsigned(block, SIZE, "size")?;
        if size > MAX_EXTENSION_BYTES {
            return Err(too_much(&block[NAME], MAX_EXTENSION_BYTES, "bytes of extended header"));
        }
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(size).read_to_end(&mut bytes).map_err(ReadArchiveError::Read)?;
        if (read as u64) < size {
            return Err(ReadArchiveError::CutOff);
        }
        self.content = Remaining { stored: 0, padding: padding(size), sparse: None };
        Ok(bytes)
    }

    fn skip_content(&mut self) -> Result<(), ReadArchiveError> {
        let Remaining { stored, padding, .. } = std::mem::take(&mut self.content);
        let wanted = stored.saturating_add(padding);
        let skipped = io::copy(&mut (&mut self.input).take(wanted), &mut io::sink());
        match skipped.map_err(ReadArchiveError::Read)? {
            skipped if skipped == wanted => Ok(()),
            _ => Err(ReadArchiveError::CutOff),
        }
    }

    /// The entry of a header; `None` when it means nothing.
    fn item(&mut self, extensions: &Extensions, block: &Block) -> Result<Option<Item>, ReadArchiveError> {
        let raw = raw_name(extensions, block);
        let mut kind = self.kind(extensions, block, &raw)?;
        let clean = |name: &[u8]| {
            name::clean(name).map_err(|reason| ReadArchiveError::Name { name: lossy(name), reason })
        };
        let path = clean(&raw)?;
        if let ItemKind::HardLink { target } = &mut kind {
            *target = clean(target)?.into();
        }
        if path.is_empty() && kind != ItemKind::Directory {
            return Err(bad(&raw, "name: only a directory can be the root"));
        }
        let meaning = match self.whiteouts {
            Whiteouts::Plain => Meaning::Plain,
            Whiteouts::Read => {
                name::meaning(&path).map_err(|reason| ReadArchiveError::Name { name: lossy(&raw), reason })?
            }
        };
        Ok(match meaning {
            Meaning::Plain => Some(Item { path: path.into(), meta: meta(extensions, block, &raw)?, kind }),
            Meaning::Whiteout(hidden) => Some(marker(hidden, ItemKind::Whiteout)),
            Meaning::Opaque(dir) => Some(marker(dir, ItemKind::OpaqueMarker)),
            Meaning::Ignored => None,
        })
    }

    /// What the entry is. Sets what is to be read as its content.
    fn kind(
        &mut self,
        extensions: &Extensions,
        block: &Block,
        path: &[u8],
    ) -> Result<ItemKind, ReadArchiveError> {
        let link = || match extensions.get(b"linkpath").or(extensions.long_link.as_deref()) {
            Some(link) => link.into(),
            None => text(&block[LINK_NAME]).into(),
        };
        let device = || -> Result<(u32, u32), ReadArchiveError> {
            let part = |field| {
                u32::try_from(unsigned(block, field, "device number")?)
                    .map_err(|_| bad(path, "device number"))
            };
            Ok((part(DEV_MAJOR)?, part(DEV_MINOR)?))
        };
        Ok(match block[TYPE] {
            b'0' | 0 | b'7' if path.ends_with(b"/") => {
                self.file(extensions, block, path)?;
                ItemKind::Directory
            }
            b'0' | 0 | b'7' | b'S' => ItemKind::File { size: self.file(extensions, block, path)? },
            b'1' => ItemKind::HardLink { target: link() },
            b'2' => ItemKind::Symlink { target: link() },
            b'3' => device().map(|(major, minor)| ItemKind::CharDevice { major, minor })?,
            b'4' => device().map(|(major, minor)| ItemKind::BlockDevice { major, minor })?,
            b'5' => ItemKind::Directory,
            b'6' => ItemKind::Fifo,
            other => return Err(ReadArchiveError::Unsupported { path: lossy(path), kind: other.into() }),
        })
    }

    /// Prepares the content of a regular file and returns its length.
    fn file(&mut self, extensions: &Extensions, block: &Block, path: &[u8]) -> Result<u64, ReadArchiveError> {
        let stored = match extensions.get(b"size") {
            Some(size) => pax::decimal(size).ok_or_else(|| bad(path, "size"))?,
            None => unsigned(block, SIZE, "size")?,
        };
        self.content = Remaining { stored, padding: padding(stored), sparse: None };
        let Some((pieces, size)) = self.sparse_pieces(extensions, block, path)? else { return Ok(stored) };
        let map =
            sparse::Map::new(pieces, size, self.content.stored).ok_or_else(|| bad(path, "sparse map"))?;
        self.content.sparse = Some(sparse::Cursor::new(map));
        Ok(size)
    }

    /// The pieces and whole length of a sparse file of any format; `None` for other files.
    fn sparse_pieces(
        &mut self,
        extensions: &Extensions,
        block: &Block,
        path: &[u8],
    ) -> Result<Option<(Pieces, u64)>, ReadArchiveError> {
        let broken = || bad(path, "sparse map");
        if block[TYPE] == b'S' {
            return self.old_sparse(block).map(Some);
        }
        let version = (extensions.get(b"GNU.sparse.major"), extensions.get(b"GNU.sparse.minor"));
        let pieces = match version {
            (Some(b"1"), Some(b"0")) => {
                let content = (&mut self.input).take(self.content.stored);
                let map = sparse::from_content(content).map_err(cut_off)?;
                let (pieces, taken) = map.ok_or_else(broken)?;
                self.content.stored = self.content.stored.checked_sub(taken).ok_or_else(broken)?;
                pieces
            }
            (None | Some(b"0"), _) => match pieces_in_records(extensions) {
                Some(pieces) => pieces.ok_or_else(broken)?,
                None => return Ok(None),
            },
            _ => return Err(bad(path, "sparse format: it is newer than 1.0")),
        };
        let size = extensions.get(b"GNU.sparse.realsize").or(extensions.get(b"GNU.sparse.size"));
        let size = size.and_then(pax::decimal).ok_or_else(broken)?;
        Ok(Some((pieces, size)))
    }

    /// The map of an old GNU sparse file: in the header, and in blocks between it and the content.
    fn old_sparse(&mut self, block: &Block) -> Result<(Pieces, u64), ReadArchiveError> {
        let broken = || bad(&block[NAME], "sparse map");
        let (mut pieces, mut more, size) = sparse::from_header(block).ok_or_else(broken)?;
        while more {
            let mut block = [0; BLOCK];
            self.input.read_exact(&mut block).map_err(cut_off)?;
            let (rest, again) = sparse::from_extension(&block).ok_or_else(broken)?;
            pieces.extend(rest);
            more = again;
            if pieces.len() > sparse::MAX_SPARSE_PIECES {
                return Err(too_much(&block[NAME], sparse::MAX_SPARSE_PIECES as u64, "sparse pieces"));
            }
        }
        Ok((pieces, size))
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Steps over the bytes of the current entry without reading them, and gives where they are in the input: `None` when
    /// they are not there in one piece, as those of sparse files. Whether the input is as long as that, nobody has looked.
    pub fn step_over(&mut self) -> Result<Option<Range<u64>>, ReadArchiveError> {
        let Remaining { stored, padding, sparse } = std::mem::take(&mut self.content);
        let start = self.input.stream_position().map_err(ReadArchiveError::Read)?;
        let end = start.checked_add(stored).ok_or(ReadArchiveError::CutOff)?;
        let next = end.checked_add(padding).filter(|next| i64::try_from(*next).is_ok());
        self.input
            .seek(SeekFrom::Start(next.ok_or(ReadArchiveError::CutOff)?))
            .map_err(ReadArchiveError::Read)?;
        Ok(sparse.is_none().then_some(start..end))
    }
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Reader { input, content, .. } = &mut *self.0;
        let limit = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let wanted = match content.sparse.as_mut().map(sparse::Cursor::next) {
            None => limit(content.stored),
            Some(sparse::Next::Piece(left)) => limit(left),
            Some(sparse::Next::End) => 0,
            Some(sparse::Next::Hole(left)) => {
                let zeros = limit(left);
                buffer[..zeros].fill(0);
                content.sparse.as_mut().into_iter().for_each(|cursor| cursor.advance(zeros));
                return Ok(zeros);
            }
        };
        if wanted == 0 {
            return Ok(0);
        }
        let read = input.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, ReadArchiveError::CutOff));
        }
        content.stored -= read as u64;
        content.sparse.as_mut().into_iter().for_each(|cursor| cursor.advance(read));
        Ok(read)
    }
}

/// The pieces of PAX sparse files of versions 0.0 and 0.1. `Some(None)` when they are malformed.
fn pieces_in_records(extensions: &Extensions) -> Option<Option<Pieces>> {
    if let Some(map) = extensions.get(b"GNU.sparse.map") {
        let numbers: Option<Vec<u64>> = map.split(|&byte| byte == b',').map(pax::decimal).collect();
        return Some(numbers.filter(|numbers| numbers.len() % 2 == 0).map(|numbers| pairs(&numbers)));
    }
    extensions.get(b"GNU.sparse.numblocks")?;
    let parts = extensions
        .records
        .iter()
        .filter(|(key, _)| matches!(key.as_slice(), b"GNU.sparse.offset" | b"GNU.sparse.numbytes"));
    let numbers: Option<Vec<u64>> = parts.map(|(_, value)| pax::decimal(value)).collect();
    Some(numbers.filter(|numbers| numbers.len() % 2 == 0).map(|numbers| pairs(&numbers)))
}

fn pairs(numbers: &[u64]) -> Pieces {
    numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}

fn marker(path: Vec<u8>, kind: ItemKind) -> Item {
    Item { path: path.into(), meta: Meta::new(0), kind }
}

/// The name as the archive has it.
fn raw_name(extensions: &Extensions, block: &Block) -> Vec<u8> {
    let extended = extensions.get(b"GNU.sparse.name").or(extensions.get(b"path"));
    if let Some(name) = extensions.long_name.as_deref().or(extended) {
        return name.to_vec();
    }
    let name = text(&block[NAME]);
    // Old GNU headers have other fields where ustar has the prefix.
    let is_ustar = &block[MAGIC] == USTAR_MAGIC;
    match text(&block[PREFIX]) {
        prefix if is_ustar && !prefix.is_empty() => [prefix, b"/", name].concat(),
        _ => name.to_vec(),
    }
}

fn meta(extensions: &Extensions, block: &Block, path: &[u8]) -> Result<Meta, ReadArchiveError> {
    let id = |key: &[u8], field, what| {
        let id = match extensions.get(key) {
            Some(text) => pax::decimal(text).ok_or_else(|| bad(path, what))?,
            None => unsigned(block, field, what)?,
        };
        u32::try_from(id).map_err(|_| bad(path, what))
    };
    let mtime = match extensions.get(b"mtime") {
        Some(text) => pax::time(text),
        None => number(&block[MTIME]).map(Time::from_seconds),
    };
    let mode = unsigned(block, MODE, "mode")? & 0o7777;
    Ok(Meta {
        mode: u16::try_from(mode).unwrap_or_default(), // ok: masked
        uid: id(b"uid", UID, "uid")?,
        gid: id(b"gid", GID, "gid")?,
        mtime: mtime.ok_or_else(|| bad(path, "time"))?,
        xattrs: xattrs(extensions, path)?,
    })
}

/// The extended attributes, sorted; the last of a name wins.
fn xattrs(
    extensions: &Extensions,
    path: &[u8],
) -> Result<Option<Box<crate::tree::Xattrs>>, ReadArchiveError> {
    let mut xattrs = std::collections::BTreeMap::new();
    for (key, value) in &extensions.records {
        let Some(name) = key.strip_prefix(pax::XATTR) else { continue };
        if value.len() > MAX_XATTR_BYTES {
            return Err(too_much(path, MAX_XATTR_BYTES as u64, "bytes in an extended attribute"));
        }
        xattrs.insert(name.into(), value.as_slice().into());
    }
    Ok(if xattrs.is_empty() { None } else { Some(Box::new(xattrs.into_iter().collect())) })
}

fn unsigned(block: &Block, field: Range<usize>, what: &'static str) -> Result<u64, ReadArchiveError> {
    let number = number(&block[field]).and_then(|number| number.try_into().ok());
    number.ok_or_else(|| bad(&block[NAME], what))
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(text(&bytes).len());
    bytes
}

fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match input.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn bad(path: &[u8], field: &'static str) -> ReadArchiveError {
    ReadArchiveError::Field { path: lossy(path), field }
}

fn too_much(path: &[u8], limit: u64, what: &'static str) -> ReadArchiveError {
    ReadArchiveError::TooMuch { path: lossy(path), limit, what }
}

fn cut_off(error: io::Error) -> ReadArchiveError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadArchiveError::CutOff,
        _ => ReadArchiveError::Read(error),
    }
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(text(path)).into_owned()
}
