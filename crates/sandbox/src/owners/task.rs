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

/// A right of root's that emulated calls ask for, by its number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Right {
    Chown = 0,
    SetGroup = 6,
    SetUser = 7,
    MakeNode = 27,
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
        let memory = kernel::Memory::of(self.call.pid)?;
        self.still_waits()?;
        memory.write(address, bytes)
    }

    /// Whether a process that is privileged by its identity has this right as well: it may have been dropped, or never
    /// given.
    pub(super) fn has(&self, right: Right) -> bool {
        kernel::capabilities(self.call.pid) & 1 << right as u32 != 0
    }

    /// Whatever was found out by the number of the process, and opened, was about this process: the number was not given to
    /// another. What changes something uses only what was opened before.
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

    /// Whether a descriptor is an open file, and not only a place.
    pub(super) fn is_open_file(&self, descriptor: i32) -> bool {
        let info = format!("{}/fdinfo/{descriptor}", self.call.pid);
        let flags = read_line(&info, "flags").and_then(|flags| i32::from_str_radix(&flags, 8).ok());
        descriptor >= 0 && flags.is_some_and(|flags| flags & libc::O_PATH == 0)
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
        read_line(&format!("{}/status", self.call.pid), name)
    }

    /// Which permissions its new files do not get.
    pub(super) fn mask(&self) -> Mode {
        let text = self.status("Umask").unwrap_or_default();
        Mode::from_raw_mode(u32::from_str_radix(&text, 8).unwrap_or(0o022))
    }
}

/// The value of a line `name:` of a short file.
fn read_line(path: &str, name: &str) -> Option<String> {
    let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut buffer = [0; 4096];
    let length = rustix::io::read(&file, &mut buffer).ok()?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned())
}

impl Place {
    /// The directory that it is in, and its name there.
    pub(super) fn split(&self) -> (CString, CString) {
        let path = self.path.as_bytes();
        let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
        let (parent, name) = match path[..end].iter().rposition(|&byte| byte == b'/') {
            _ if end == 0 => (&b"/"[..], &b"."[..]),
            None => (&b"."[..], path),
            Some(0) => (&b"/"[..], &path[1..]),
            Some(slash) => (&path[..slash], &path[slash + 1..]),
        };
        let string = |bytes: &[u8]| CString::new(bytes).unwrap_or_default();
        (string(parent), string(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_name_in_a_directory() {
        let split = |path: &str| {
            let (parent, name) = Place { path: CString::new(path).unwrap(), follow: false }.split();
            (parent.into_string().unwrap(), name.into_string().unwrap())
        };
        for (path, parent, name) in [
            ("/", "/", "."),
            ("//", "/", "."),
            ("/a", "/", "a"),
            ("/a/", "/", "a/"),
            ("//a", "/", "a"),
            ("/a/b//", "/a", "b//"),
            ("7/cwd/a", "7/cwd", "a"),
            ("7/cwd/..", "7/cwd", ".."),
        ] {
            assert_eq!(split(path), (parent.to_owned(), name.to_owned()), "{path}");
        }
    }
}
