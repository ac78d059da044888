//! The writer. Each entry gets the plainest format that holds it, as with Go's `Format: tar.FormatPAX`: ustar, long names
//! split into prefix and name, else PAX records for just the fields that need them.

use std::io::{self, Read, Write};

use super::{block::*, name, pax};
use crate::tree::Xattrs;

/// How much of a file is read at once.
const CHUNK: usize = 128 << 10;

const REGULAR: u8 = b'0';
const HARD_LINK: u8 = b'1';
const SYMLINK: u8 = b'2';
const CHAR_DEVICE: u8 = b'3';
const BLOCK_DEVICE: u8 = b'4';
const DIRECTORY: u8 = b'5';
const FIFO: u8 = b'6';
const EXTENDED: u8 = b'x';

/// Everything about an entry but its content.
#[derive(Clone, Debug)]
pub struct EntryHeader<'a> {
    /// Relative to the root; empty for the root, which is written as `./`. Directories get their slash by themselves.
    pub path: &'a [u8],
    /// What it is.
    pub kind: EntryKind<'a>,
    /// Permission bits with set-id and sticky bits.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Last change, in seconds since 1970.
    pub mtime: i64,
    /// Extended attributes.
    pub xattrs: Option<&'a Xattrs>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug)]
pub enum EntryKind<'a> {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its length.
        size: u64,
    },
    /// Another name of a file that was written before.
    HardLink {
        /// The path of that file.
        target: &'a [u8],
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: &'a [u8],
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
}

/// Why an entry was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteArchiveError {
    /// The output failed.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// The content failed.
    #[error("cannot read {path:?}")]
    Read {
        /// The path of the entry, for people.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The content is shorter or longer than announced.
    #[error("{path:?} was {expected} bytes long and is now {found}: it changed while it was being archived")]
    Size {
        /// The path of the entry, for people.
        path: String,
        /// What was announced.
        expected: u64,
        /// What came; one more than expected when there was more.
        found: u64,
    },
    /// A device number beyond what tar holds.
    #[error("{path:?} is device {major}:{minor}, which a tar archive cannot hold")]
    Device {
        /// The path of the entry, for people.
        path: String,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A path or link target with a NUL byte.
    #[error("{path:?} has a NUL byte in its path or link target")]
    Nul {
        /// The path of the entry, for people.
        path: String,
    },
}

/// Writes a tar archive.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    chunk: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// An archive without entries.
    pub const fn new(out: W) -> Self {
        Self { out, chunk: Vec::new() }
    }

    /// Writes an entry; files need their content.
    pub fn entry(
        &mut self,
        header: &EntryHeader<'_>,
        content: Option<&mut dyn Read>,
    ) -> Result<(), WriteArchiveError> {
        self.header(header)?;
        match header.kind {
            EntryKind::File { size } => self.content(header.path, size, content),
            _ => Ok(()),
        }
    }

    /// Writes a file whose content `fill` puts into the output: as many bytes as the header says.
    pub(crate) fn filled(
        &mut self,
        header: &EntryHeader<'_>,
        size: u64,
        fill: impl FnOnce(&mut W) -> Result<(), WriteArchiveError>,
    ) -> Result<(), WriteArchiveError> {
        self.header(header)?;
        fill(&mut self.out)?;
        self.pad(size)
    }

    fn header(&mut self, header: &EntryHeader<'_>) -> Result<(), WriteArchiveError> {
        let path = written_path(header);
        let fields = Fields::new(header, &path)?;
        let records = fields.records(header);
        if !records.is_empty() {
            self.extended(&path, &records)?;
        }
        self.write(&fields.block(header.mode, records.is_empty()))
    }

    /// Writes the marker that hides `path` in lower layers.
    pub fn whiteout(&mut self, path: &[u8]) -> Result<(), WriteArchiveError> {
        self.marker(&name::whiteout(path))
    }

    /// Writes the marker that hides all that lower layers have in `dir`.
    pub fn opaque(&mut self, dir: &[u8]) -> Result<(), WriteArchiveError> {
        self.marker(&crate::tree::join(dir, name::OPAQUE_MARKER))
    }

    /// Writes the end of the archive and returns the output.
    pub fn finish(mut self) -> Result<W, WriteArchiveError> {
        self.write(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    /// An empty file of mode 0 and time 0, as containerd writes it.
    fn marker(&mut self, path: &[u8]) -> Result<(), WriteArchiveError> {
        let kind = EntryKind::File { size: 0 };
        self.entry(&EntryHeader { path, kind, mode: 0, uid: 0, gid: 0, mtime: 0, xattrs: None }, None)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteArchiveError> {
        self.out.write_all(bytes).map_err(WriteArchiveError::Write)
    }

    /// Writes PAX records as a file of their own, named as Go names it.
    fn extended(&mut self, path: &[u8], records: &[u8]) -> Result<(), WriteArchiveError> {
        let slash = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let (dir, file) = path.split_at(slash);
        let name = go_join([dir, b"PaxHeaders.0", file]);
        let name = ascii(&name);
        let name = &name[..name.len().min(NAME.len())];
        let end = name.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
        let size = records.len() as u64;
        let fields =
            Fields { name: &name[..end], prefix: b"", typeflag: EXTENDED, size, ..Fields::default() };
        self.write(&fields.block(0, true))?;
        self.write(records)?;
        self.pad(size)
    }

    fn content(
        &mut self,
        path: &[u8],
        size: u64,
        content: Option<&mut dyn Read>,
    ) -> Result<(), WriteArchiveError> {
        let mut nothing = io::empty();
        let content = content.unwrap_or(&mut nothing);
        self.chunk.resize(CHUNK, 0);
        let mut found = 0;
        loop {
            // One byte more than is left, to see whether there is more than announced.
            let wanted = usize::try_from((size - found).saturating_add(1)).unwrap_or(CHUNK).min(CHUNK);
            let read = match content.read(&mut self.chunk[..wanted]) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(WriteArchiveError::Read { path: lossy(path), source }),
            };
            found += read as u64;
            if (read == 0 && found < size) || found > size {
                return Err(WriteArchiveError::Size { path: lossy(path), expected: size, found });
            }
            self.out.write_all(&self.chunk[..read]).map_err(WriteArchiveError::Write)?;
            // A file that gave less than it was asked for has no more: asking again would cost small files a third.
            if found == size && read < wanted {
                return self.pad(size);
            }
        }
    }

    fn pad(&mut self, size: u64) -> Result<(), WriteArchiveError> {
        let zeros = [0; BLOCK];
        let padding = usize::try_from(padding(size)).unwrap_or_default(); // ok: below one block
        self.write(&zeros[..padding])
    }
}

fn written_path(header: &EntryHeader<'_>) -> Vec<u8> {
    match (header.kind, header.path) {
        (EntryKind::Directory, b"") => b"./".to_vec(),
        (EntryKind::Directory, path) => [path, b"/"].concat(),
        (_, path) => path.to_vec(),
    }
}

/// The values of a header block and which of them need a PAX record.
#[derive(Default)]
struct Fields<'a> {
    name: &'a [u8],
    /// Of a path that was split.
    prefix: &'a [u8],
    /// The whole path when it needs a PAX record, or would without the split.
    long_path: Option<&'a [u8]>,
    link: &'a [u8],
    long_link: bool,
    typeflag: u8,
    uid: u64,
    gid: u64,
    size: u64,
    mtime: i64,
    device: (u32, u32),
}

impl<'a> Fields<'a> {
    fn new(header: &EntryHeader<'a>, path: &'a [u8]) -> Result<Self, WriteArchiveError> {
        let (typeflag, link, size, device) = match header.kind {
            EntryKind::Directory => (DIRECTORY, &b""[..], 0, (0, 0)),
            EntryKind::File { size } => (REGULAR, &b""[..], size, (0, 0)),
            EntryKind::HardLink { target } => (HARD_LINK, target, 0, (0, 0)),
            EntryKind::Symlink { target } => (SYMLINK, target, 0, (0, 0)),
            EntryKind::CharDevice { major, minor } => (CHAR_DEVICE, &b""[..], 0, (major, minor)),
            EntryKind::BlockDevice { major, minor } => (BLOCK_DEVICE, &b""[..], 0, (major, minor)),
            EntryKind::Fifo => (FIFO, &b""[..], 0, (0, 0)),
        };
        let (major, minor) = device;
        if path.contains(&0) || link.contains(&0) {
            return Err(WriteArchiveError::Nul { path: lossy(header.path) });
        }
        if !fits_octal(DEV_MAJOR.len(), major.into()) || !fits_octal(DEV_MINOR.len(), minor.into()) {
            return Err(WriteArchiveError::Device { path: lossy(header.path), major, minor });
        }
        let long = |text: &[u8]| text.len() > NAME.len() || !text.is_ascii();
        let (prefix, name) = split(path).unwrap_or((b"", path));
        Ok(Self {
            name,
            prefix,
            long_path: long(path).then_some(path),
            link,
            long_link: long(link),
            typeflag,
            uid: header.uid.into(),
            gid: header.gid.into(),
            size,
            mtime: header.mtime,
            device,
        })
    }

    /// The PAX records that the entry needs, sorted by key; empty when ustar holds all.
    fn records(&self, header: &EntryHeader<'_>) -> Vec<u8> {
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut add = |key: &[u8], value: Vec<u8>| records.push((key.to_vec(), value));
        for (name, value) in header.xattrs.into_iter().flatten() {
            add(&[pax::XATTR, name].concat(), value.to_vec());
        }
        for (key, width, value) in
            [("uid", UID.len(), self.uid), ("gid", GID.len(), self.gid), ("size", SIZE.len(), self.size)]
        {
            if !fits_octal(width, value) {
                add(key.as_bytes(), value.to_string().into());
            }
        }
        if !u64::try_from(self.mtime).is_ok_and(|mtime| fits_octal(MTIME.len(), mtime)) {
            add(b"mtime", self.mtime.to_string().into());
        }
        if self.long_link {
            add(b"linkpath", self.link.to_vec());
        }
        // A path that ustar can split needs no record, unless there is one anyway.
        if let Some(path) = self.long_path
            && (self.prefix.is_empty() || !records.is_empty())
        {
            records.push((b"path".to_vec(), path.to_vec()));
        }
        records.sort();
        let mut out = Vec::new();
        for (key, value) in &records {
            pax::put_record(&mut out, key, value);
        }
        out
    }

    /// The block; `plain` when no PAX records come before it.
    fn block(&self, mode: u16, plain: bool) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        match self.long_path.filter(|_| !plain) {
            Some(path) => put_text(&mut block, NAME, &ascii(path)),
            None => {
                put_text(&mut block, NAME, self.name);
                put_text(&mut block, PREFIX, self.prefix);
            }
        }
        put_text(&mut block, LINK_NAME, &ascii(self.link));
        put_octal(&mut block, MODE, mode.into());
        put_octal(&mut block, UID, self.uid);
        put_octal(&mut block, GID, self.gid);
        put_octal(&mut block, SIZE, self.size);
        put_octal(&mut block, MTIME, u64::try_from(self.mtime).unwrap_or_default());
        block[TYPE] = self.typeflag;
        block[MAGIC].copy_from_slice(USTAR_MAGIC);
        block[VERSION].copy_from_slice(USTAR_VERSION);
        // Go leaves the device numbers of extended headers empty.
        if self.typeflag != EXTENDED {
            put_octal(&mut block, DEV_MAJOR, self.device.0.into());
            put_octal(&mut block, DEV_MINOR, self.device.1.into());
        }
        seal(&mut block);
        block
    }
}

/// Splits a path that is too long for the name field at its last possible slash.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME.len() || !path.is_ascii() {
        return None;
    }
    let within = match path.len() {
        length if length > PREFIX.len() + 1 => PREFIX.len() + 1,
        length if path.ends_with(b"/") => length - 1,
        length => length,
    };
    let slash = path[..within].iter().rposition(|&byte| byte == b'/')?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    let fits = slash > 0 && !name.is_empty() && name.len() <= NAME.len() && slash <= PREFIX.len();
    fits.then_some((prefix, name))
}

/// Without what is not ASCII.
fn ascii(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| byte.is_ascii() && *byte != 0).collect()
}

/// Go's `path.Join` of relative, clean parts.
fn go_join(parts: [&[u8]; 3]) -> Vec<u8> {
    let components = parts.into_iter().flat_map(|part| part.split(|&byte| byte == b'/'));
    let kept: Vec<&[u8]> = components.filter(|name| !matches!(*name, b"" | b".")).collect();
    kept.join(&b'/')
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
