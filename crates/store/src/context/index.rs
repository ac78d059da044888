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
/// Where the digest begins; before it stand eight zeros.
const DIGEST_AT: usize = 56;

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

    fn encode(&self) -> [u8; ROW_BYTES] {
        let mut out = [0; ROW_BYTES];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.inode.0.to_le_bytes());
        put(8, &self.inode.1.to_le_bytes());
        put(16, &self.size.to_le_bytes());
        put(24, &self.mtime.seconds.to_le_bytes());
        put(32, &self.mtime.nanoseconds.to_le_bytes());
        put(36, &self.ctime.seconds.to_le_bytes());
        put(44, &self.ctime.nanoseconds.to_le_bytes());
        put(DIGEST_AT, &self.digest);
        out
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
    /// The whole file but its checksum.
    bytes: Vec<u8>,
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
        Some(Self { bytes })
    }

    fn rows(&self) -> &[u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.rows().len() / ROW_BYTES
    }

    fn inode(&self, at: usize) -> Option<(u64, u64)> {
        Some(inode(self.rows().get(at * ROW_BYTES..)?.first_chunk()?))
    }

    /// Where the file stands that `wanted` describes, and its digest, when nothing about it changed. `hint` is where the
    /// last look-up ended: files that were made one after the other have rows one after the other.
    pub(super) fn find(&self, wanted: &Row, hint: &mut usize) -> Option<(usize, [u8; 32])> {
        let at = if self.inode(*hint) == Some(wanted.inode) { *hint } else { self.position(wanted.inode)? };
        *hint = at + 1;
        let row = self.rows().get(at * ROW_BYTES..)?.first_chunk::<ROW_BYTES>()?;
        let same = wanted.encode()[..DIGEST_AT] == row[..DIGEST_AT];
        same.then_some((at, *row.last_chunk()?))
    }

    fn position(&self, inode: (u64, u64)) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.inode(middle)? < inode { low = middle + 1 } else { high = middle }
        }
        (self.inode(low)? == inode).then_some(low)
    }

    /// Marks for rows that a walk finds.
    pub(super) fn marks(&self) -> Vec<bool> {
        vec![false; self.len()]
    }

    /// Whether a walk that had to read files has something for the index.
    pub(super) fn needs(fresh: &[(usize, Row)], started: Moment) -> bool {
        fresh.iter().any(|(_, row)| row.keep && !row.is_young(started))
    }

    /// The encoding of the index after a walk: rows of it that the walk has marked as `found`, and those of the files that
    /// it read.
    pub(super) fn updated(&self, found: &[bool], fresh: Vec<(usize, Row)>, started: Moment) -> Vec<u8> {
        let mut read: Vec<_> = fresh.into_iter().map(|(_, row)| row).collect();
        read.sort_unstable();
        let found_count = found.iter().filter(|&&found| found).count();
        let unused_max = read.len() + found_count + UNUSED_ROWS_MAX;
        let mut encoded: Vec<_> =
            read.iter().filter(|row| row.keep && !row.is_young(started)).map(Row::encode).collect();
        let seen = |inode| read.binary_search_by_key(&inode, |row| row.inode).is_ok();
        let (mut used, mut unused) = (Vec::new(), Vec::new());
        for (at, row) in self.rows().as_chunks::<ROW_BYTES>().0.iter().enumerate() {
            let found = found.get(at).is_some_and(|&found| found);
            // What was read anew stands in a new row, or in none.
            if !seen(inode(row)) {
                if found { used.push(*row) } else { unused.push(*row) }
            }
        }
        encoded.extend(used);
        encoded.extend(unused.into_iter().take(unused_max));
        encoded.sort_unstable_by_key(inode);
        assemble(&encoded)
    }
}

fn inode(row: &[u8; ROW_BYTES]) -> (u64, u64) {
    let number = |at: usize| row[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (number(0), number(8))
}

fn assemble(rows: &[[u8; ROW_BYTES]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + rows.len() * ROW_BYTES + CHECKSUM_BYTES);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&(rows.len() as u64).to_le_bytes());
    out.extend_from_slice(rows.as_flattened());
    let checksum = Digest::blake3(&out);
    out.extend_from_slice(checksum.bytes());
    out
}
