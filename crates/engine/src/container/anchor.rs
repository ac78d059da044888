//! A directory that what is copied stays below, whoever else changes it meanwhile.

use std::{
    ffi::OsStr,
    fs::{File, Permissions},
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::PermissionsExt},
    },
    path::{Path, PathBuf},
};

use fs_err as fs;
use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, UTIME_OMIT, fstat,
        openat2,
    },
    io::Errno,
};

/// Permissions and time of what is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) mode: u32,
    pub(super) seconds: i64,
    pub(super) nanoseconds: i64,
}

impl Look {
    pub(super) fn of(found: &Stat) -> Self {
        Self {
            mode: found.st_mode & 0o7777,
            seconds: found.st_mtime,
            nanoseconds: found.st_mtime_nsec.cast_signed(),
        }
    }
}

/// An open directory, and how links below it are taken.
#[derive(Debug)]
pub(super) struct Anchor {
    root: OwnedFd,
    resolve: ResolveFlags,
}

impl Anchor {
    /// A directory of this machine. The way to it is whoever typed it; below it no link is followed.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let root = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root, resolve: ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS })
    }

    /// The root directory of a container: links lead where they lead for its programs, and nowhere else.
    pub(super) const fn of_container(root: OwnedFd) -> Self {
        Self { root, resolve: ResolveFlags::IN_ROOT }
    }

    fn found(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = path.strip_prefix("/").unwrap_or(path);
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
        Ok(openat2(&self.root, path, flags, Mode::empty(), self.resolve)?)
    }

    pub(super) fn is_directory(&self, path: &Path) -> bool {
        self.found(path, OFlags::DIRECTORY).is_ok()
    }

    /// The open directory that `path` is in, and its name there.
    fn place<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let folder = self.found(path.parent().unwrap_or(Path::new("")), OFlags::DIRECTORY)?;
        Ok((folder, path.file_name().unwrap_or(OsStr::new("."))))
    }

    /// Makes a directory, or takes the one that is there; whether it was made.
    pub(super) fn make_directory(&self, path: &Path) -> io::Result<bool> {
        let (folder, name) = self.place(path)?;
        match rustix::fs::mkdirat(&folder, name, Mode::RWXU) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) if self.is_directory(path) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a directory its permissions and time.
    pub(super) fn finish_directory(&self, path: &Path, look: Look) -> io::Result<()> {
        let found = self.found(path, OFlags::DIRECTORY)?;
        let itself = itself(&found);
        fs::set_permissions(&itself, Permissions::from_mode(look.mode))?;
        Ok(rustix::fs::utimensat(CWD, &itself, &times(look), AtFlags::empty())?)
    }

    pub(super) fn make_file(&self, path: &Path, look: Look, content: &mut dyn Read) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        make_room(&folder, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        io::copy(content, &mut file)?;
        file.set_permissions(Permissions::from_mode(look.mode))?;
        Ok(rustix::fs::futimens(&file, &times(look))?)
    }

    pub(super) fn make_link(&self, path: &Path, target: &OsStr) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        make_room(&folder, name)?;
        Ok(rustix::fs::symlinkat(target, &folder, name)?)
    }

    /// What is there, a link itself.
    pub(super) fn stat(&self, path: &Path) -> io::Result<Stat> {
        let (folder, name) = self.place(path)?;
        Ok(rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(super) fn link(&self, path: &Path) -> io::Result<PathBuf> {
        let (folder, name) = self.place(path)?;
        let target = rustix::fs::readlinkat(&folder, name, Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }

    /// Opens a file for reading. Devices and pipes are not touched: the one has effects, the other never answers.
    pub(super) fn open_file(&self, path: &Path) -> io::Result<File> {
        let found = self.found(path, OFlags::NOFOLLOW)?;
        if !FileType::from_raw_mode(fstat(&found)?.st_mode).is_file() {
            return Err(io::Error::other(format!("{} is no file", path.display())));
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::open(itself(&found), flags, Mode::empty())?))
    }

    /// The names in a directory.
    pub(super) fn names(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let folder = self.found(path, OFlags::DIRECTORY)?;
        let itself = fs::read_dir(itself(&folder))?;
        itself.map(|entry| Ok(entry?.file_name().into())).collect()
    }
}

/// A path of what is open, whatever its name is by now.
fn itself(found: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", found.as_raw_fd()).into()
}

const fn times(look: Look) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: look.seconds, tv_nsec: look.nanoseconds },
    }
}

/// Takes a file away that is in the way; never a directory.
fn make_room(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::{MetadataExt, symlink},
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;

    const LOOK: Look = Look { mode: 0o4755, seconds: 1, nanoseconds: 0 };

    #[test]
    fn what_is_no_file_is_not_opened_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let anchor = Anchor::of(dir.path()).unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        symlink(dir.path().join("d"), dir.path().join("away")).unwrap();
        symlink("d/file", dir.path().join("link")).unwrap();
        rustix::fs::mknodat(&anchor.root, "pipe", FileType::Fifo, Mode::RUSR, 0).unwrap();
        anchor.make_file(Path::new("d/file"), LOOK, &mut &b"text"[..]).unwrap();
        for path in ["away/file", "link", "pipe", "d", "../x", "d/../../x", "nothing"] {
            assert!(anchor.open_file(Path::new(path)).is_err(), "{path}");
        }
        for path in ["away/new", "../new", "d/../../new", "nothing/new"] {
            assert!(anchor.make_file(Path::new(path), LOOK, &mut &b""[..]).is_err(), "{path}");
            assert!(anchor.make_directory(Path::new(path)).is_err(), "{path}");
            assert!(anchor.make_link(Path::new(path), OsStr::new("x")).is_err(), "{path}");
        }
        anchor.finish_directory(Path::new("d"), LOOK).unwrap();
        assert_eq!(fs::metadata(dir.path().join("d")).unwrap().mtime(), 1);
        assert!(anchor.make_directory(Path::new("away")).is_err());
        assert!(anchor.finish_directory(Path::new("away"), LOOK).is_err());
        assert_eq!(io::read_to_string(anchor.open_file(Path::new("d/file")).unwrap()).unwrap(), "text");
        assert_eq!(fs::metadata(dir.path().join("d/file")).unwrap().permissions().mode() & 0o7777, 0o4755);
    }

    /// Somebody swaps a directory and a link out of the target, as fast as it goes.
    #[test]
    fn no_race_leads_out() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::set_permissions(outside.path(), Permissions::from_mode(0o700)).unwrap();
        for resolve in [ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS, ResolveFlags::IN_ROOT] {
            let anchor = Anchor { resolve, ..Anchor::of(dir.path()).unwrap() };
            let (path, spare, is_over) =
                (dir.path().join("d"), dir.path().join("spare"), AtomicBool::new(false));
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        let _ = fs::create_dir(&path);
                        let _ = fs::rename(&path, &spare);
                        let _ = symlink(outside.path(), &path);
                        let _ = fs::remove_dir_all(&spare);
                        let _ = fs::remove_file(&path);
                    }
                });
                for _ in 0..2000 {
                    let _ = anchor.make_directory(Path::new("d"));
                    let _ = anchor.make_file(Path::new("d/file"), LOOK, &mut &b"x"[..]);
                    let _ = anchor.make_link(Path::new("d/link"), OsStr::new("x"));
                    let _ = anchor.finish_directory(Path::new("d"), Look { mode: 0o777, ..LOOK });
                }
                is_over.store(true, Ordering::Relaxed);
            });
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        assert_eq!(fs::metadata(outside.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
