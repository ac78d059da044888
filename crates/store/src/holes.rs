//! Files with holes: read without reading the holes, and written without writing them.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::{FileExt, MetadataExt},
};

use rustix::{fs::SeekFrom, io::Errno};

/// How long the hole is that begins at `from`; a file system that has none says so.
pub(crate) fn hole_at(file: &File, from: u64) -> u64 {
    match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(data) => data.saturating_sub(from),
        // There is nothing but a hole any more.
        Err(Errno::NXIO) => u64::MAX,
        Err(_) => 0,
    }
}

/// What is shorter is not worth asking for holes: so much of a sparse file becomes blocks.
pub(crate) const HOLE_BYTES_MIN: u64 = 128 << 10;

/// Writes a new file, and leaves out what is zero in large pieces.
#[derive(Debug)]
pub(crate) struct WithHoles<'f> {
    file: &'f File,
    size: u64,
    ends_in_hole: bool,
}

/// Pieces that are shorter are written as they are.
const PIECE_BYTES_MIN: usize = 4096;

impl<'f> WithHoles<'f> {
    pub(crate) const fn new(file: &'f File) -> Self {
        Self { file, size: 0, ends_in_hole: false }
    }

    /// To be called behind the last byte.
    pub(crate) fn finish(self) -> io::Result<()> {
        if self.ends_in_hole { self.file.set_len(self.size) } else { Ok(()) }
    }
}

impl Write for WithHoles<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.ends_in_hole = bytes.len() >= PIECE_BYTES_MIN && is_zero(bytes);
        if !self.ends_in_hole {
            self.file.write_all_at(bytes, self.size)?;
        }
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether there is nothing but zeros. To compare with zeros is several times as fast as to look at one after the other.
fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; PIECE_BYTES_MIN] = [0; PIECE_BYTES_MIN];
    bytes.chunks(PIECE_BYTES_MIN).all(|piece| ZEROS.starts_with(piece))
}

/// Reads a file from its first byte on, without its holes.
#[derive(Debug)]
pub(crate) struct HoleReader {
    file: File,
    at: u64,
    pieces: Pieces,
}

impl HoleReader {
    pub(crate) const fn new(file: File) -> Self {
        Self { file, at: 0, pieces: Pieces::from(0) }
    }

    pub(crate) const fn file(&self) -> &File {
        &self.file
    }
}

impl Read for HoleReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.pieces.read(&self.file, self.at, buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// What somebody who reads on and on knows about holes. Of those it gives the zeros itself: the kernel would take memory for
/// them, as for bytes of a disk, and forget for it what others read.
#[derive(Debug)]
pub(crate) struct Pieces(Piece);

/// What the reader is in, and where that ends.
#[derive(Debug, Clone, Copy)]
enum Piece {
    Data(u64),
    Hole(u64),
}

impl Pieces {
    /// For who begins at `at`.
    pub(crate) const fn from(at: u64) -> Self {
        // Most end before anything is asked, and of those that do not most have no hole.
        Self(Piece::Data(at.saturating_add(HOLE_BYTES_MIN)))
    }

    /// Reads from `at`, which must not be before where this was made for or has read to.
    pub(crate) fn read(&mut self, file: &File, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let (Piece::Data(end) | Piece::Hole(end)) = self.0;
        if at >= end {
            self.0 = look(file, at)?;
        }
        let (Piece::Data(end) | Piece::Hole(end)) = self.0;
        let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        match self.0 {
            Piece::Hole(_) => {
                buffer[..want].fill(0);
                Ok(want)
            }
            Piece::Data(_) => file.read_at(&mut buffer[..want], at),
        }
    }
}

fn look(file: &File, at: u64) -> io::Result<Piece> {
    let found = file.metadata()?;
    if found.blocks().saturating_mul(512) >= found.len() || at >= found.len() {
        return Ok(Piece::Data(u64::MAX));
    }
    let hole = hole_at(file, at);
    if hole > 0 {
        return Ok(Piece::Hole(at.saturating_add(hole).min(found.len())));
    }
    let end = rustix::fs::seek(file, SeekFrom::Hole(at)).unwrap_or(u64::MAX);
    Ok(Piece::Data(if end > at { end } else { u64::MAX }))
}

#[cfg(test)]
mod tests {
    use fs_err as fs;
    use proptest::prelude::*;

    use super::*;

    /// A file of pieces of zeros that are not written and of others that are, and what it says.
    fn file(folder: &std::path::Path, pieces: &[(usize, u8)]) -> (std::path::PathBuf, Vec<u8>) {
        let path = folder.join("file");
        let file = fs::File::create(&path).unwrap().into_file();
        let mut content = Vec::new();
        for &(length, byte) in pieces {
            let start = content.len() as u64;
            content.resize(content.len() + length, byte);
            if byte != 0 {
                file.write_all_at(&content[start as usize..], start).unwrap();
            }
        }
        file.set_len(content.len() as u64).unwrap();
        (path, content)
    }

    fn read(path: &std::path::Path, buffer: usize) -> Vec<u8> {
        let mut reader = HoleReader::new(fs::File::open(path).unwrap().into_file());
        let (mut all, mut buffer) = (Vec::new(), vec![0xee; buffer]);
        loop {
            match reader.read(&mut buffer).unwrap() {
                0 => return all,
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn holes_are_read_as_the_kernel_reads_them(
            pieces in prop::collection::vec((1usize..2_000_000, prop_oneof![2 => Just(0u8), 1 => 1u8..]), 0..6),
            buffer in 1000usize..200_000,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (path, content) = file(folder.path(), &pieces);
            prop_assert!(read(&path, buffer) == content);
        }
    }

    #[test]
    fn a_file_that_becomes_shorter_or_longer_meanwhile_ends_where_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = file(folder.path(), &[(5 << 20, 0), (10, 7)]);
        let change = fs::OpenOptions::new().write(true).open(&path).unwrap();
        for (length, expected) in [(2 << 20, 5 << 20), (6 << 20, 6 << 20)] {
            change.set_len(5 << 20).unwrap();
            let mut reader = HoleReader::new(fs::File::open(&path).unwrap().into_file());
            let mut begin = vec![1; (1 << 20) + 1000];
            reader.read_exact(&mut begin).unwrap();
            change.set_len(length).unwrap();
            let rest = io::copy(&mut reader, &mut io::sink()).unwrap();
            assert_eq!(rest + begin.len() as u64, expected);
        }
    }
}
