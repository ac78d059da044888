//! The structures of EROFS on disk, as far as layers need them. All numbers are little-endian.

use super::error::ReadErofsError;
use crate::Time;

/// The unit of everything: contents begin at multiples of it.
pub const BLOCK_BYTES: usize = 4096;
/// The largest file system: blocks are numbered with 32 bits.
pub const MAX_BYTES: u64 = (u32::MAX as u64) * BLOCK_BYTES as u64;
/// The longest name of a file.
pub const MAX_NAME_BYTES: usize = 255;
/// The longest target of a symbolic link: a page of the kernel, with an end.
pub const MAX_TARGET_BYTES: usize = 4095;

/// [`BLOCK_BYTES`], for offsets.
pub(super) const BLOCK: u64 = BLOCK_BYTES as u64;

pub(super) const SUPERBLOCK_OFFSET: usize = 1024;
const SUPERBLOCK_BYTES: usize = 128;
const MAGIC: u32 = 0xe0f5_e1e2;
const CHECKSUM: usize = 4;
const COMPAT_CHECKSUM: u32 = 1;
const COMPAT_MTIME: u32 = 2;
/// The bits of an inode's format that are known.
const FORMAT_EXTENDED: u16 = 1;

/// Inodes are numbered by the 32 bytes that the short form of them takes; the long form takes two numbers.
pub(super) const SLOT_BYTES: u64 = 32;
pub(super) const INODE_BYTES: usize = 64;

pub(super) const DIRENT_BYTES: usize = 12;
pub(super) const XATTR_HEADER_BYTES: usize = 12;

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InodeType {
    File,
    Directory,
    CharDevice,
    BlockDevice,
    Fifo,
    Symlink,
}

impl InodeType {
    /// The upper bits of a mode.
    pub(super) const fn mode(self) -> u16 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::File => 0o100_000,
            Self::Symlink => 0o120_000,
        }
    }

    /// The same in a directory, so that nobody has to look at the inode.
    pub(super) const fn dirent(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Directory => 2,
            Self::CharDevice => 3,
            Self::BlockDevice => 4,
            Self::Fifo => 5,
            Self::Symlink => 7,
        }
    }
}

impl InodeType {
    /// Of the upper bits of `mode`; `None` when they mean nothing, or a socket.
    const fn of_mode(mode: u16) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o010_000 => Self::Fifo,
            0o020_000 => Self::CharDevice,
            0o040_000 => Self::Directory,
            0o060_000 => Self::BlockDevice,
            0o100_000 => Self::File,
            0o120_000 => Self::Symlink,
            _ => return None,
        })
    }
}

/// The beginning of everything, in the first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) root: u16,
    pub(super) inodes: u64,
    /// All blocks.
    pub(super) blocks: u32,
    /// Where inode 0 would be.
    pub(super) first_inode_block: u32,
}

impl Superblock {
    /// The whole first block.
    pub(super) fn encode(self) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        let mut fields = Fields(&mut block[SUPERBLOCK_OFFSET..][..SUPERBLOCK_BYTES]);
        fields.put(0, MAGIC.to_le_bytes());
        fields.put(8, (COMPAT_CHECKSUM | COMPAT_MTIME).to_le_bytes());
        fields.put(12, [BLOCK_BYTES.ilog2() as u8]);
        fields.put(14, self.root.to_le_bytes());
        fields.put(16, self.inodes.to_le_bytes());
        fields.put(36, self.blocks.to_le_bytes());
        fields.put(40, self.first_inode_block.to_le_bytes());
        let checksum = crc32c(&block[SUPERBLOCK_OFFSET..]);
        block[SUPERBLOCK_OFFSET + CHECKSUM..][..4].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    /// Reads the first block.
    pub(super) fn decode(block: &mut [u8; BLOCK_BYTES]) -> Result<Self, ReadErofsError> {
        let bytes: &[u8] = &block[SUPERBLOCK_OFFSET..];
        if u32::from_le_bytes(field(bytes, 0)) != MAGIC {
            return Err(ReadErofsError::NotErofs);
        }
        let checksum = u32::from_le_bytes(field(bytes, CHECKSUM));
        let of_layer = Self {
            root: u16::from_le_bytes(field(bytes, 14)),
            inodes: u64::from_le_bytes(field(bytes, 16)),
            blocks: u32::from_le_bytes(field(bytes, 36)),
            first_inode_block: u32::from_le_bytes(field(bytes, 40)),
        };
        block[SUPERBLOCK_OFFSET + CHECKSUM..][..4].fill(0);
        if checksum != crc32c(&block[SUPERBLOCK_OFFSET..]) {
            return Err(ReadErofsError::Checksum);
        }
        // Whatever else is in it, this program has not written.
        let mut expected = of_layer.encode();
        expected[SUPERBLOCK_OFFSET + CHECKSUM..][..4].fill(0);
        if expected[SUPERBLOCK_OFFSET..] == block[SUPERBLOCK_OFFSET..] {
            Ok(of_layer)
        } else {
            Err(ReadErofsError::Foreign)
        }
    }
}

/// Where the bytes of a file or directory are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataLayout {
    /// All in blocks.
    Plain = 0,
    /// Whole blocks in blocks, the rest behind the inode.
    Inline = 2,
}

/// The long form: the short one has no times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode {
    pub(super) layout: DataLayout,
    /// Bytes of attributes behind it.
    pub(super) xattr_bytes: usize,
    pub(super) kind: InodeType,
    /// The permissions.
    pub(super) mode: u16,
    pub(super) size: u64,
    /// The first block, or the device.
    pub(super) place: u32,
    /// What 32-bit programs see as inode number.
    pub(super) number: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) links: u32,
}

impl Inode {
    pub(super) fn encode(&self) -> [u8; INODE_BYTES] {
        let mut bytes = [0; INODE_BYTES];
        let mut fields = Fields(&mut bytes);
        let format = FORMAT_EXTENDED | (self.layout as u16) << 1;
        fields.put(0, format.to_le_bytes());
        fields.put(2, xattr_words(self.xattr_bytes).to_le_bytes());
        fields.put(4, (self.kind.mode() | self.mode).to_le_bytes());
        fields.put(8, self.size.to_le_bytes());
        fields.put(16, self.place.to_le_bytes());
        fields.put(20, self.number.to_le_bytes());
        fields.put(24, self.uid.to_le_bytes());
        fields.put(28, self.gid.to_le_bytes());
        fields.put(32, self.mtime.seconds.to_le_bytes());
        fields.put(40, self.mtime.nanoseconds.to_le_bytes());
        fields.put(44, self.links.to_le_bytes());
        bytes
    }

    /// Reads one, or says what is wrong with it.
    pub(super) fn decode(bytes: &[u8; INODE_BYTES]) -> Result<Self, &'static str> {
        let short = |at| u16::from_le_bytes(field(bytes, at));
        let number = |at| u32::from_le_bytes(field(bytes, at));
        let layout = match short(0) {
            1 => DataLayout::Plain,
            5 => DataLayout::Inline,
            _ => return Err("its format is unknown"),
        };
        let mtime = Time { seconds: i64::from_le_bytes(field(bytes, 32)), nanoseconds: number(40) };
        if mtime.nanoseconds >= 1_000_000_000 {
            return Err("its time is none");
        }
        Ok(Self {
            layout,
            xattr_bytes: xattr_bytes(short(2)),
            kind: InodeType::of_mode(short(4)).ok_or("its type is unknown")?,
            mode: short(4) & 0o7777,
            size: u64::from_le_bytes(field(bytes, 8)),
            place: number(16),
            number: number(20),
            uid: number(24),
            gid: number(28),
            mtime,
            links: number(44),
        })
    }
}

fn xattr_bytes(words: u16) -> usize {
    match words {
        0 => 0,
        words => XATTR_HEADER_BYTES + 4 * (usize::from(words) - 1),
    }
}

/// The bytes at `at`, zeros where there are none.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Attributes are counted in words, their header as one.
fn xattr_words(bytes: usize) -> u16 {
    match bytes.checked_sub(XATTR_HEADER_BYTES) {
        None => 0,
        Some(entries) => u16::try_from(entries / 4 + 1).unwrap_or(u16::MAX),
    }
}

struct Fields<'a>(&'a mut [u8]);

impl Fields<'_> {
    fn put<const N: usize>(&mut self, at: usize, value: [u8; N]) {
        self.0[at..at + N].copy_from_slice(&value);
    }
}

/// A device as the kernel writes it in 32 bits; `None` when it does not fit.
pub(super) fn device(major: u32, minor: u32) -> Option<u32> {
    (major < 1 << 12 && minor < 1 << 20).then_some((minor & 0xff) | major << 8 | (minor & !0xff) << 12)
}

/// Major and minor number of what [`device`] gave.
pub(super) const fn device_parts(number: u32) -> (u32, u32) {
    (number >> 8 & 0xfff, number & 0xff | number >> 12 & !0xff)
}

/// CRC-32C (Castagnoli), reflected, begun with all bits set and not inverted at the end.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| CRC_TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

static CRC_TABLE: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}
