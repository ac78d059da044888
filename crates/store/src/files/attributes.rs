//! Mode, owner, time and extended attributes of files on disk.

use std::{ffi::CStr, os::fd::BorrowedFd};

use galley_oci::{Meta, Time};
use rustix::{
    fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid},
    io::Errno,
};

use super::{owner, xattrs};

/// Gives an open file or directory everything, in the order that works: a change of owner clears set-id bits and
/// capabilities, and everything else changes no time but the last.
pub(crate) fn set_open(file: BorrowedFd<'_>, meta: &Meta) -> Result<(), Errno> {
    if owner::is_marked() {
        owner::mark(file, (meta.uid, meta.gid))?;
    } else {
        rustix::fs::fchown(file, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(u32::from(meta.mode)))?;
    set_rest(file, meta)
}

/// What [`set_open`] sets but owner and mode, for a file that was made with them.
pub(crate) fn set_rest(file: BorrowedFd<'_>, meta: &Meta) -> Result<(), Errno> {
    if let Some(attributes) = &meta.xattrs {
        xattrs::write(file, attributes)?;
    }
    rustix::fs::futimens(file, &timestamps(meta.mtime))
}

/// Owner and mode that new files get by themselves. Setting them again would cost each file two transactions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inherited {
    uid: u32,
    gid: u32,
    /// The permission bits that the process may give away: not those of its umask.
    allowed: u32,
}

impl Inherited {
    /// As they are below `directory`, which this process made with mode 0777.
    pub(crate) fn below(directory: BorrowedFd<'_>) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(directory)?;
        Ok(Self { uid: stat.st_uid, gid: stat.st_gid, allowed: stat.st_mode & 0o777 })
    }

    /// Whether a file that is made with the mode of `meta` has its mode and owner then.
    pub(crate) fn gives(self, meta: &Meta) -> bool {
        (meta.uid, meta.gid) == (self.uid, self.gid) && u32::from(meta.mode) & !self.allowed == 0
    }
}

/// Gives a file that cannot be opened without effect (a device, a named pipe) owner, mode and time.
pub(crate) fn set_special(directory: BorrowedFd<'_>, name: &CStr, meta: &Meta) -> Result<(), Errno> {
    set_owner(directory, name, meta)?;
    rustix::fs::chmodat(directory, name, Mode::from_raw_mode(u32::from(meta.mode)), AtFlags::empty())?;
    set_time(directory, name, meta.mtime)
}

/// Gives a symbolic link itself owner and time; it has no mode.
pub(crate) fn set_link(directory: BorrowedFd<'_>, name: &CStr, meta: &Meta) -> Result<(), Errno> {
    set_owner(directory, name, meta)?;
    set_time(directory, name, meta.mtime)
}

/// Sets the time of a file, of a link itself.
pub(crate) fn set_time(directory: BorrowedFd<'_>, name: &CStr, time: Time) -> Result<(), Errno> {
    rustix::fs::utimensat(directory, name, &timestamps(time), AtFlags::SYMLINK_NOFOLLOW)
}

fn set_owner(directory: BorrowedFd<'_>, name: &CStr, meta: &Meta) -> Result<(), Errno> {
    if owner::is_marked() {
        return owner::mark_at(directory, name, (meta.uid, meta.gid));
    }
    let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
    rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// `time` as modification time, the time of access left alone.
pub(crate) fn timestamps(time: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) },
    }
}
