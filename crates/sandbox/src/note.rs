//! Memory that two processes share, for a last word: leaving it there takes no system call.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};

/// More is not left: a few words, and a path as numbers.
pub(crate) const NOTE_BYTES: usize = 32 << 10;

/// The side of who may leave one.
pub(crate) struct Note {
    file: OwnedFd,
    memory: NonNull<u8>,
}

impl Note {
    pub(crate) fn new() -> io::Result<Self> {
        let file = memfd_create("note", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, NOTE_BYTES as u64)?;
        let (access, shared) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping at a place of the kernel's choice; it stays until this process ends or executes a program.
        let memory = unsafe { mmap(std::ptr::null_mut(), NOTE_BYTES, access, shared, &file, 0) }?;
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { file, memory })
    }

    /// What the other side needs to read it.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Leaves this instead of what was left before; what is too long is cut off.
    pub(crate) fn leave(&self, text: &[u8]) {
        let length = text.len().min(NOTE_BYTES - 1);
        // SAFETY: the mapping has NOTE_BYTES, and nothing else in this process refers to it.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), self.memory.as_ptr(), length);
            self.memory.add(length).write(0);
        }
    }
}

/// What was left, up to the first zero; empty when nothing was.
pub(crate) fn read(file: OwnedFd) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::from(file).take(NOTE_BYTES as u64).read_to_end(&mut text)?;
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    text.truncate(end);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_read() {
        let note = Note::new().unwrap();
        let file = || note.file().try_clone_to_owned().unwrap();
        assert_eq!(read(file()).unwrap(), b"");
        rustix::fs::seek(&note.file, rustix::fs::SeekFrom::Start(0)).unwrap();
        note.leave(b"a longer one");
        note.leave(b"gone");
        assert_eq!(read(file()).unwrap(), b"gone");
        rustix::fs::seek(&note.file, rustix::fs::SeekFrom::Start(0)).unwrap();
        note.leave(&[b'x'; NOTE_BYTES]);
        assert_eq!(read(file()).unwrap().len(), NOTE_BYTES - 1);
    }
}
