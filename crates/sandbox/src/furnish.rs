//! Mounts without mount(2): files and directories are moved to their places below a root, and away again.
//!
//! What they hide is out of the root meanwhile. All of it has to be on one file system.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use crate::outcome::{MadeMountPoint, MountPointKind};
use crate::setup::path;

/// A root with things laid into it.
#[derive(Debug)]
pub struct Furnished {
    root: OwnedFd,
    root_path: PathBuf,
    aside: PathBuf,
    made: Vec<MadeMountPoint>,
    laid: Vec<Laid>,
}

/// One thing at its place.
#[derive(Debug)]
struct Laid {
    /// Stays with it wherever it is moved.
    thing: OwnedFd,
    /// Where it was put.
    at: PathBuf,
    /// The directory of that place, wherever it is moved.
    directory: OwnedFd,
    /// What was there before.
    hidden: PathBuf,
    /// Whether that was made for it.
    was_missing: bool,
    /// Where it came from and goes back to.
    home: Option<PathBuf>,
    after: After,
}

/// What happens to a thing in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It goes back to where it was.
    Return,
    /// It is out of the root; whoever owns the directory for hidden things removes it with that.
    Discard,
    /// The same, and other names that it has, in the root or outside of it, are nobody's concern.
    Forget,
}

impl Furnished {
    /// Begins with the directory `root`; `aside`, an empty one, keeps what is hidden.
    pub fn new(root: &Path, aside: &Path) -> io::Result<Self> {
        let (root_path, aside) = (fs_err::canonicalize(root)?, fs_err::canonicalize(aside)?);
        let root = rustix::fs::open(&root_path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root, root_path, aside, made: Vec::new(), laid: Vec::new() })
    }

    /// Makes the directory `target` in the root, where it is missing.
    pub fn make(&mut self, target: &Path) -> io::Result<()> {
        path::open_or_make(self.root.as_fd(), target, MountPointKind::Directory, &mut self.made).map(drop)
    }

    /// Puts the file or directory `thing` at `target` in the root; links on the way are followed inside the root only.
    pub fn lay(&mut self, thing: &Path, target: &Path, after: After) -> io::Result<()> {
        let handle = handle(thing)?;
        let kind = match file_type(&handle)? {
            FileType::Directory => MountPointKind::Directory,
            _ => MountPointKind::File,
        };
        let known = self.made.len();
        let point = path::open_or_make(self.root.as_fd(), target, kind, &mut self.made)?;
        if (file_type(&point)? == FileType::Directory) != (kind == MountPointKind::Directory) {
            return Err(Errno::NOTDIR.into());
        }
        let at = whereabouts(&point)?.ok_or(Errno::NOENT)?;
        if at == self.root_path || !at.starts_with(&self.root_path) {
            return Err(Errno::BUSY.into());
        }
        let number = self.laid.len();
        let hidden = self.aside.join(format!("hidden-{number}"));
        note(&self.aside, number, at.strip_prefix(&self.root_path).unwrap_or(&at))?;
        let directory = directory_of(&at)?;
        keeping_time(&directory, || {
            rename(&at, &hidden)?;
            rename(thing, &at).inspect_err(|_| drop(rename(&hidden, &at)))
        })?;
        let home = (after == After::Return).then(|| thing.to_owned());
        let was_missing = self.made.len() > known;
        self.laid.push(Laid { thing: handle, at, directory, hidden, was_missing, home, after });
        Ok(())
    }

    /// Undoes what was laid into `root` by a process that was killed: nothing of it is needed any more.
    pub fn recover(root: &Path, aside: &Path) -> io::Result<()> {
        let root = rustix::fs::open(root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        for (number, at) in Self::places(aside)?.iter().enumerate().rev() {
            let hidden = aside.join(format!("hidden-{number}"));
            // Killed before that was hidden, or after it was put back.
            if rustix::fs::lstat(&hidden).is_err() {
                continue;
            }
            let (above, name) = (at.parent().unwrap_or(at), at.file_name().unwrap_or_default());
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
            let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            // A directory that the program removed takes along what was in it.
            let Ok(directory) = rustix::fs::openat2(&root, above, flags, Mode::empty(), inside) else {
                continue;
            };
            keeping_time(&directory, || {
                let gone = aside.join(format!("gone-{number}"));
                match rustix::fs::renameat(&directory, name, CWD, &gone) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
                Ok(rustix::fs::renameat(CWD, &hidden, &directory, name)?)
            })?;
        }
        Ok(())
    }

    /// Where something is laid, below the root, as its directory for hidden things tells.
    pub fn places(aside: &Path) -> io::Result<Vec<PathBuf>> {
        let place = |number: usize| match rustix::fs::readlink(place(aside, number), Vec::new()) {
            Ok(target) => Some(Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))),
            Err(Errno::NOENT) => None,
            Err(error) => Some(Err(error.into())),
        };
        (0..).map_while(place).collect()
    }

    /// Directories and files that were made for what was laid, and are there still.
    pub fn made(&self) -> &[MadeMountPoint] {
        &self.made
    }

    /// Takes everything away. No process may use it any more.
    pub fn clear(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        // All of it, whatever happens: none of it may stay.
        for (number, laid) in std::mem::take(&mut self.laid).into_iter().enumerate().rev() {
            result = result.and(laid.take_away(&self.aside.join(format!("gone-{number}"))));
        }
        result
    }
}

impl Drop for Furnished {
    fn drop(&mut self) {
        // Only after a failure is anything left; what does not go back is lost with the root.
        let _ = self.clear();
    }
}

impl Laid {
    fn take_away(self, grave: &Path) -> io::Result<()> {
        let stat = rustix::fs::fstat(&self.thing)?;
        if let Some(now_at) = whereabouts(&self.thing)? {
            let to = self.home.as_deref().unwrap_or(grave);
            keeping_time(&directory_of(&now_at)?, || rename(&now_at, to))?;
            if self.after == After::Discard && is_linked(&stat) {
                // It has another name somewhere in the root, where it would become part of what the step left.
                return Err(io::Error::other("a file that was mounted got another name in the step"));
            }
        }
        self.put_back()
    }

    /// By the open directory: the step may have left a link to anywhere in its place.
    fn put_back(&self) -> io::Result<()> {
        let above = whereabouts(&self.directory)?;
        // A directory that is gone, by the step's will, takes along what was in it.
        if above.is_none() || (self.was_missing && above.as_deref() != self.at.parent()) {
            return Ok(());
        }
        let name = self.at.file_name().unwrap_or_default();
        keeping_time(&self.directory, || Ok(rustix::fs::renameat(CWD, &self.hidden, &self.directory, name)?))
    }
}

/// Before anything is moved: where it will be, for whoever comes after a kill.
fn note(aside: &Path, number: usize, at: &Path) -> io::Result<()> {
    Ok(rustix::fs::symlink(at, place(aside, number))?)
}

fn place(aside: &Path, number: usize) -> PathBuf {
    aside.join(format!("place-{number}"))
}

fn is_linked(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink > 1
}

fn handle(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn file_type(file: &OwnedFd) -> io::Result<FileType> {
    Ok(path::file_type(file.as_fd())?)
}

/// Where an open file is now; `None` when it has been removed.
fn whereabouts(file: &OwnedFd) -> io::Result<Option<PathBuf>> {
    let link = rustix::fs::readlink(format!("/proc/self/fd/{}", file.as_raw_fd()), Vec::new())?;
    let path = PathBuf::from(OsStr::from_bytes(link.as_bytes()));
    // A removed file is shown with a name that leads nowhere, or to another file.
    let stat = rustix::fs::fstat(file)?;
    let found = rustix::fs::lstat(&path);
    let same = found.is_ok_and(|found| (found.st_dev, found.st_ino) == (stat.st_dev, stat.st_ino));
    Ok(same.then_some(path))
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    Ok(rustix::fs::rename(from, to)?)
}

/// The directory in which `path` is; nothing on the way to it is a link.
fn directory_of(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path.parent().unwrap_or(path), flags, Mode::empty())?)
}

/// Does something in `directory` that does not count as a change of it.
fn keeping_time(directory: &OwnedFd, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let before = rustix::fs::fstat(directory)?;
    act()?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: before.st_mtime as i64, tv_nsec: before.st_mtime_nsec as i64 },
    };
    Ok(rustix::fs::futimens(directory, &times)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    struct Bed(tempfile::TempDir);

    impl Bed {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for name in ["root/etc", "aside", "cache", "gone"] {
                fs_err::create_dir_all(dir.path().join(name)).unwrap();
            }
            fs_err::write(dir.path().join("root/etc/hosts"), "image").unwrap();
            fs_err::write(dir.path().join("hosts"), "step").unwrap();
            fs_err::write(dir.path().join("cache/kept"), "").unwrap();
            Self(dir)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn furnished(&self) -> Furnished {
            Furnished::new(&self.path("root"), &self.path("aside")).unwrap()
        }

        fn read(&self, name: &str) -> String {
            fs_err::read_to_string(self.path(name)).unwrap()
        }
    }

    #[test]
    fn what_is_laid_hides_and_goes_again() {
        let bed = Bed::new();
        let time = |name: &str| {
            let metadata = fs_err::metadata(bed.path(name)).unwrap();
            (metadata.mtime(), metadata.mtime_nsec())
        };
        let before = time("root/etc");
        let mut furnished = bed.furnished();
        furnished.lay(&bed.path("hosts"), Path::new("/etc/hosts"), After::Discard).unwrap();
        furnished.lay(&bed.path("cache"), Path::new("/var/cache"), After::Return).unwrap();
        assert_eq!(bed.read("root/etc/hosts"), "step");
        assert!(bed.path("root/var/cache/kept").exists() && !bed.path("cache").exists());
        fs_err::write(bed.path("root/var/cache/more"), "").unwrap();
        let made: Vec<_> = furnished.made().iter().map(|made| made.path.clone()).collect();
        assert_eq!(made, [Path::new("/var"), Path::new("/var/cache")]);
        furnished.clear().unwrap();
        assert_eq!((bed.read("root/etc/hosts").as_str(), time("root/etc")), ("image", before));
        assert!(bed.path("cache/more").exists());
        assert_eq!(fs_err::read_dir(bed.path("root/var/cache")).unwrap().count(), 0);
    }

    #[test]
    fn what_was_laid_by_a_killed_process_goes_again() {
        let bed = Bed::new();
        let mut furnished = bed.furnished();
        furnished.lay(&bed.path("hosts"), Path::new("/etc/hosts"), After::Forget).unwrap();
        furnished.lay(&bed.path("gone"), Path::new("/var/new"), After::Forget).unwrap();
        std::mem::forget(furnished);
        // The program replaced one of them.
        fs_err::remove_file(bed.path("root/etc/hosts")).unwrap();
        let places = Furnished::places(&bed.path("aside")).unwrap();
        assert_eq!(places, [Path::new("etc/hosts"), Path::new("var/new")]);
        Furnished::recover(&bed.path("root"), &bed.path("aside")).unwrap();
        assert_eq!(bed.read("root/etc/hosts"), "image");
        assert!(bed.path("root/var/new").exists() && bed.path("aside/gone-1").exists());
        Furnished::recover(&bed.path("root"), &bed.path("aside")).unwrap();
        assert_eq!(bed.read("root/etc/hosts"), "image");
    }

    #[test]
    fn what_the_step_moved_or_removed_does_not_stay() {
        let bed = Bed::new();
        let mut furnished = bed.furnished();
        furnished.lay(&bed.path("hosts"), Path::new("/run/secrets/one"), After::Discard).unwrap();
        furnished.lay(&bed.path("cache"), Path::new("/data/cache"), After::Return).unwrap();
        fs_err::rename(bed.path("root/run"), bed.path("root/other")).unwrap();
        fs_err::remove_dir_all(bed.path("root/data")).unwrap();
        furnished.clear().unwrap();
        assert!(!bed.path("root/other/secrets/one").exists() && !bed.path("root/data").exists());
    }

    #[test]
    fn links_that_the_step_made_lead_nowhere() {
        let bed = Bed::new();
        let mut furnished = bed.furnished();
        furnished.lay(&bed.path("hosts"), Path::new("/etc/hosts"), After::Discard).unwrap();
        furnished.lay(&bed.path("cache"), Path::new("/var/cache"), After::Return).unwrap();
        for name in ["etc", "var"] {
            fs_err::rename(bed.path("root").join(name), bed.path(&format!("root/old-{name}"))).unwrap();
            fs_err::os::unix::fs::symlink(bed.path("gone"), bed.path("root").join(name)).unwrap();
        }
        furnished.clear().unwrap();
        assert_eq!(fs_err::read_dir(bed.path("gone")).unwrap().count(), 0);
        assert_eq!(bed.read("root/old-etc/hosts"), "image", "it went where its directory went");
        assert!(bed.path("cache/kept").exists() && !bed.path("root/old-var/cache").exists());
    }

    #[test]
    fn another_name_of_a_secret_is_an_error() {
        let bed = Bed::new();
        let mut furnished = bed.furnished();
        furnished.lay(&bed.path("hosts"), Path::new("/secret"), After::Discard).unwrap();
        fs_err::hard_link(bed.path("root/secret"), bed.path("root/copy")).unwrap();
        assert!(furnished.clear().is_err());
    }

    #[test]
    fn nothing_is_laid_outside_of_the_root_or_over_it() {
        let bed = Bed::new();
        fs_err::os::unix::fs::symlink("../../gone", bed.path("root/link")).unwrap();
        let mut furnished = bed.furnished();
        furnished.lay(&bed.path("cache"), Path::new("/link/x"), After::Discard).unwrap();
        assert!(bed.path("root/gone/x/kept").exists() && !bed.path("gone/x").exists());
        assert!(furnished.lay(&bed.path("gone"), Path::new("/"), After::Discard).is_err());
        assert!(furnished.lay(&bed.path("gone"), Path::new("/etc/hosts"), After::Discard).is_err());
    }
}
