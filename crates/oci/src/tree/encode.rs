//! The canonical encoding of a tree. docs/internals/store-format.md specifies it byte for byte.

use super::{Entry, Kind, Meta, Tree, common_prefix};

/// The version of the encoding, the fifth byte. Another version means other layer ids.
pub const FORMAT_VERSION: u8 = 1;

pub(super) const MAGIC: &[u8; 4] = b"gtre";

pub(super) const DIRECTORY: u8 = 0;
pub(super) const OPAQUE_DIRECTORY: u8 = 1;
pub(super) const FILE: u8 = 2;
pub(super) const LINKED_FILE: u8 = 3;
pub(super) const SYMLINK: u8 = 4;
pub(super) const CHAR_DEVICE: u8 = 5;
pub(super) const BLOCK_DEVICE: u8 = 6;
pub(super) const FIFO: u8 = 7;
pub(super) const WHITEOUT: u8 = 8;
/// Set in the kind byte of an entry that has extended attributes.
pub(super) const HAS_XATTRS: u8 = 0x10;

/// Whether an encoding holds modification times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// No: for identity.
    Omit,
    /// Yes: for storage.
    Keep,
}

impl Times {
    pub(super) const fn flag(self) -> u8 {
        match self {
            Self::Omit => 0,
            Self::Keep => 1,
        }
    }
}

impl Tree {
    /// The canonical encoding with times, for storage.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encode_with(Times::Keep)
    }

    /// The canonical encoding with or without times.
    #[must_use]
    pub fn encode_with(&self, times: Times) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + 96 * self.entries().len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[FORMAT_VERSION, times.flag()]);
        number(&mut out, self.entries().len() as u64);
        let mut before: &[u8] = b"";
        for entry in self.entries() {
            put_entry(&mut out, before, entry, times);
            before = &entry.path;
        }
        out
    }
}

fn put_entry(out: &mut Vec<u8>, before: &[u8], entry: &Entry, times: Times) {
    let shared = common_prefix(before, &entry.path);
    number(out, shared as u64);
    bytes(out, &entry.path[shared..]);
    let xattrs = if entry.meta.xattrs.is_some() { HAS_XATTRS } else { 0 };
    out.push(kind_byte(&entry.kind) | xattrs);
    if !matches!(entry.kind, Kind::Whiteout) {
        put_meta(out, &entry.meta, times);
    }
    put_kind(out, &entry.kind);
}

const fn kind_byte(kind: &Kind) -> u8 {
    match kind {
        Kind::Directory { opaque: false } => DIRECTORY,
        Kind::Directory { opaque: true } => OPAQUE_DIRECTORY,
        Kind::File { links: None, .. } => FILE,
        Kind::File { links: Some(_), .. } => LINKED_FILE,
        Kind::Symlink { .. } => SYMLINK,
        Kind::CharDevice { .. } => CHAR_DEVICE,
        Kind::BlockDevice { .. } => BLOCK_DEVICE,
        Kind::Fifo => FIFO,
        Kind::Whiteout => WHITEOUT,
    }
}

fn put_meta(out: &mut Vec<u8>, meta: &Meta, times: Times) {
    number(out, meta.mode.into());
    number(out, meta.uid.into());
    number(out, meta.gid.into());
    if times == Times::Keep {
        out.extend_from_slice(&meta.mtime.seconds.to_le_bytes());
        out.extend_from_slice(&meta.mtime.nanoseconds.to_le_bytes());
    }
    let Some(xattrs) = &meta.xattrs else { return };
    number(out, xattrs.len() as u64);
    for (name, value) in &**xattrs {
        bytes(out, name);
        bytes(out, value);
    }
}

fn put_kind(out: &mut Vec<u8>, kind: &Kind) {
    match kind {
        Kind::File { size, digest, links } => {
            number(out, *size);
            out.extend_from_slice(digest);
            if let Some(links) = links {
                number(out, links.get().into());
            }
        }
        Kind::Symlink { target } => bytes(out, target),
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            number(out, (*major).into());
            number(out, (*minor).into());
        }
        Kind::Directory { .. } | Kind::Fifo | Kind::Whiteout => {}
    }
}

/// LEB128: seven bits a byte, lowest first, the top bit set in all but the last.
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
