//! The content of one file, wherever it is: in a file of its own, or in a part of one that holds a whole layer.

use std::{
    fs::File,
    io::{self, Read},
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
    /// So many bytes from here on.
    Part { file: Arc<File>, start: u64, length: u64 },
}

impl From<File> for Content {
    fn from(file: File) -> Self {
        Self(Place::Whole(file))
    }
}

impl Content {
    /// `length` bytes of `file` from `start` on.
    #[must_use]
    pub const fn part(file: Arc<File>, start: u64, length: u64) -> Self {
        Self(Place::Part { file, start, length })
    }

    /// How many bytes there are, for one of which nothing was read yet.
    pub fn size(&self) -> io::Result<u64> {
        match &self.0 {
            Place::Whole(file) => Ok(file.metadata()?.len()),
            Place::Part { length, .. } => Ok(*length),
        }
    }

    /// The file that holds these bytes and no others.
    pub(crate) const fn whole(&self) -> Option<&File> {
        match &self.0 {
            Place::Whole(file) => Some(file),
            Place::Part { .. } => None,
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
            Place::Part { length: 0, .. } => Ok(0),
            Place::Part { file, start, length } => {
                let want = usize::try_from(*length).unwrap_or(usize::MAX).min(COPY_BYTES_MAX);
                let count = rustix::fs::copy_file_range(&**file, Some(start), to, None, want)?;
                *length -= count as u64;
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
            Place::Part { file, start, length } => {
                let want = usize::try_from(*length).unwrap_or(usize::MAX).min(buffer.len());
                let count = file.read_at(&mut buffer[..want], *start)?;
                if count == 0 && want > 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                (*start, *length) = (*start + count as u64, *length - count as u64);
                Ok(count)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    fn part(start: u64, length: u64) -> (tempfile::TempDir, Content) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all");
        fs::write(&path, b"0123456789").unwrap();
        let file = fs::File::open(&path).unwrap().into_file();
        (folder, Content::part(Arc::new(file), start, length))
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
    fn a_part_is_read_and_copied_without_what_is_beside_it() {
        for (start, length, expected) in [(3, 4, &b"3456"[..]), (0, 10, b"0123456789"), (10, 0, b"")] {
            let (folder, mut content) = part(start, length);
            assert_eq!(content.size().unwrap(), length);
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, expected);
            assert_eq!(copied(part(start, length).1, folder.path()).unwrap(), expected);
        }
    }

    #[test]
    fn a_part_that_is_cut_off_is_an_error() {
        let (folder, mut content) = part(8, 4);
        let error = content.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(copied(part(8, 4).1, folder.path()).is_err());
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
