//! The index of a context: what its files looked like when they were read last, and the digests of what was read.
//!
//! One flat file of rows sorted by device and inode, replaced as a whole. Numbers are little-endian.
//!
//! ```text
//! "gly-idx1"  count: u64  rows: count × 88 bytes  BLAKE3 of all before: 32 bytes
//! row: device u64, inode u64, size u64, mtime s i64, mtime ns u32, ctime s i64, ctime ns u32, zero u64, BLAKE3 [u8; 32]
//! ```

use std::path::Path;

use galley_oci::{Digest, Time};
use rustix::fs::Statx;

use crate::{StoreError, files::walk::time, store::read_small};

/// The largest index that is read: twelve million files.
const INDEX_BYTES_MAX: usize = 1024 * 1024 * 1024;

const MAGIC: &[u8; 8] = b"gly-idx1";
const HEADER_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 32;
const ROW_BYTES: usize = 88;

/// Rows that no walk used lately are kept up to this many beyond twice those that one did: several Dockerfiles may
/// keep different parts of one context.
const UNUSED_ROWS_MAX: usize = 10_000;

/// A file whose time is less than this before the walk may change again without a new time.
const YOUNG_NANOSECONDS: i128 = 50_000_000;
/// The same where the file system keeps whole seconds, or even ones only.
const YOUNG_NANOSECONDS_COARSE: i128 = 2_100_000_000;

/// One file as it was examined, with the digest of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) inode: (u64, u64),
    pub(super) size: u64,
    pub(super) mtime: Time,
    pub(super) ctime: Time,
    pub(super) digest: [u8; 32],
    /// May be written to the index.
    pub(super) keep: bool,
}

impl Row {
    pub(super) fn new(inode: (u64, u64), stat: &Statx) -> Self {
        let (mtime, ctime) = (time(&stat.stx_mtime), time(&stat.stx_ctime));
        Self { inode, size: stat.stx_size, mtime, ctime, digest: [0; 32], keep: true }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.inode.0, self.inode.1, self.size] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for time in [self.mtime, self.ctime] {
            out.extend_from_slice(&time.seconds.to_le_bytes());
            out.extend_from_slice(&time.nanoseconds.to_le_bytes());
        }
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.digest);
    }

    /// Whether a later change could leave all of the row as it is.
    fn is_young(&self, started: Moment) -> bool {
        let coarse = self.mtime.nanoseconds == 0 && self.ctime.nanoseconds == 0;
        let slack = if coarse { YOUNG_NANOSECONDS_COARSE } else { YOUNG_NANOSECONDS };
        nanoseconds(self.mtime.max(self.ctime)) + slack > started.0
    }
}

/// When a walk began, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(pub(super) i128);

impl Moment {
    pub(super) fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Self(i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec))
    }
}

fn nanoseconds(time: Time) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds)
}

/// The rows of the last walks, as bytes.
#[derive(Debug, Default)]
pub(super) struct Index {
    rows: Vec<u8>,
}

impl Index {
    /// No index, or one that is damaged, is an empty one.
    pub(super) fn read(path: &Path) -> Result<Self, StoreError> {
        let bytes = read_small(path, INDEX_BYTES_MAX)?;
        Ok(bytes.and_then(Self::decode).unwrap_or_default())
    }

    pub(super) fn decode(mut bytes: Vec<u8>) -> Option<Self> {
        let body = bytes.len().checked_sub(CHECKSUM_BYTES).filter(|&body| body >= HEADER_BYTES)?;
        let (head, checksum) = bytes.split_at(body);
        let count = u64::from_le_bytes(head[8..HEADER_BYTES].try_into().ok()?);
        let length = usize::try_from(count).ok()?.checked_mul(ROW_BYTES)?.checked_add(HEADER_BYTES)?;
        if !head.starts_with(MAGIC) || length != body || Digest::blake3(head).bytes() != checksum {
            return None;
        }
        bytes.truncate(body);
        bytes.drain(..HEADER_BYTES);
        Some(Self { rows: bytes })
    }

    fn len(&self) -> usize {
        self.rows.len() / ROW_BYTES
    }

    fn inode(&self, at: usize) -> Option<(u64, u64)> {
        let row = self.rows.get(at * ROW_BYTES..)?;
        Some((u64::from_le_bytes(*row.first_chunk()?), u64::from_le_bytes(*row.get(8..)?.first_chunk()?)))
    }

    /// The digest of the file that `wanted` describes, when nothing about it changed. `hint` is where the last look-up
    /// ended: files that were made one after the other have rows one after the other.
    pub(super) fn find(&self, wanted: &Row, hint: &mut usize) -> Option<[u8; 32]> {
        let at = if self.inode(*hint) == Some(wanted.inode) { *hint } else { self.position(wanted.inode)? };
        *hint = at + 1;
        let row = self.rows.get(at * ROW_BYTES..)?.first_chunk::<ROW_BYTES>()?;
        let digest: [u8; 32] = *row.last_chunk()?;
        let mut expected = Vec::with_capacity(ROW_BYTES);
        Row { digest, ..*wanted }.encode(&mut expected);
        (expected == row).then_some(digest)
    }

    fn position(&self, inode: (u64, u64)) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.inode(middle)? < inode { low = middle + 1 } else { high = middle }
        }
        (self.inode(low)? == inode).then_some(low)
    }

    /// Whether a walk has found anything that the index should hold and does not.
    pub(super) fn needs(&self, rows: &[(usize, Row)], started: Moment) -> bool {
        let mut hint = 0;
        rows.iter().any(|(_, row)| {
            row.keep && !row.is_young(started) && self.find(row, &mut hint) != Some(row.digest)
        })
    }

    /// The encoding of the index with the rows of a walk in it.
    pub(super) fn updated(&self, rows: Vec<(usize, Row)>, started: Moment) -> Vec<u8> {
        let mut used: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
        used.sort_unstable();
        let unused_max = used.len() + UNUSED_ROWS_MAX;
        let fresh = used.iter().filter(|row| row.keep && !row.is_young(started));
        let mut encoded: Vec<_> = fresh
            .map(|row| {
                let mut out = Vec::with_capacity(ROW_BYTES);
                row.encode(&mut out);
                (row.inode, out)
            })
            .collect();
        let seen = |inode| used.binary_search_by_key(&inode, |row| row.inode).is_ok();
        let unused = (0..self.len()).filter_map(|at| {
            let inode = self.inode(at).filter(|&inode| !seen(inode))?;
            Some((inode, self.rows[at * ROW_BYTES..(at + 1) * ROW_BYTES].to_vec()))
        });
        encoded.extend(unused.take(unused_max));
        encoded.sort_unstable_by_key(|(inode, _)| *inode);
        assemble(encoded.iter().map(|(_, row)| row.as_slice()), encoded.len())
    }
}

fn assemble<'a>(rows: impl Iterator<Item = &'a [u8]>, count: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + count * ROW_BYTES + CHECKSUM_BYTES);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&(count as u64).to_le_bytes());
    rows.for_each(|row| out.extend_from_slice(row));
    let checksum = Digest::blake3(&out);
    out.extend_from_slice(checksum.bytes());
    out
}
