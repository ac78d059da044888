//! A /dev of files: device nodes where they may be made, and pipes under the names of the streams.

use std::{
    io::{self, Write},
    os::fd::OwnedFd,
    path::Path,
};

use fs_err as fs;
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, makedev},
    io::Errno,
};

/// The devices that every program may count on.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
/// How much a file has that stands in for an endless device.
const STAND_IN_BYTES: usize = 1 << 20;

/// Both ends of a pipe: for reading, for writing.
pub(crate) type Pipe = (OwnedFd, OwnedFd);

/// What the standard streams of a program are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streams {
    /// Nothing to read, and two pipes.
    Empty,
    /// Something to read that has no name, and two pipes.
    Given,
    /// The terminal that it controls.
    Terminal,
}

/// Fills the new directory `dev`; gives the pipes for the output and the errors of a program without a terminal, whose first
/// user and group are `owner`.
pub(crate) fn make(dev: &Path, owner: (u32, u32), streams: Streams) -> io::Result<Option<[Pipe; 2]>> {
    fs::create_dir(dev)?;
    set_mode(dev, 0o755)?;
    for (name, major, minor) in DEVICES {
        make_device(&dev.join(name), name, (major, minor))?;
    }
    fs::create_dir(dev.join("shm"))?;
    set_mode(&dev.join("shm"), 0o1777)?;
    if streams == Streams::Terminal {
        let link = |name: &&str| fs::os::unix::fs::symlink("tty", dev.join(name));
        ["stdin", "stdout", "stderr", "console"].iter().try_for_each(link)?;
        return Ok(None);
    }
    if streams == Streams::Empty {
        fs::os::unix::fs::symlink("null", dev.join("stdin"))?;
    }
    Ok(Some([pipe(&dev.join("stdout"), owner)?, pipe(&dev.join("stderr"), owner)?]))
}

/// A named pipe is what `/dev/stdout` is for a program when there is no /proc: opened again, it is the same one.
fn pipe(path: &Path, (uid, gid): (u32, u32)) -> io::Result<Pipe> {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
    fs::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    // Without waiting for a writer, but reading waits.
    let read = rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::fcntl_setfl(&read, OFlags::empty())?;
    let write = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((read, write))
}

fn make_device(path: &Path, name: &str, (major, minor): (u32, u32)) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0o666);
    match rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(major, minor)) {
        Ok(()) if name == "tty" || opens(path) => set_mode(path, 0o666),
        Ok(()) => fs::remove_file(path).and_then(|()| stand_in(path, name)),
        Err(Errno::PERM | Errno::ACCESS) => stand_in(path, name),
        Err(error) => Err(error.into()),
    }
}

/// Whether a device file works: the file system, or the container, may not let it.
fn opens(path: &Path) -> bool {
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()).is_ok()
}

/// A file in place of a device, which does for most of what programs want of it.
fn stand_in(path: &Path, name: &str) -> io::Result<()> {
    let mut bytes = vec![0; STAND_IN_BYTES];
    match name {
        "null" => bytes.clear(),
        "zero" => {}
        "random" | "urandom" => fill(&mut bytes)?,
        _ => return Ok(()),
    }
    fs::File::create_new(path)?.write_all(&bytes)?;
    set_mode(path, 0o666)
}

fn fill(mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty())?;
        bytes = &mut bytes[count..];
    }
    Ok(())
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}
