//! Calls about files: who owns them, and new ones.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::ids::{Ids, KEEP};
use super::kernel::{self, bytes};
use super::mark::{self, Owner};
use super::task::{Place, Task};

/// How a call is answered.
#[derive(Debug)]
pub(super) enum Reply {
    /// By the kernel.
    Kernel,
    /// With this.
    Value(i64),
    /// It has been.
    Done,
}

type Answer = Result<Reply, Errno>;

/// stat and its relatives, into the memory at `buffer`. What is root's the kernel tells.
pub(super) fn stat(task: &Task<'_>, place: &Place, buffer: u64) -> Answer {
    let Some((user, group)) = task.marks.read(&place.path, place.follow) else { return Ok(Reply::Kernel) };
    let mut stat = kernel::stat(&place.path, place.follow)?;
    (stat.st_uid, stat.st_gid) = (user, group);
    if is_empty_file(stat.st_mode, stat.st_size)
        && let Some((kind, major, minor)) = mark::device(&place.path, place.follow)
    {
        stat.st_mode = stat.st_mode & 0o7777 | kind.as_raw_mode();
        stat.st_rdev = rustix::fs::makedev(major, minor);
    }
    task.write(buffer, bytes(&stat))?;
    Ok(Reply::Value(0))
}

/// statx: arguments as they came.
pub(super) fn statx(task: &Task<'_>, place: &Place) -> Answer {
    let Some((user, group)) = task.marks.read(&place.path, place.follow) else { return Ok(Reply::Kernel) };
    let (flags, mask, buffer) = (task.descriptor(2), task.number(3), task.call.args[4]);
    let follow = if place.follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    let kept = flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH);
    let mut stat = kernel::statx(&place.path, kept | follow, mask)?;
    (stat.stx_uid, stat.stx_gid) = (user, group);
    if is_empty_file(stat.stx_mode.into(), stat.stx_size as i64)
        && let Some((kind, major, minor)) = mark::device(&place.path, place.follow)
    {
        stat.stx_mode = stat.stx_mode & 0o7777 | kind.as_raw_mode() as u16;
        (stat.stx_rdev_major, stat.stx_rdev_minor) = (major, minor);
    }
    task.write(buffer, bytes(&stat))?;
    Ok(Reply::Value(0))
}

fn is_empty_file(mode: u32, size: i64) -> bool {
    FileType::from_raw_mode(mode) == FileType::RegularFile && size == 0
}

/// chown and its relatives.
pub(super) fn chown(task: &Task<'_>, ids: &Ids, place: &Place, user: u32, group: u32) -> Answer {
    let file = match open(place) {
        // The supervisor has no /proc/self in there. Nobody asks for the owner of a stream later.
        Err(Errno::NOENT) if is_own_stream(place) => return Ok(Reply::Value(0)),
        result => result?,
    };
    task.still_waits()?;
    let now = task.marks.read(&place.path, place.follow).unwrap_or_default();
    if !ids.may_give(now, user, group) {
        return Err(Errno::PERM);
    }
    // The kernel does what comes with it: set-id bits and capabilities go, a lower file is copied up, and what is
    // read-only or somebody else's is refused.
    let root = |id: u32| (id != KEEP).then_some(0);
    let (uid, gid) = (root(user).map(Uid::from_raw), root(group).map(Gid::from_raw));
    rustix::fs::chownat(&file, c"", uid, gid, AtFlags::EMPTY_PATH)?;
    let or = |id: u32, now: u32| if id == KEEP { now } else { id };
    task.marks.write(&file, (or(user, now.0), or(group, now.1)))?;
    Ok(Reply::Value(0))
}

fn open(place: &Place) -> Result<OwnedFd, Errno> {
    let follow = if place.follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    rustix::fs::openat(CWD, &*place.path, OFlags::PATH | OFlags::CLOEXEC | follow, Mode::empty())
}

fn is_own_stream(place: &Place) -> bool {
    let path = place.path.as_bytes();
    [&b"/dev/std"[..], b"/dev/fd/", b"/proc/self/fd/", b"/proc/thread-self/fd/"]
        .iter()
        .any(|start| path.starts_with(start))
}

/// The owner of what this process makes at `place`, which is `inside` a directory or that directory itself.
fn new_owner(task: &Task<'_>, ids: &Ids, directory: &std::ffi::CStr) -> Owner {
    let own = (ids.user.files, ids.group.files);
    match kernel::stat(directory, true) {
        Ok(stat) if stat.st_mode & libc::S_ISGID != 0 => {
            (own.0, task.marks.read(directory, true).unwrap_or_default().1)
        }
        _ => own,
    }
}

/// open with O_CREAT or O_TMPFILE.
pub(super) fn open_new(task: &Task<'_>, ids: &Ids, place: &Place, flags: u32, mode: u32) -> Answer {
    let flags = OFlags::from_bits_retain(flags);
    if flags.contains(OFlags::PATH) {
        // Nothing is made, whatever else the flags say.
        return Ok(Reply::Kernel);
    }
    let nameless = flags.contains(OFlags::TMPFILE);
    let directory = if nameless { place.path.clone() } else { place.parent() };
    let owner = new_owner(task, ids, &directory);
    if owner == (0, 0) || (!nameless && kernel::stat(&place.path, true).is_ok()) {
        return Ok(Reply::Kernel);
    }
    let exclusive = if nameless { OFlags::empty() } else { OFlags::EXCL };
    rustix::process::umask(task.mask());
    task.still_waits()?;
    let mode = Mode::from_raw_mode(mode & 0o7777);
    let file = match rustix::fs::openat(CWD, &*place.path, flags | exclusive | OFlags::CLOEXEC, mode) {
        Ok(file) => file,
        // A link to nowhere, another process was faster, /proc/self: the kernel does it, or says why not.
        Err(_) => return Ok(Reply::Kernel),
    };
    task.marks.write(&file, owner)?;
    task.listener.answer_file(task.call.id, file.as_fd(), flags.contains(OFlags::CLOEXEC))?;
    Ok(Reply::Done)
}

/// mkdir, symlink, and mknod of what is no device. `make` makes it.
pub(super) fn make(
    task: &Task<'_>,
    ids: &Ids,
    place: &Place,
    make: impl FnOnce(&Place) -> Result<(), Errno>,
) -> Answer {
    let owner = new_owner(task, ids, &place.parent());
    if owner == (0, 0) {
        return Ok(Reply::Kernel);
    }
    rustix::process::umask(task.mask());
    task.still_waits()?;
    if make(place).is_err() {
        // It will say why not.
        return Ok(Reply::Kernel);
    }
    task.marks.write(open(place)?, owner)?;
    Ok(Reply::Value(0))
}

/// mknod. A device becomes an empty file that stands in for it.
pub(super) fn make_node(task: &Task<'_>, ids: &Ids, place: &Place, mode: u32, number: u32) -> Answer {
    let permissions = Mode::from_raw_mode(mode & 0o7777);
    let letter = match FileType::from_raw_mode(mode) {
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        kind => {
            let kind = if mode & libc::S_IFMT == 0 { FileType::RegularFile } else { kind };
            return make(task, ids, place, |place| {
                rustix::fs::mknodat(CWD, &*place.path, kind, permissions, 0)
            });
        }
    };
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
    // A device 0:0 is how overlayfs says that there is nothing.
    if !ids.privileged() || (letter, major, minor) == ('c', 0, 0) {
        return Err(Errno::PERM);
    }
    let owner = new_owner(task, ids, &place.parent());
    rustix::process::umask(task.mask());
    task.still_waits()?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, &*place.path, flags, permissions)?;
    mark::write_device(&file, &format!("{letter} {major}:{minor}"))?;
    task.marks.write(&file, owner)?;
    Ok(Reply::Value(0))
}

/// The ids that the program at `place` brings along: those of a set-id file that the kernel would mind.
pub(super) fn brought(task: &Task<'_>, place: &Place) -> (Option<u32>, Option<u32>) {
    let Ok(stat) = kernel::stat(&place.path, true) else { return (None, None) };
    let user = stat.st_mode & libc::S_ISUID != 0;
    let group = stat.st_mode & (libc::S_ISGID | libc::S_IXGRP) == libc::S_ISGID | libc::S_IXGRP;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !(user || group) || !is_file || !is_binary(place) || task.status("NoNewPrivs").as_deref() == Some("1")
    {
        return (None, None);
    }
    let owner = task.marks.read(&place.path, true).unwrap_or_default();
    (user.then_some(owner.0), group.then_some(owner.1))
}

/// Scripts bring nothing.
fn is_binary(place: &Place) -> bool {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mut start = [0; 4];
    let read = rustix::fs::openat(CWD, &*place.path, flags, Mode::empty())
        .and_then(|file| rustix::io::read(&file, &mut start));
    read == Ok(4) && start == *b"\x7fELF"
}
