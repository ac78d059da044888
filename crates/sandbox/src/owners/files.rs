//! Calls about files: who owns them, and new ones.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::ids::{Ids, KEEP};
use super::kernel::{self, bytes};
use super::mark::{self, Owner};
use super::task::{Place, Right, Task};

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

/// chown and its relatives. What is wrong with a path the kernel says: it looks at the new owner after everything else.
pub(super) fn chown(task: &Task<'_>, ids: &Ids, place: &Place, user: u32, group: u32) -> Answer {
    let file = match open(place) {
        // The supervisor has no /proc/self in there. Nobody asks for the owner of a stream later.
        Err(Errno::NOENT) if is_own_stream(place) => return Ok(Reply::Value(0)),
        Err(_) => return Ok(Reply::Kernel),
        Ok(file) => file,
    };
    let privileged = ids.gives_files() && task.has(Right::Chown);
    task.still_waits()?;
    // Who may give anything to anybody, and says both, is not asked what it was.
    let known = privileged && user != KEEP && group != KEEP;
    let now = if known { (0, 0) } else { task.marks.read_open(&file).unwrap_or_default() };
    if !privileged && !ids.may_give(now, user, group) {
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

/// Where something is made: an open directory, so that it stays the one that the process has meant.
struct Room {
    directory: OwnedFd,
    name: CString,
    /// The owner of what this process makes there.
    owner: Owner,
}

impl Room {
    /// `None` where the kernel makes the same, of root, and where it will say what is wrong.
    fn of_other_than_root(task: &Task<'_>, ids: &Ids, (directory, name): (CString, CString)) -> Option<Self> {
        let is_root = (ids.user.files, ids.group.files) == (0, 0);
        if is_root && kernel::stat(&directory, true).ok()?.st_mode & libc::S_ISGID == 0 {
            // Nearly always, and cheaper.
            return None;
        }
        Self::of(task, ids, (directory, name)).filter(|room| room.owner != (0, 0))
    }

    /// `None` where the kernel will say what is wrong.
    fn of(task: &Task<'_>, ids: &Ids, (directory, name): (CString, CString)) -> Option<Self> {
        let own = (ids.user.files, ids.group.files);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, &*directory, flags, Mode::empty()).ok()?;
        let hands_on = rustix::fs::fstat(&directory).ok()?.st_mode & libc::S_ISGID != 0;
        let group = if hands_on { task.marks.read_open(&directory).unwrap_or_default().1 } else { own.1 };
        Some(Self { directory, name, owner: (own.0, group) })
    }

    /// Has `make` make it there, with the process's own mask and no more rights than a sandbox has.
    fn make<T>(&self, task: &Task<'_>, make: impl FnOnce(&Self) -> Result<T, Errno>) -> Result<T, Errno> {
        rustix::process::umask(task.mask());
        task.still_waits()?;
        make(self)
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
    let at = if nameless { (place.path.clone(), c".".to_owned()) } else { place.split() };
    let Some(room) = Room::of_other_than_root(task, ids, at) else { return Ok(Reply::Kernel) };
    let exclusive = if nameless { OFlags::empty() } else { OFlags::EXCL };
    let mode = Mode::from_raw_mode(mode & 0o7777);
    let made = room.make(task, |room| {
        rustix::fs::openat(&room.directory, &*room.name, flags | exclusive | OFlags::CLOEXEC, mode)
    });
    // It is there, a link to nowhere, another process was faster, /proc/self: the kernel does it, or says why not.
    let Ok(file) = made else { return Ok(Reply::Kernel) };
    task.marks.write(&file, room.owner)?;
    task.listener.answer_file(task.call.id, file.as_fd(), flags.contains(OFlags::CLOEXEC))?;
    Ok(Reply::Done)
}

/// mkdir, symlink, and mknod of what is no device. `make` makes it, in an open directory.
pub(super) fn make(
    task: &Task<'_>,
    ids: &Ids,
    place: &Place,
    make: impl FnOnce(BorrowedFd<'_>, &CStr) -> Result<(), Errno>,
) -> Answer {
    let Some(room) = Room::of_other_than_root(task, ids, place.split()) else { return Ok(Reply::Kernel) };
    if room.make(task, |room| make(room.directory.as_fd(), &room.name)).is_err() {
        // It will say why not.
        return Ok(Reply::Kernel);
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&room.directory, &*room.name, flags, Mode::empty())?;
    task.marks.write(file, room.owner)?;
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
            return make(task, ids, place, |directory, name| {
                rustix::fs::mknodat(directory, name, kind, permissions, 0)
            });
        }
    };
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
    // A device 0:0 is how overlayfs says that there is nothing.
    if !(ids.privileged() && task.has(Right::MakeNode)) || (letter, major, minor) == ('c', 0, 0) {
        // So says the kernel, after it has looked at the path.
        return Ok(Reply::Kernel);
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let Some(room) = Room::of(task, ids, place.split()) else { return Ok(Reply::Kernel) };
    let made = room.make(task, |room| rustix::fs::openat(&room.directory, &*room.name, flags, permissions));
    let Ok(file) = made else { return Ok(Reply::Kernel) };
    task.marks.write_device(&file, &format!("{letter} {major}:{minor}"))?;
    task.marks.write(&file, room.owner)?;
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
