//! Reading the canonical encoding, and nothing but the canonical encoding: what decodes, encodes to the same bytes.

use std::{num::NonZeroU32, sync::OnceLock};

use super::encode::{
    BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FIFO, FILE, FORMAT_VERSION, HAS_XATTRS, LINKED_FILE, MAGIC,
    OPAQUE_DIRECTORY, SYMLINK, Times, WHITEOUT,
};
use super::{Entry, Kind, Meta, Stored, Time, Tree, Xattrs, compare_paths};

/// The longest path that a tree may hold.
pub const MAX_PATH_BYTES: usize = 16 << 10;

/// The most bytes that all paths of a tree may have together. Paths share prefixes in the encoding, so its own length
/// does not bound them.
pub const MAX_TREE_PATH_BYTES: usize = 1 << 30;

/// No entry takes fewer bytes: shared length, length, kind.
const MIN_ENTRY_BYTES: usize = 3;

/// Why bytes are no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeTreeError {
    /// The first bytes are not those of a tree.
    #[error("this is no tree: it does not begin with \"gtre\"")]
    NotATree,
    /// Written by another version.
    #[error(
        "the tree has format version {0}, but this program reads version {FORMAT_VERSION}: use the program that wrote it"
    )]
    Version(u8),
    /// The encoding for identity was stored.
    #[error("the tree was encoded without times")]
    NoTimes,
    /// The bytes end too early.
    #[error("the tree is cut off at byte {0}")]
    CutOff(usize),
    /// A path above [`MAX_PATH_BYTES`], or all paths above [`MAX_TREE_PATH_BYTES`].
    #[error("the paths of the tree are too long at byte {0}")]
    PathTooLong(usize),
    /// A path with an empty component, `.` or `..`, or out of order.
    #[error("the tree has a bad path at byte {0}")]
    BadPath(usize),
    /// A value that its field cannot hold.
    #[error("the tree has a value out of range at byte {0}")]
    OutOfRange(usize),
    /// A kind that does not exist.
    #[error("the tree has an entry of unknown kind {0}")]
    UnknownKind(u8),
    /// The same tree has another, canonical encoding.
    #[error("the tree is not in canonical form")]
    NotCanonical,
}

impl Tree {
    /// Reads what [`Tree::encode`] wrote, and nothing else that means the same.
    pub fn decode(encoded: &[u8]) -> Result<Self, DecodeTreeError> {
        let tree = Self::from_sorted(Entries::of(encoded)?.collect::<Result<_, _>>()?);
        if tree.encode() == encoded { Ok(tree) } else { Err(DecodeTreeError::NotCanonical) }
    }

    /// The same for bytes that a digest of our own vouches for: they are not encoded again to see whether they are in
    /// canonical form. Others do no harm either, but two of them may be the same tree.
    ///
    /// All of it is looked at, but entries are made only when somebody asks for them: most people want few.
    pub fn decode_own(encoded: Vec<u8>) -> Result<Self, DecodeTreeError> {
        match Stored::read(&encoded)? {
            Some(index) => Ok(Self { entries: OnceLock::new(), stored: Some(Stored::new(encoded, index)) }),
            None => Ok(Self::from_sorted(Entries::of(&encoded)?.collect::<Result<_, _>>()?)),
        }
    }
}

/// The entries of an encoded tree, one after the other.
pub(super) struct Entries<'a> {
    input: Input<'a>,
    path: Vec<u8>,
    /// How many are to come.
    left: usize,
    /// What all paths have together.
    total: usize,
    first: bool,
}

impl<'a> Entries<'a> {
    /// All of the tree `encoded`.
    pub(super) fn of(encoded: &'a [u8]) -> Result<Self, DecodeTreeError> {
        let mut input = Input { bytes: encoded, at: 0 };
        if encoded.get(..MAGIC.len()) != Some(MAGIC) {
            return Err(DecodeTreeError::NotATree);
        }
        input.at = MAGIC.len();
        match input.byte()? {
            FORMAT_VERSION => {}
            version => return Err(DecodeTreeError::Version(version)),
        }
        if input.byte()? != Times::Keep.flag() {
            return Err(DecodeTreeError::NoTimes);
        }
        let left = input.length()?;
        if left > (input.bytes.len() - input.at) / MIN_ENTRY_BYTES {
            return Err(DecodeTreeError::CutOff(input.bytes.len()));
        }
        Ok(Self { input, path: Vec::new(), left, total: 0, first: true })
    }

    /// `left` entries of which the first has this path, and the rest of its encoding stands at `at`.
    pub(super) fn within(encoded: &'a [u8], at: usize, left: usize) -> Self {
        Self { input: Input { bytes: encoded, at }, path: Vec::new(), left, total: 0, first: false }
    }

    pub(super) const fn left(&self) -> usize {
        self.left
    }

    /// Where it is in the encoding.
    pub(super) const fn at(&self) -> usize {
        self.input.at
    }

    /// Comes to the path of the next entry, whose [`rest`](Self::rest) must be read then.
    pub(super) fn next_path(&mut self) -> Result<&[u8], DecodeTreeError> {
        self.input.path(&mut self.path, self.first)?;
        (self.first, self.left) = (false, self.left.saturating_sub(1));
        self.total += self.path.len();
        if self.total > MAX_TREE_PATH_BYTES {
            return Err(DecodeTreeError::PathTooLong(self.input.at));
        }
        Ok(&self.path)
    }

    /// What an entry has besides its path.
    pub(super) fn rest(&mut self) -> Result<(Meta, Kind), DecodeTreeError> {
        self.input.rest()
    }

    /// The entry at `path`, to which it has come otherwise.
    pub(super) fn entry_at(&mut self, path: &[u8]) -> Result<Entry, DecodeTreeError> {
        self.path = path.to_vec();
        self.left = self.left.saturating_sub(1);
        let (meta, kind) = self.rest()?;
        Ok(Entry { path: path.into(), meta, kind })
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, DecodeTreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let path = self.next_path().map(Box::from);
        Some(path.and_then(|path| self.rest().map(|(meta, kind)| Entry { path, meta, kind })))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeTreeError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or(DecodeTreeError::CutOff(self.bytes.len()))?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeTreeError> {
        self.take(N)?.try_into().map_err(|_| DecodeTreeError::CutOff(self.at))
    }

    fn byte(&mut self) -> Result<u8, DecodeTreeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, DecodeTreeError> {
        // Most are small.
        if let Some(&byte @ ..0x80) = self.bytes.get(self.at) {
            self.at += 1;
            return Ok(byte.into());
        }
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeTreeError::OutOfRange(self.at))
    }

    fn number_as<T: TryFrom<u64>>(&mut self) -> Result<T, DecodeTreeError> {
        let number = self.number()?;
        number.try_into().map_err(|_| DecodeTreeError::OutOfRange(self.at))
    }

    fn length(&mut self) -> Result<usize, DecodeTreeError> {
        self.number_as()
    }

    fn field(&mut self) -> Result<Box<[u8]>, DecodeTreeError> {
        let length = self.length()?;
        self.take(length).map(Into::into)
    }

    /// Turns the path of the entry before into that of the next one, which comes after it.
    fn path(&mut self, path: &mut Vec<u8>, first: bool) -> Result<(), DecodeTreeError> {
        let shared = self.length()?;
        let length = self.length()?;
        if shared > path.len() {
            return Err(DecodeTreeError::BadPath(self.at));
        }
        if length > MAX_PATH_BYTES - shared {
            return Err(DecodeTreeError::PathTooLong(self.at));
        }
        let own = self.take(length)?;
        let in_order = first || compare_paths(&path[shared..], own).is_lt();
        path.truncate(shared);
        path.extend_from_slice(own);
        // What comes before the name in which they part was looked at with the entry before.
        let parting = path[..shared].iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let proper = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
        if in_order && (path.is_empty() || path[parting..].split(|&byte| byte == b'/').all(proper)) {
            Ok(())
        } else {
            Err(DecodeTreeError::BadPath(self.at))
        }
    }

    fn rest(&mut self) -> Result<(Meta, Kind), DecodeTreeError> {
        let byte = self.byte()?;
        let kind = byte & !HAS_XATTRS;
        let meta = if kind == WHITEOUT { Meta::new(0) } else { self.meta(byte & HAS_XATTRS != 0)? };
        Ok((meta, self.kind(kind)?))
    }

    fn meta(&mut self, has_xattrs: bool) -> Result<Meta, DecodeTreeError> {
        Ok(Meta {
            mode: self.number_as()?,
            uid: self.number_as()?,
            gid: self.number_as()?,
            mtime: self.time()?,
            xattrs: if has_xattrs { Some(Box::new(self.xattrs()?)) } else { None },
        })
    }

    fn time(&mut self) -> Result<Time, DecodeTreeError> {
        let seconds = i64::from_le_bytes(self.array()?);
        let nanoseconds = u32::from_le_bytes(self.array()?);
        if nanoseconds < 1_000_000_000 {
            Ok(Time { seconds, nanoseconds })
        } else {
            Err(DecodeTreeError::OutOfRange(self.at))
        }
    }

    fn xattrs(&mut self) -> Result<Xattrs, DecodeTreeError> {
        let count = self.length()?;
        (0..count).map(|_| Ok((self.field()?, self.field()?))).collect()
    }

    fn kind(&mut self, kind: u8) -> Result<Kind, DecodeTreeError> {
        Ok(match kind {
            DIRECTORY => Kind::Directory { opaque: false },
            OPAQUE_DIRECTORY => Kind::Directory { opaque: true },
            FILE => Kind::File { size: self.number()?, digest: self.array()?, links: None },
            LINKED_FILE => Kind::File {
                size: self.number()?,
                digest: self.array()?,
                links: Some(
                    self.number_as::<u32>().map(NonZeroU32::new)?.ok_or(DecodeTreeError::NotCanonical)?,
                ),
            },
            SYMLINK => Kind::Symlink { target: self.field()? },
            CHAR_DEVICE => Kind::CharDevice { major: self.number_as()?, minor: self.number_as()? },
            BLOCK_DEVICE => Kind::BlockDevice { major: self.number_as()?, minor: self.number_as()? },
            FIFO => Kind::Fifo,
            WHITEOUT => Kind::Whiteout,
            unknown => return Err(DecodeTreeError::UnknownKind(unknown)),
        })
    }
}
