//! The process that makes a call: its arguments, its memory, its paths.
//!
//! The supervisor is in the mount namespace of the sandbox, with the same root, and its working directory is a /proc in
//! which the process can be seen. So `PID/cwd/` and `PID/fd/N/` before a path mean there what the path means to the
//! process, and no path leads further than the process itself gets.

use std::ffi::CString;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::kernel;
use super::mark::Marks;
use crate::seccomp::{Call, Listener};

/// The kernel's limit, with the zero at the end.
const PATH_MAX: usize = 4096;
/// Reading stops at each: what is behind it may not be there.
const PAGE_BYTES: usize = 4096;

/// A call and where its answer goes.
pub(super) struct Task<'a> {
    pub(super) listener: &'a Listener,
    pub(super) marks: &'a Marks,
    pub(super) call: Call,
}

/// What a path of a process means.
pub(super) struct Place {
    /// Seen from the supervisor.
    pub(super) path: CString,
    /// Whether a link at its end is followed.
    pub(super) follow: bool,
}

impl Task<'_> {
    /// An argument that is a number of 32 bits.
    pub(super) const fn number(&self, index: usize) -> u32 {
        self.call.args[index] as u32
    }

    /// An argument that is a descriptor.
    pub(super) const fn descriptor(&self, index: usize) -> i32 {
        self.call.args[index] as i32
    }

    /// An argument that is a string.
    pub(super) fn text(&self, index: usize) -> Result<Vec<u8>, Errno> {
        let (mut text, mut address) = (Vec::new(), self.call.args[index]);
        let mut buffer = [0; PAGE_BYTES];
        while text.len() < PATH_MAX {
            // Most paths are short, and end on the page they begin on.
            let to_page_end = PAGE_BYTES - (address as usize % PAGE_BYTES);
            let wanted = to_page_end.min(if text.is_empty() { 256 } else { PAGE_BYTES });
            let read = kernel::read_memory(self.call.pid, address, &mut buffer[..wanted])?;
            let part = &buffer[..read];
            if let Some(end) = part.iter().position(|&byte| byte == 0) {
                text.extend_from_slice(&part[..end]);
                return if text.len() < PATH_MAX { Ok(text) } else { Err(Errno::NAMETOOLONG) };
            }
            if read == 0 {
                return Err(Errno::FAULT);
            }
            text.extend_from_slice(part);
            address = address.wrapping_add(read as u64);
        }
        Err(Errno::NAMETOOLONG)
    }

    /// Memory at an address.
    pub(super) fn memory(&self, address: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let read = kernel::read_memory(self.call.pid, address, bytes)?;
        if read == bytes.len() { Ok(()) } else { Err(Errno::FAULT) }
    }

    /// Writes to memory at an address.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.still_waits()?;
        kernel::write_memory(self.call.pid, address, bytes)
    }

    /// Whatever was found out by the number of the process was about this process: the number was not given to another.
    pub(super) fn still_waits(&self) -> Result<(), Errno> {
        if self.listener.waits(self.call.id) { Ok(()) } else { Err(Errno::SRCH) }
    }

    /// The open file `descriptor` itself.
    pub(super) fn file(&self, descriptor: i32) -> Place {
        let pid = self.call.pid;
        let path = match descriptor {
            libc::AT_FDCWD => format!("{pid}/cwd"),
            number => format!("{pid}/fd/{number}"),
        };
        Place { path: CString::new(path).unwrap_or_default(), follow: true }
    }

    /// What `path` means to the process, from the open directory `descriptor`. An empty one is refused, as by the kernel.
    pub(super) fn place(&self, descriptor: i32, path: &[u8], follow: bool) -> Result<Place, Errno> {
        let mut whole = match path.first() {
            None => return Err(Errno::NOENT),
            Some(b'/') => Vec::new(),
            Some(_) => [self.file(descriptor).path.as_bytes(), b"/"].concat(),
        };
        whole.extend_from_slice(path);
        if whole.len() >= PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        Ok(Place { path: CString::new(whole).map_err(|_| Errno::INVAL)?, follow })
    }

    /// The same for the calls that take AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH.
    pub(super) fn place_with(&self, descriptor: i32, path: &[u8], flags: i32) -> Result<Place, Errno> {
        if path.is_empty() && flags & libc::AT_EMPTY_PATH != 0 {
            return Ok(self.file(descriptor));
        }
        self.place(descriptor, path, flags & libc::AT_SYMLINK_NOFOLLOW == 0)
    }

    /// A line of the process's status.
    pub(super) fn status(&self, name: &str) -> Option<String> {
        let path = format!("{}/status", self.call.pid);
        let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut buffer = [0; 4096];
        let length = rustix::io::read(&file, &mut buffer).ok()?;
        let text = String::from_utf8_lossy(&buffer[..length]);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.trim().to_owned())
    }

    /// Which permissions its new files do not get.
    pub(super) fn mask(&self) -> Mode {
        let text = self.status("Umask").unwrap_or_default();
        Mode::from_raw_mode(u32::from_str_radix(&text, 8).unwrap_or(0o022))
    }
}

impl Place {
    /// The directory that it is in.
    pub(super) fn parent(&self) -> CString {
        let path = self.path.as_bytes();
        let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
        let parent = match path[..end].iter().rposition(|&byte| byte == b'/') {
            Some(0) | None => &b"/"[..],
            Some(slash) => &path[..slash],
        };
        CString::new(parent).unwrap_or_default()
    }
}
