//! Removing whole directory trees, whatever their modes, depth and names.

use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use crate::{
    StoreError,
    error::{Absent, At},
    files::listing,
};

/// Directories deeper than this are moved up first, so that open handles do not run out.
const DEPTH_MAX: usize = 64;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes `path` and all below it; nothing there is fine. Links are removed, never followed.
pub fn remove_tree(path: &Path) -> Result<(), StoreError> {
    let failed = |error: Errno| Err::<(), _>(error).at("remove", path);
    let Some(root) = open_directory(rustix::fs::CWD, path).absent().or_else(|error| match error {
        Errno::NOTDIR | Errno::LOOP => Ok(None),
        error => failed(error).map(|()| None),
    })?
    else {
        return rustix::fs::unlink(path).absent().map(drop).or_else(failed);
    };
    let mut lifted = 0;
    loop {
        let before = lifted;
        empty(root.as_fd(), root.as_fd(), 0, &mut lifted).or_else(failed)?;
        if lifted == before {
            break;
        }
    }
    rustix::fs::rmdir(path).absent().map(drop).or_else(failed)
}

/// Removes `name` in `parent` and all below it.
pub(crate) fn remove_at(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let mut lifted = 0;
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        other => return other.absent().map(drop),
    }
    let directory = open_directory(parent, name)?;
    loop {
        let before = lifted;
        empty(directory.as_fd(), directory.as_fd(), 0, &mut lifted)?;
        if lifted == before {
            break;
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Opens a directory, giving ourselves the right to when only its mode is in the way.
fn open_directory<P: rustix::path::Arg + Copy>(parent: impl AsFd, name: P) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(0o700), AtFlags::empty())?;
            rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty())
        }
        other => other,
    }
}

fn empty(
    root: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    depth: usize,
    lifted: &mut u64,
) -> Result<(), Errno> {
    let names = listing::names(directory)?;
    if !names.is_empty() {
        make_writable(directory)?;
    }
    for (name, kind) in names.iter() {
        let unlinked = if kind == FileType::Directory {
            Err(Errno::ISDIR)
        } else {
            rustix::fs::unlinkat(directory, name, AtFlags::empty())
        };
        match unlinked {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) if depth >= DEPTH_MAX => lift(root, directory, name, lifted)?,
            Err(Errno::ISDIR | Errno::PERM) => {
                let child = open_directory(directory, name)?;
                empty(root, child.as_fd(), depth + 1, lifted)?;
                // A lifted directory is gone from here already, so this one is empty in any case.
                rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A directory without write permission keeps what it holds, for everybody but root.
fn make_writable(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    let mode = rustix::fs::fstat(directory)?.st_mode;
    if mode & 0o700 == 0o700 {
        return Ok(());
    }
    match rustix::fs::fchmod(directory, Mode::from_raw_mode(0o700)) {
        Err(Errno::PERM) => Ok(()),
        other => other,
    }
}

/// Moves a deep directory to the top, where the next round removes it.
fn lift(root: BorrowedFd<'_>, directory: BorrowedFd<'_>, name: &CStr, lifted: &mut u64) -> Result<(), Errno> {
    let to = CString::new(format!(".galley-lifted-{lifted}")).map_err(|_| Errno::INVAL)?;
    *lifted += 1;
    rustix::fs::renameat(directory, name, root, &*to)
}
