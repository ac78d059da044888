//! Paths inside the new root, resolved by the kernel so that nothing leads out of it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::outcome::{MadeMountPoint, MountPointKind};

/// Symbolic links followed in one path, as in the kernel.
const LINKS_MAX: usize = 40;
/// Tries of a look-up that meets a concurrent rename.
const RACES_MAX: usize = 128;

/// Opens what is at `path` (for its place, not its content), following links inside `root` only.
pub(crate) fn open(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    Ok(lookup(root, path, OFlags::empty())?)
}

/// The same for what may be missing.
pub(crate) fn find(root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<OwnedFd>> {
    match lookup(root, path, OFlags::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        result => Ok(Some(result?)),
    }
}

fn lookup(root: BorrowedFd<'_>, path: &Path, more: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC | more;
    for _ in 0..RACES_MAX {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens the mount point at `path`, making it and its parents where they are missing.
///
/// A symbolic link to something missing is followed, and its target made: images have /etc/resolv.conf as link into
/// the empty /run.
pub(crate) fn open_or_make(
    root: BorrowedFd<'_>,
    path: &Path,
    kind: MountPointKind,
    made: &mut Vec<MadeMountPoint>,
) -> io::Result<OwnedFd> {
    match lookup(root, path, OFlags::empty()) {
        Err(Errno::NOENT) => Ok(Maker { root, resolved: PathBuf::new(), links: 0, made }.make(path, kind)?),
        result => Ok(result?),
    }
}

/// Walks a path by hand, one component after the other; what it has resolved is free of links and "..".
struct Maker<'a> {
    root: BorrowedFd<'a>,
    resolved: PathBuf,
    links: usize,
    made: &'a mut Vec<MadeMountPoint>,
}

impl Maker<'_> {
    fn make(&mut self, path: &Path, kind: MountPointKind) -> Result<OwnedFd, Errno> {
        let mut rest = components(path);
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                self.resolved.pop();
                continue;
            }
            let kind = if rest.is_empty() { kind } else { MountPointKind::Directory };
            if let Some(target) = self.step(&name, kind)? {
                self.follow(&target, &mut rest)?;
            }
        }
        lookup(self.root, &self.resolved, OFlags::NOFOLLOW)
    }

    /// Enters `name`, making it if it is missing; gives the target when it is a link.
    fn step(&mut self, name: &OsStr, kind: MountPointKind) -> Result<Option<OsString>, Errno> {
        let parent = lookup(self.root, &self.resolved, OFlags::NOFOLLOW)?;
        let path = self.resolved.join(name);
        match lookup(self.root, &path, OFlags::NOFOLLOW) {
            Ok(found) if is_link(&found)? => {
                let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
                return Ok(Some(OsStr::from_bytes(target.as_bytes()).to_owned()));
            }
            Ok(_) => {}
            Err(Errno::NOENT) => self.create(&parent, name, &path, kind)?,
            Err(error) => return Err(error),
        }
        self.resolved = path;
        Ok(None)
    }

    fn follow(&mut self, target: &OsStr, rest: &mut VecDeque<OsString>) -> Result<(), Errno> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP);
        }
        if target.as_bytes().starts_with(b"/") {
            self.resolved = PathBuf::new();
        }
        for name in components(Path::new(target)).into_iter().rev() {
            rest.push_front(name);
        }
        Ok(())
    }

    fn create(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
        kind: MountPointKind,
    ) -> Result<(), Errno> {
        let before = rustix::fs::fstat(parent)?;
        match kind {
            MountPointKind::Directory => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?,
            MountPointKind::File => {
                rustix::fs::mknodat(parent, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)?;
            }
        }
        let parent_mtime = (before.st_mtime as i64, before.st_mtime_nsec as u32);
        restore_mtime(parent.as_fd(), parent_mtime)?;
        self.made.push(MadeMountPoint { path: Path::new("/").join(path), kind, parent_mtime });
        Ok(())
    }
}

fn restore_mtime(directory: BorrowedFd<'_>, (seconds, nanoseconds): (i64, u32)) -> Result<(), Errno> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    };
    rustix::fs::utimensat(directory, "", &times, AtFlags::EMPTY_PATH)
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

fn is_link(file: &OwnedFd) -> Result<bool, Errno> {
    Ok(file_type(file.as_fd())? == FileType::Symlink)
}

pub(crate) fn file_type(file: BorrowedFd<'_>) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(root: &Path, path: &str, kind: MountPointKind) -> Result<Vec<PathBuf>, Errno> {
        let root = rustix::fs::open(root, OFlags::PATH, Mode::empty()).unwrap();
        let mut made = Vec::new();
        open_or_make(root.as_fd(), Path::new(path), kind, &mut made)
            .map_err(|error| Errno::from_io_error(&error).unwrap())?;
        Ok(made.into_iter().map(|point| point.path).collect())
    }

    #[test]
    fn missing_parents_are_made_and_told() {
        let root = tempfile::tempdir().unwrap();
        let paths = made(root.path(), "/a/b/../c", MountPointKind::File).unwrap();
        assert_eq!(paths, [Path::new("/a"), Path::new("/a/b"), Path::new("/a/c")]);
        assert!(root.path().join("a/c").is_file());
        assert!(made(root.path(), "/a/c", MountPointKind::File).unwrap().is_empty());
    }

    #[test]
    fn dangling_links_are_followed_inside_the_root() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/../../run/x", root.path().join("link")).unwrap();
        let paths = made(root.path(), "link", MountPointKind::File).unwrap();
        assert_eq!(paths, [Path::new("/run"), Path::new("/run/x")]);
        assert!(root.path().join("run/x").is_file());
    }

    #[test]
    fn a_circle_of_links_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("b", root.path().join("a")).unwrap();
        std::os::unix::fs::symlink("a", root.path().join("b")).unwrap();
        assert_eq!(made(root.path(), "a/x", MountPointKind::File), Err(Errno::LOOP));
    }

    #[test]
    fn the_parent_keeps_its_time() {
        let root = tempfile::tempdir().unwrap();
        let before = fs_err::metadata(root.path()).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(10));
        made(root.path(), "x", MountPointKind::Directory).unwrap();
        assert_eq!(fs_err::metadata(root.path()).unwrap().modified().unwrap(), before);
    }
}
