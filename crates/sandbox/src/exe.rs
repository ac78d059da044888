//! This very program, to execute it again in another role.
//!
//! Opened through /proc/self/exe, so an upgrade that replaces the file while galley runs cannot mix two versions. A
//! process of a sandbox can reach the program of its pid 1 by /proc/1/exe until exec; there the file is seen through a
//! read-only mount, so that it cannot be overwritten from inside (CVE-2019-5736 in runc).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::OpenTreeFlags;

const OWN_PROGRAM: &str = "/proc/self/exe";

/// The running program as a file that can be executed.
pub(crate) fn pinned() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(OWN_PROGRAM, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// The running program behind a read-only mount of its own; needs the right to mount.
pub(crate) fn pinned_readonly() -> io::Result<OwnedFd> {
    const RDONLY: u64 = 1;
    let mount = rustix::mount::open_tree(
        CWD,
        OWN_PROGRAM,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )?;
    crate::sys::add_mount_flags(mount.as_fd(), RDONLY, false)?;
    Ok(mount)
}
