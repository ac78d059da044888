//! This very program, to execute it again in another role.
//!
//! Opened through /proc/self/exe, so an upgrade that replaces the file while galley runs cannot mix two versions. A
//! process of a sandbox can reach the program of its pid 1 by /proc/1/exe until exec; there the file is seen through a
//! read-only mount, so that it cannot be overwritten from inside (CVE-2019-5736 in runc).

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mount::OpenTreeFlags;

const OWN_PROGRAM: &str = "/proc/self/exe";

/// The running program as a file that can be executed.
pub(crate) fn pinned() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(OWN_PROGRAM, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// The running program as a file that can be executed and never written: behind a read-only mount of its own, else
/// (the file is not in reach from this mount namespace, or was deleted) a sealed copy in memory.
pub(crate) fn pinned_readonly() -> io::Result<OwnedFd> {
    readonly_mount(Path::new(OWN_PROGRAM)).or_else(|_| readonly_mount_by_name()).or_else(|_| sealed_copy())
}

fn readonly_mount(path: &Path) -> io::Result<OwnedFd> {
    const RDONLY: u64 = 1;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = rustix::mount::open_tree(CWD, path, flags)?;
    crate::sys::add_mount_flags(mount.as_fd(), RDONLY, false)?;
    Ok(mount)
}

/// Inside a user namespace the running file belongs to the mounts outside; its name leads to the same file inside.
fn readonly_mount_by_name() -> io::Result<OwnedFd> {
    let name = rustix::fs::readlink(OWN_PROGRAM, Vec::new())?;
    let mount = readonly_mount(Path::new(OsStr::from_bytes(name.as_bytes())))?;
    let (running, found) = (rustix::fs::stat(OWN_PROGRAM)?, rustix::fs::fstat(&mount)?);
    if (running.st_dev, running.st_ino) != (found.st_dev, found.st_ino) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(mount)
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = std::fs::File::from(rustix::fs::memfd_create("galley", flags)?);
    // By the kernel, which knows the standard type of files.
    io::copy(&mut fs_err::File::open(OWN_PROGRAM)?.into_file(), &mut copy)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    Ok(copy.into())
}
