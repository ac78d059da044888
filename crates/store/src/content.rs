//! The content of one file, wherever it is: in a file of its own, or in parts of one that holds a whole layer.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufReader, Read},
    ops::Range,
    sync::Arc,
};

use rustix::{fs::SeekFrom, io::Errno};

use crate::holes::{HOLE_BYTES_MIN, HoleReader, Pieces, WithHoles, hole_at};

/// The bytes of one file, from the first on.
#[derive(Debug)]
pub struct Content(Place);

#[derive(Debug)]
enum Place {
    /// All of this file.
    Whole(HoleReader),
    /// Parts of one.
    Parts(Parts),
}

/// What is left of these parts of a file, none of them empty.
#[derive(Debug)]
struct Parts {
    file: Arc<File>,
    left: VecDeque<Range<u64>>,
    /// Of the first.
    pieces: Pieces,
}

impl From<File> for Content {
    fn from(file: File) -> Self {
        Self(Place::Whole(HoleReader::new(file)))
    }
}

impl Content {
    /// These parts of `file`, one after the other.
    pub(crate) fn parts(file: Arc<File>, parts: impl Iterator<Item = Range<u64>>) -> Self {
        Self(Place::Parts(Parts::new(file, parts.filter(|part| !part.is_empty()).collect())))
    }

    /// How many bytes there are, for one of which nothing was read yet.
    pub fn size(&self) -> io::Result<u64> {
        match &self.0 {
            Place::Whole(reader) => Ok(reader.file().metadata()?.len()),
            Place::Parts(parts) => Ok(parts.left.iter().map(|part| part.end - part.start).sum()),
        }
    }

    /// The file that holds these bytes and no others.
    pub(crate) const fn whole(&self) -> Option<&File> {
        match &self.0 {
            Place::Whole(reader) => Some(reader.file()),
            Place::Parts(_) => None,
        }
    }

    /// Writes all of it to the new file `to`, inside the kernel where that can, which may share the blocks; holes of large
    /// files stay holes. Gives how much that was.
    pub fn copy_to(mut self, to: &mut File) -> io::Result<u64> {
        let mut copied = 0;
        loop {
            match self.copy_some(to, copied) {
                Ok(0) => break,
                Ok(count) => copied += count,
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::NOSYS | Errno::NOTSUP | Errno::INVAL | Errno::PERM)
                    if copied == 0 =>
                {
                    let mut to = WithHoles::new(to);
                    copied = io::copy(&mut BufReader::with_capacity(BUFFER_BYTES, self), &mut to)?;
                    to.finish()?;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(copied)
    }

    /// The next bytes, to where so many are; nothing is written for a hole but its end.
    fn copy_some(&mut self, to: &File, copied: u64) -> rustix::io::Result<u64> {
        match &mut self.0 {
            // Most files end here; whether one has holes is asked when it is larger.
            Place::Whole(reader) if copied < HOLE_BYTES_MIN => {
                let want = usize::try_from(HOLE_BYTES_MIN - copied).unwrap_or(COPY_BYTES_MAX);
                Ok(rustix::fs::copy_file_range(reader.file(), None, to, None, want)? as u64)
            }
            Place::Whole(reader) => {
                let size = rustix::fs::fstat(reader.file())?.st_size.cast_unsigned();
                copy_piece(reader.file(), &mut copied.clone(), size, to, copied)
            }
            Place::Parts(parts) => parts.copy_some(to, copied),
        }
    }
}

/// Copies from `*from` of one file to `at` of the other, until `end` at most; a hole there is only left out. Gives how many
/// bytes that was, and moves `from` behind them.
fn copy_piece(file: &File, from: &mut u64, end: u64, to: &File, at: u64) -> rustix::io::Result<u64> {
    let left = end.saturating_sub(*from);
    let hole = if left > HOLE_BYTES_MIN { hole_at(file, *from).min(left) } else { 0 };
    if hole > 0 {
        // Without its last byte it would not be there at the end of a file.
        rustix::fs::ftruncate(to, at + hole)?;
        *from += hole;
        return Ok(hole);
    }
    let mut want = left.min(COPY_BYTES_MAX as u64);
    if left > HOLE_BYTES_MIN
        && let Ok(hole) = rustix::fs::seek(file, SeekFrom::Hole(*from))
    {
        want = want.min(hole.saturating_sub(*from).max(1));
    }
    let want = usize::try_from(want).unwrap_or(COPY_BYTES_MAX);
    let mut at = at;
    Ok(rustix::fs::copy_file_range(file, Some(from), to, Some(&mut at), want)? as u64)
}

/// How much is read at once where the kernel cannot copy.
const BUFFER_BYTES: usize = 128 * 1024;
/// The most that the kernel is asked to copy at once.
const COPY_BYTES_MAX: usize = 1 << 30;

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Place::Whole(reader) => reader.read(buffer),
            Place::Parts(parts) => parts.read(buffer),
        }
    }
}

impl Parts {
    fn new(file: Arc<File>, left: VecDeque<Range<u64>>) -> Self {
        let pieces = Pieces::from(left.front().map_or(0, |part| part.start));
        Self { file, left, pieces }
    }

    /// As of [`Content`].
    fn copy_some(&mut self, to: &File, copied: u64) -> rustix::io::Result<u64> {
        let Some(part) = self.left.front_mut() else { return Ok(0) };
        let count = copy_piece(&self.file, &mut part.start, part.end, to, copied)?;
        self.drop_read();
        // The file ends before its part does.
        if count == 0 { Err(Errno::IO) } else { Ok(count) }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(part) = self.left.front_mut() else { return Ok(0) };
        let want = usize::try_from(part.end - part.start).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.pieces.read(&self.file, part.start, &mut buffer[..want])?;
        if count == 0 && want > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        part.start += count as u64;
        self.drop_read();
        Ok(count)
    }

    fn drop_read(&mut self) {
        if self.left.front().is_some_and(Range::is_empty) {
            self.left.pop_front();
            self.pieces = Pieces::from(self.left.front().map_or(0, |part| part.start));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use fs_err as fs;
    use proptest::prelude::*;

    use super::*;

    /// Data, a hole, data, and a hole at the end.
    fn sparse(folder: &std::path::Path) -> (std::path::PathBuf, Vec<u8>) {
        let path = folder.join("sparse");
        let file = fs::File::create(&path).unwrap();
        let size = 40 << 20;
        let mut content = vec![0; size];
        content[3] = 7;
        content[20 << 20..(20 << 20) + 5000].fill(9);
        file.set_len(size as u64).unwrap();
        file.file().write_all_at(&content[..100], 0).unwrap();
        file.file().write_all_at(&content[20 << 20..(20 << 20) + 5000], 20 << 20).unwrap();
        (path, content)
    }

    #[test]
    fn holes_stay_holes() {
        let folder = tempfile::tempdir().unwrap();
        let (path, content) = sparse(folder.path());
        let open = || fs::File::open(&path).unwrap().into_file();
        let size = content.len() as u64;
        let whole = || Content::from(open());
        let parts = || Content::parts(Arc::new(open()), [0..3 << 20, 3 << 20..size].into_iter());
        for (name, content_of) in [("whole", &whole as &dyn Fn() -> Content), ("parts", &parts)] {
            let to = folder.path().join(name);
            let mut file = fs::File::create(&to).unwrap().into_file();
            assert_eq!(content_of().copy_to(&mut file).unwrap(), size, "{name}");
            assert!(fs::read(&to).unwrap() == content, "{name}");
            let used = file.metadata().unwrap().blocks() * 512;
            assert!(used <= 3 << 20, "{name}: {used} bytes on disk");
            let by_hand = folder.path().join("by-hand");
            let file = fs::File::create(&by_hand).unwrap().into_file();
            let mut to = WithHoles::new(&file);
            io::copy(&mut BufReader::with_capacity(BUFFER_BYTES, content_of()), &mut to).unwrap();
            to.finish().unwrap();
            assert!(fs::read(&by_hand).unwrap() == content, "{name}");
            assert!(file.metadata().unwrap().blocks() * 512 <= 1 << 20);
        }
    }

    /// How many bytes this thread asked the kernel for; `None` where it does not count them.
    fn bytes_read() -> Option<u64> {
        let counts = fs::read_to_string("/proc/thread-self/io").ok()?;
        counts.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok())
    }

    #[test]
    fn holes_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let (path, content) = sparse(folder.path());
        let open = || fs::File::open(&path).unwrap().into_file();
        let size = content.len() as u64;
        let parts = [0..9 << 20, 9 << 20..9 << 20, 9 << 20..size];
        for (name, mut from) in
            [("whole", Content::from(open())), ("parts", Content::parts(Arc::new(open()), parts.into_iter()))]
        {
            let (mut all, mut buffer) = (Vec::new(), vec![0xee; BUFFER_BYTES]);
            let before = bytes_read();
            while let count @ 1.. = from.read(&mut buffer).unwrap() {
                all.extend_from_slice(&buffer[..count]);
            }
            let read = bytes_read().zip(before).map_or(0, |(after, before)| after - before);
            assert!(all == content, "{name}");
            assert!(read < 1 << 20, "{name}: {read} bytes were read");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn parts_are_read_as_the_kernel_reads_them(
            pieces in prop::collection::vec((0u64..3 << 20, 0u64..1 << 20), 1..5),
            buffer in 1000usize..200_000,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut content = vec![0; 3 << 20];
            content[2 << 20..(2 << 20) + 300_000].fill(9);
            let path = folder.path().join("sparse");
            let file = fs::File::create(&path).unwrap();
            file.set_len(content.len() as u64).unwrap();
            file.file().write_all_at(&content[2 << 20..(2 << 20) + 300_000], 2 << 20).unwrap();
            let part = |&(start, length): &(u64, u64)| start..(start + length).min(content.len() as u64);
            let parts: Vec<_> = pieces.iter().map(part).collect();
            let file = Arc::new(fs::File::open(&path).unwrap().into_file());
            let mut from = Content::parts(file, parts.iter().cloned());
            let (mut all, mut buffer) = (Vec::new(), vec![0xee; buffer]);
            while let count @ 1.. = from.read(&mut buffer).unwrap() {
                all.extend_from_slice(&buffer[..count]);
            }
            let expected: Vec<u8> = parts.iter().flat_map(|part| &content[part.start as usize..part.end as usize]).copied().collect();
            prop_assert!(all == expected);
        }
    }

    fn parts(all: &[(u64, u64)]) -> (tempfile::TempDir, Content) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all");
        fs::write(&path, b"0123456789").unwrap();
        let file = fs::File::open(&path).unwrap().into_file();
        (folder, Content::parts(Arc::new(file), all.iter().map(|&(start, end)| start..end)))
    }

    fn copied(content: Content, folder: &std::path::Path) -> io::Result<Vec<u8>> {
        let path = folder.join("copy");
        let mut to = fs::File::create(&path).unwrap().into_file();
        let count = content.copy_to(&mut to)?;
        let bytes = fs::read(&path).unwrap();
        assert_eq!(count, bytes.len() as u64);
        Ok(bytes)
    }

    #[test]
    fn parts_are_read_and_copied_without_what_is_beside_them() {
        for (all, expected) in [
            (&[(3, 7)][..], &b"3456"[..]),
            (&[(0, 10)], b"0123456789"),
            (&[(7, 9), (1, 3)], b"7812"),
            (&[(4, 4), (9, 10)], b"9"),
            (&[(4, 4)], b""),
        ] {
            let (folder, mut content) = parts(all);
            assert_eq!(content.size().unwrap(), expected.len() as u64);
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, expected);
            assert_eq!(copied(parts(all).1, folder.path()).unwrap(), expected);
        }
    }

    #[test]
    fn a_part_that_is_cut_off_is_an_error() {
        let (folder, mut content) = parts(&[(0, 1), (8, 12)]);
        let error = content.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(copied(parts(&[(8, 12)]).1, folder.path()).is_err());
    }

    #[test]
    fn a_whole_file_is_copied_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all");
        fs::write(&path, b"bytes").unwrap();
        let whole = || Content::from(fs::File::open(&path).unwrap().into_file());
        assert_eq!(
            (whole().size().unwrap(), copied(whole(), folder.path()).unwrap()),
            (5, b"bytes".to_vec())
        );
    }
}
