//! A directory that what is copied stays below, whoever else changes it meanwhile.

use std::{
    ffi::OsStr,
    fs::{File, Permissions},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::PermissionsExt},
    },
    path::{Path, PathBuf},
};

use fs_err as fs;
use rustix::{
    fs::{
        AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, StatxFlags, Timespec, Timestamps,
        UTIME_OMIT, Uid, fstat,
    },
    io::Errno,
};

/// A user and a group.
type Owner = (u32, u32);

/// Permissions, time and owner of what is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) mode: u32,
    pub(super) seconds: i64,
    pub(super) nanoseconds: i64,
    /// None for whoever makes it.
    pub(super) owner: Option<Owner>,
}

impl Look {
    pub(super) fn of(found: &Stat, with_owner: bool) -> Self {
        Self {
            mode: found.st_mode & 0o7777,
            seconds: found.st_mtime,
            nanoseconds: found.st_mtime_nsec.cast_signed(),
            owner: with_owner.then_some((found.st_uid, found.st_gid)),
        }
    }
}

/// An open directory, and how links below it are taken.
#[derive(Debug)]
pub(super) struct Anchor {
    root: OwnedFd,
    resolve: ResolveFlags,
    /// Whether owners are those of an image, which the store may have to write on the files.
    of_image: bool,
    gives: bool,
    /// Where nothing is made.
    passing: Passing,
}

/// What of a container that does not run is made anew at each start of it: whatever is written there would be lost.
#[derive(Debug, Default)]
pub(super) struct Passing {
    /// Mounts, as the kernel numbers them.
    pub(super) mounts: Vec<u64>,
    /// Files, as paths in the container without the first slash.
    pub(super) files: &'static [&'static str],
}

impl Anchor {
    /// A directory of this machine. The way to it is whoever typed it; below it no link is followed.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let root = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self {
            root,
            resolve: ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
            of_image: false,
            gives: true,
            passing: Passing::default(),
        })
    }

    /// The root directory of a container: links lead where they lead for its programs, and nowhere else.
    pub(super) fn of_container(root: OwnedFd) -> Self {
        let passing = Passing::default();
        Self { root, resolve: ResolveFlags::IN_ROOT, of_image: true, gives: true, passing }
    }

    /// The same, and nothing is made in these places.
    pub(super) fn without(self, passing: Passing) -> Self {
        Self { passing, ..self }
    }

    /// The same, and all is whose it is who makes it.
    #[cfg(test)]
    pub(super) fn without_owners(self) -> Self {
        Self { gives: false, ..self }
    }

    fn found(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = path.strip_prefix("/").unwrap_or(path);
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
        Ok(crate::confined::open(&self.root, path, flags, self.resolve)?)
    }

    pub(super) fn is_directory(&self, path: &Path) -> bool {
        self.found(path, OFlags::DIRECTORY).is_ok()
    }

    /// Which mount a directory is in; nothing where there is none, or the kernel does not tell.
    pub(super) fn mount_of(&self, path: &Path) -> Option<u64> {
        mount_of(&self.found(path, OFlags::DIRECTORY).ok()?)
    }

    /// Whether what has this name in this open directory would be lost.
    fn is_passing(&self, folder: &OwnedFd, name: &OsStr) -> bool {
        let Passing { mounts, files } = &self.passing;
        let is_file = |file: &Path| {
            let folders = || Some((fstat(folder).ok()?, self.stat_directory(file.parent()?).ok()?));
            let is_same =
                |(one, other): (Stat, Stat)| (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino);
            file.file_name() == Some(name) && folders().is_some_and(is_same)
        };
        (!mounts.is_empty() && mount_of(folder).is_some_and(|mount| mounts.contains(&mount)))
            || files.iter().any(|file| is_file(Path::new(file)))
    }

    fn stat_directory(&self, path: &Path) -> io::Result<Stat> {
        Ok(fstat(self.found(path, OFlags::DIRECTORY)?)?)
    }

    /// A file that was just made: by its name a program of the container could have another one given away.
    fn give_file(&self, file: &File, owner: Option<Owner>) -> io::Result<()> {
        let Some((user, group)) = owner.filter(|_| self.gives) else { return Ok(()) };
        let given = if self.of_image {
            galley_store::give_open(file.as_fd(), user, group)
        } else {
            let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
            rustix::fs::fchown(file, user, group).map_err(Into::into)
        };
        given.map_err(|error| not_given((user, group), &error))
    }

    fn give(&self, folder: &OwnedFd, name: &OsStr, owner: Option<Owner>) -> io::Result<()> {
        let Some((user, group)) = owner.filter(|_| self.gives) else { return Ok(()) };
        let given = if self.of_image {
            galley_store::give_at(folder.as_fd(), name, user, group)
        } else {
            let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
            rustix::fs::chownat(folder, name, user, group, AtFlags::SYMLINK_NOFOLLOW).map_err(Into::into)
        };
        given.map_err(|error| not_given((user, group), &error))
    }

    /// The open directory that `path` is in, and its name there.
    fn place<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let folder = self.found(path.parent().unwrap_or(Path::new("")), OFlags::DIRECTORY)?;
        Ok((folder, path.file_name().unwrap_or(OsStr::new("."))))
    }

    /// The same, for something that is to be made there.
    fn place_to_make<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let (folder, name) = self.place(path)?;
        if self.is_passing(&folder, name) {
            let message = format!(
                "{} is made anew at each start of a container; copy to it while the container runs",
                Path::new("/").join(path).display()
            );
            return Err(io::Error::other(message));
        }
        Ok((folder, name))
    }

    /// Makes a directory, or takes the one that is there; whether it was made.
    pub(super) fn make_directory(&self, path: &Path) -> io::Result<bool> {
        if self.is_directory(path) {
            return Ok(false);
        }
        let (folder, name) = self.place_to_make(path)?;
        match rustix::fs::mkdirat(&folder, name, Mode::RWXU) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) if self.is_directory(path) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a directory its permissions and time.
    pub(super) fn finish_directory(&self, path: &Path, look: Look) -> io::Result<()> {
        let found = self.found(path, OFlags::DIRECTORY)?;
        self.give(&found, OsStr::new("."), look.owner)?;
        let itself = itself(&found);
        fs::set_permissions(&itself, Permissions::from_mode(look.mode))?;
        Ok(rustix::fs::utimensat(CWD, &itself, &times(look), AtFlags::empty())?)
    }

    pub(super) fn make_file(&self, path: &Path, look: Look, content: &mut dyn Read) -> io::Result<()> {
        let (folder, name) = self.place_to_make(path)?;
        make_room(&folder, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        io::copy(content, &mut file)?;
        // Before its permissions: a change of owner takes set-ID bits away.
        self.give_file(&file, look.owner)?;
        file.set_permissions(Permissions::from_mode(look.mode))?;
        Ok(rustix::fs::futimens(&file, &times(look))?)
    }

    pub(super) fn make_link(&self, path: &Path, target: &OsStr, owner: Option<Owner>) -> io::Result<()> {
        let (folder, name) = self.place_to_make(path)?;
        make_room(&folder, name)?;
        rustix::fs::symlinkat(target, &folder, name)?;
        self.give(&folder, name, owner)
    }

    /// Another name of a file that is there.
    pub(super) fn make_name(&self, path: &Path, file: &Path) -> io::Result<()> {
        let ((folder, name), (from, known)) = (self.place_to_make(path)?, self.place(file)?);
        let found = self.stat(file)?;
        if self.stat(path).is_ok_and(|other| (other.st_dev, other.st_ino) == (found.st_dev, found.st_ino)) {
            return Ok(());
        }
        make_room(&folder, name)?;
        Ok(rustix::fs::linkat(from, known, folder, name, AtFlags::empty())?)
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

fn mount_of(folder: &OwnedFd) -> Option<u64> {
    let found = rustix::fs::statx(folder, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    Some(found.stx_mnt_id)
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

fn not_given((user, group): Owner, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("it cannot be given to {user}:{group}: {error}"))
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

    const LOOK: Look = Look { mode: 0o4755, seconds: 1, nanoseconds: 0, owner: None };

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
            assert!(anchor.make_name(Path::new(path), Path::new("d/file")).is_err(), "{path}");
            assert!(anchor.make_name(Path::new("d/other"), Path::new(path)).is_err(), "{path}");
            assert!(anchor.make_link(Path::new(path), OsStr::new("x"), None).is_err(), "{path}");
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
                    let _ = anchor.make_link(Path::new("d/link"), OsStr::new("x"), None);
                    let _ = anchor.finish_directory(Path::new("d"), Look { mode: 0o777, ..LOOK });
                }
                is_over.store(true, Ordering::Relaxed);
            });
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        assert_eq!(fs::metadata(outside.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
