//! The content of one file, wherever it is: in a file of its own, or in parts of one that holds a whole layer.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read},
    ops::Range,
    os::unix::fs::FileExt,
    sync::Arc,
};

use rustix::io::Errno;

/// The bytes of one file, from the first on.
#[derive(Debug)]
pub struct Content(Place);

#[derive(Debug)]
enum Place {
    /// All of this file.
    Whole(File),
    /// What is left of these parts of it, none of them empty.
    Parts { file: Arc<File>, left: VecDeque<Range<u64>> },
}

impl From<File> for Content {
    fn from(file: File) -> Self {
        Self(Place::Whole(file))
    }
}

impl Content {
    /// These parts of `file`, one after the other.
    pub(crate) fn parts(file: Arc<File>, parts: impl Iterator<Item = Range<u64>>) -> Self {
        Self(Place::Parts { file, left: parts.filter(|part| !part.is_empty()).collect() })
    }

    /// How many bytes there are, for one of which nothing was read yet.
    pub fn size(&self) -> io::Result<u64> {
        match &self.0 {
            Place::Whole(file) => Ok(file.metadata()?.len()),
            Place::Parts { left, .. } => Ok(left.iter().map(|part| part.end - part.start).sum()),
        }
    }

    /// The file that holds these bytes and no others.
    pub(crate) const fn whole(&self) -> Option<&File> {
        match &self.0 {
            Place::Whole(file) => Some(file),
            Place::Parts { .. } => None,
        }
    }

    /// Writes all of it to `to`, inside the kernel where that can, which may share the blocks. Gives how much that was.
    pub fn copy_to(mut self, to: &mut File) -> io::Result<u64> {
        let mut copied = 0;
        loop {
            match self.copy_some(to) {
                Ok(0) => return Ok(copied),
                Ok(count) => copied += count as u64,
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::NOSYS | Errno::NOTSUP | Errno::INVAL | Errno::PERM)
                    if copied == 0 =>
                {
                    return io::copy(&mut self, to);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn copy_some(&mut self, to: &File) -> rustix::io::Result<usize> {
        match &mut self.0 {
            Place::Whole(file) => rustix::fs::copy_file_range(file, None, to, None, COPY_BYTES_MAX),
            Place::Parts { file, left } => {
                let Some(part) = left.front_mut() else { return Ok(0) };
                let want = usize::try_from(part.end - part.start).unwrap_or(usize::MAX).min(COPY_BYTES_MAX);
                let count = rustix::fs::copy_file_range(&**file, Some(&mut part.start), to, None, want)?;
                drop_read(left);
                // The file ends before its part does.
                if count == 0 { Err(Errno::IO) } else { Ok(count) }
            }
        }
    }
}

/// The most that the kernel is asked to copy at once.
const COPY_BYTES_MAX: usize = 1 << 30;

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Place::Whole(file) => file.read(buffer),
            Place::Parts { file, left } => {
                let Some(part) = left.front_mut() else { return Ok(0) };
                let want = usize::try_from(part.end - part.start).unwrap_or(usize::MAX).min(buffer.len());
                let count = file.read_at(&mut buffer[..want], part.start)?;
                if count == 0 && want > 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                part.start += count as u64;
                drop_read(left);
                Ok(count)
            }
        }
    }
}

fn drop_read(left: &mut VecDeque<Range<u64>>) {
    if left.front().is_some_and(Range::is_empty) {
        left.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

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
