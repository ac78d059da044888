//! Sparse files: GNU tar leaves holes out of the content and lists the pieces that are there.

use std::io::{self, Read};

use super::block::{BLOCK, number, padding};

/// The most pieces of one sparse file.
pub const MAX_SPARSE_PIECES: usize = 1 << 20;

/// An old GNU header has four pieces, an extension block 21, each of two numbers of twelve digits.
const NUMBER: usize = 12;
const HEADER_PIECES: usize = 386;
const HEADER_EXTENDED: usize = 482;
const HEADER_REAL_SIZE: usize = 483;
const EXTENSION_EXTENDED: usize = 504;

/// Offsets and lengths.
pub(super) type Pieces = Vec<(u64, u64)>;

/// The pieces of a sparse file, in order, apart from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Map {
    pieces: Pieces,
    /// The length of the whole file.
    pub(super) size: u64,
}

impl Map {
    /// `None` when the pieces overlap, leave the file or have more bytes than the `stored` ones.
    pub(super) fn new(pieces: Pieces, size: u64, stored: u64) -> Option<Self> {
        let mut end = 0;
        let mut total = 0_u64;
        for &(offset, length) in &pieces {
            if offset < end {
                return None;
            }
            end = offset.checked_add(length).filter(|&end| end <= size)?;
            total = total.checked_add(length)?;
        }
        (total == stored && pieces.len() <= MAX_SPARSE_PIECES).then_some(Self { pieces, size })
    }
}

/// The pieces of an old GNU header, whether extension blocks follow, and the size of the whole file.
pub(super) fn from_header(block: &[u8; BLOCK]) -> Option<(Pieces, bool, u64)> {
    let pieces = table(&block[HEADER_PIECES..HEADER_EXTENDED])?;
    let size = unsigned(&block[HEADER_REAL_SIZE..HEADER_REAL_SIZE + NUMBER])?;
    Some((pieces, block[HEADER_EXTENDED] != 0, size))
}

/// The pieces of an extension block and whether another one follows.
pub(super) fn from_extension(block: &[u8; BLOCK]) -> Option<(Pieces, bool)> {
    Some((table(&block[..EXTENSION_EXTENDED])?, block[EXTENSION_EXTENDED] != 0))
}

fn table(bytes: &[u8]) -> Option<Pieces> {
    let rows = bytes.chunks_exact(2 * NUMBER).take_while(|row| row[0] != 0);
    rows.map(|row| Some((unsigned(&row[..NUMBER])?, unsigned(&row[NUMBER..])?))).collect()
}

fn unsigned(field: &[u8]) -> Option<u64> {
    number(field).and_then(|number| number.try_into().ok())
}

/// Reads the map that PAX sparse files of version 1.0 begin with: lines of decimal numbers, the first being the number
/// of pieces, padded to a block. Also returns how many bytes it took.
pub(super) fn from_content(mut content: impl Read) -> io::Result<Option<(Pieces, u64)>> {
    let mut lines = Lines { content: &mut content, taken: 0 };
    let Some(count) = lines.next()?.filter(|&count| count <= MAX_SPARSE_PIECES as u64) else {
        return Ok(None);
    };
    let mut pieces = Vec::new();
    for _ in 0..count {
        let (Some(offset), Some(length)) = (lines.next()?, lines.next()?) else { return Ok(None) };
        pieces.push((offset, length));
    }
    let taken = lines.taken;
    io::copy(&mut content.take(padding(taken)), &mut io::sink())?;
    Ok(Some((pieces, taken + padding(taken))))
}

struct Lines<R> {
    content: R,
    taken: u64,
}

impl<R: Read> Lines<R> {
    fn next(&mut self) -> io::Result<Option<u64>> {
        let mut value: Option<u64> = None;
        loop {
            let mut byte = [0];
            self.content.read_exact(&mut byte)?;
            self.taken += 1;
            value = match byte[0] {
                b'\n' => return Ok(value),
                digit @ b'0'..=b'9' => {
                    let digit = u64::from(digit - b'0');
                    match value.unwrap_or_default().checked_mul(10).and_then(|value| value.checked_add(digit))
                    {
                        Some(value) => Some(value),
                        None => return Ok(None),
                    }
                }
                _ => return Ok(None),
            };
        }
    }
}

/// Where a reader of a sparse file stands.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    map: Map,
    /// The piece that comes next or is being read.
    piece: usize,
    at: u64,
}

/// What comes next in a sparse file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Hole(u64),
    Piece(u64),
    End,
}

impl Cursor {
    pub(super) const fn new(map: Map) -> Self {
        Self { map, piece: 0, at: 0 }
    }

    pub(super) fn hole_bytes(&self) -> u64 {
        self.map.size - self.map.pieces.iter().map(|(_, length)| length).sum::<u64>()
    }

    pub(super) fn next(&mut self) -> Next {
        while let Some(&(offset, length)) = self.map.pieces.get(self.piece) {
            if self.at < offset {
                return Next::Hole(offset - self.at);
            }
            if self.at < offset + length {
                return Next::Piece(offset + length - self.at);
            }
            self.piece += 1;
        }
        if self.at < self.map.size { Next::Hole(self.map.size - self.at) } else { Next::End }
    }

    pub(super) fn advance(&mut self, bytes: usize) {
        self.at += bytes as u64;
    }
}
