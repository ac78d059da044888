//! `galley cp`: files from a container, and into one that runs.

use std::{
    ffi::OsStr,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{PermissionsExt, symlink},
        },
    },
    path::{Path, PathBuf},
};

use fs_err as fs;
use galley_oci::{Entry, Kind, Last, tree};
use galley_store::Store;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT};

use super::{Container, ContainerMount, MountFrom, ask, export::View};
use crate::{Error, ErrorKind};

/// Folders deeper than this are no longer copied into a container.
const DEPTH_MAX: usize = 500;

/// Copies `source`, an absolute path of `container`, to `target`, a path of this machine. As docker: into a directory that is
/// there, else under that name; the contents of a directory alone when `source` ends with `/.`.
pub fn copy_out(
    store: &Store,
    container: &Container,
    source: &str,
    target: &Path,
    follow: bool,
) -> Result<(), Error> {
    refuse_mounts(container, source)?;
    let view = View::of(store, container)?;
    let last = if follow || source.ends_with('/') { Last::Follow } else { Last::Keep };
    let missing = || {
        let message = format!("container {} has no {source}", container.name);
        Error::new(ErrorKind::NotFound, message)
    };
    let path = view.stack.resolve(source.as_bytes(), last).map_err(|_| missing())?;
    let is_directory = view.stack.get(&path).map_or(path.is_empty(), |found| found.entry.is_directory());
    let all = view.stack.walk(&path);
    if all.is_empty() {
        return Err(missing());
    }
    let name = OsStr::from_bytes(tree::file_name(&path));
    let contents = path.is_empty() || source.ends_with("/.");
    let to = place(target, target.is_dir(), name, is_directory, contents)?;
    let mut directories = Vec::new();
    for found in all {
        let below = found.path().strip_prefix(&path[..]).unwrap_or_default();
        let below = below.strip_prefix(b"/").unwrap_or(below);
        let to = if below.is_empty() { to.clone() } else { to.join(OsStr::from_bytes(below)) };
        let open = || view.open(store, (found.layer, found.index));
        write(found.entry, &to, open).map_err(|error| failed(&to, error))?;
        if found.entry.is_directory() {
            directories.push((to, found.entry));
        }
    }
    // The deepest first: what is made in a directory changes its time, and one may be read-only.
    directories.iter().rev().try_for_each(|(to, entry)| finish(to, entry).map_err(|error| failed(to, error)))
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Store, format!("cannot copy to {}", path.display())).because(error)
}

/// What is mounted is not among the container's own files.
fn refuse_mounts(container: &Container, path: &str) -> Result<(), Error> {
    let inside = |target: &str| {
        let target = target.trim_end_matches('/');
        path == target || path.strip_prefix(target).is_some_and(|rest| rest.starts_with('/'))
    };
    // In a root of its own, volumes without a name are among its files.
    let whole = container.folder.root().exists();
    let is_mounted = |mount: &&ContainerMount| {
        inside(&mount.target) && !(whole && matches!(mount.source, MountFrom::Anonymous(_)))
    };
    let Some(mount) = container.config.mounts.iter().find(is_mounted) else { return Ok(()) };
    let (what, help) = match &mount.source {
        MountFrom::Path(path) => {
            (format!("{} of this machine", path.display()), "copy it from there".to_owned())
        }
        MountFrom::Volume(name) | MountFrom::Anonymous(name) => (
            format!("the volume {name}"),
            format!(
                "`galley volume inspect {name}` tells where it is; or read it by `galley run --rm -v {name}:/from …`"
            ),
        ),
    };
    Err(Error::new(ErrorKind::Usage, format!("{path} is in {what}, which is mounted there")).help(help))
}

/// Where a copy goes: into a directory that is there, or under that name.
fn place(
    target: &Path,
    is_there: bool,
    name: &OsStr,
    directory: bool,
    contents: bool,
) -> Result<PathBuf, Error> {
    let usage = |message: String| Err(Error::new(ErrorKind::Usage, message));
    if is_there {
        return Ok(if contents { target.to_owned() } else { target.join(name) });
    }
    let slash = target.as_os_str().as_bytes().ends_with(b"/");
    if slash && !directory {
        return usage(format!("there is no directory {}", target.display()));
    }
    if directory && !slash && target.exists() {
        return usage(format!(
            "{} is no directory, and a directory cannot be copied to it",
            target.display()
        ));
    }
    Ok(target.to_owned())
}

fn write(entry: &Entry, to: &Path, open: impl FnOnce() -> io::Result<Box<dyn Read>>) -> io::Result<()> {
    match &entry.kind {
        Kind::Directory { .. } => match fs::create_dir(to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && to.is_dir() => Ok(()),
            made => made,
        },
        Kind::File { .. } => {
            make_room(to)?;
            let mut file = fs::OpenOptions::new().write(true).create_new(true).open(to)?;
            io::copy(&mut open()?, &mut file)?;
            drop(file);
            finish(to, entry)
        }
        Kind::Symlink { target } => {
            make_room(to)?;
            symlink(OsStr::from_bytes(target), to)
        }
        _ => Err(io::Error::other("it is a device or a pipe, which is not copied")),
    }
}

/// Takes a file away that is in the way; never a directory.
fn make_room(to: &Path) -> io::Result<()> {
    match fs::remove_file(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn finish(to: &Path, entry: &Entry) -> io::Result<()> {
    fs::set_permissions(to, std::fs::Permissions::from_mode(entry.meta.mode.into()))?;
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(0, UTIME_OMIT),
        last_modification: time(entry.meta.mtime.seconds, entry.meta.mtime.nanoseconds.into()),
    };
    Ok(rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Copies `source`, a path of this machine, to `target` in `container`, which has to run. What is copied is root's there.
pub fn copy_in(container: &Container, source: &Path, target: &str, follow: bool) -> Result<(), Error> {
    if !container.is_running() {
        let error = Error::new(ErrorKind::Usage, format!("container {} does not run", container.name));
        return Err(error.help(format!(
            "files are copied into containers that run: `galley start {}`, or mount them with -v",
            container.name
        )));
    }
    let unreadable = |error: io::Error| {
        let kind =
            if error.kind() == io::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Store };
        Error::new(kind, format!("cannot read {}", source.display())).because(error)
    };
    let followed = follow || source.as_os_str().as_bytes().ends_with(b"/");
    let found = if followed { fs::metadata(source) } else { fs::symlink_metadata(source) };
    let found = found.map_err(unreadable)?;
    let mut files = Vec::new();
    ask::ask(container, &ask::Ask::Root, &[], &mut files).map_err(|(_, error)| error)?;
    let root = files.pop().ok_or_else(|| ask::lost(rustix::io::Errno::PROTO))?;
    let inside = Inside(root);
    let contents = source.as_os_str().as_bytes().ends_with(b"/.");
    let name = source.file_name().unwrap_or_default();
    let there = inside.is_directory(Path::new(target));
    let to = place(Path::new(target), there, name, found.is_dir(), contents || name.is_empty())?;
    inside.copy(source, &found, &to, 0).map_err(|error| {
        let message = format!("cannot copy {} to {target} in {}", source.display(), container.name);
        Error::new(ErrorKind::Store, message).because(error)
    })
}

/// The root directory of a container that runs. Nothing leads out of it.
struct Inside(OwnedFd);

impl Inside {
    fn open(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let path = path.strip_prefix("/").unwrap_or(path);
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = flags | OFlags::CLOEXEC;
        Ok(rustix::fs::openat2(self.0.as_fd(), path, flags, mode, ResolveFlags::IN_ROOT)?)
    }

    fn is_directory(&self, path: &Path) -> bool {
        self.open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).is_ok()
    }

    fn copy(&self, from: &Path, found: &std::fs::Metadata, to: &Path, depth: usize) -> io::Result<()> {
        let parent = to.parent().unwrap_or(Path::new("/"));
        let folder = self.open(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        let name = to.file_name().unwrap_or(OsStr::new("."));
        let mode = Mode::from_raw_mode(found.permissions().mode() & 0o7777);
        if found.is_dir() {
            match rustix::fs::mkdirat(&folder, name, Mode::RWXU) {
                Ok(()) => rustix::fs::chmodat(&folder, name, mode, AtFlags::empty())?,
                Err(rustix::io::Errno::EXIST) if self.is_directory(to) => {}
                Err(error) => return Err(error.into()),
            }
            if depth > DEPTH_MAX {
                return Err(io::Error::other("folders are nested too deep"));
            }
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                self.copy(
                    &entry.path(),
                    &fs::symlink_metadata(entry.path())?,
                    &to.join(entry.file_name()),
                    depth + 1,
                )?;
            }
            return Ok(());
        }
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        if found.is_symlink() {
            return Ok(rustix::fs::symlinkat(fs::read_link(from)?.as_path(), &folder, name)?);
        }
        if !found.is_file() {
            return Err(io::Error::other(format!("{} is a device or a pipe", from.display())));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file =
            std::fs::File::from(rustix::fs::openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?);
        io::copy(&mut fs::File::open(from)?, &mut file)?;
        file.set_permissions(found.permissions())?;
        file.set_modified(found.modified()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_dockers() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let at = |target: &Path, directory, contents| {
            place(target, target.is_dir(), OsStr::new("name"), directory, contents).ok()
        };
        assert_eq!(at(dir.path(), false, false), Some(dir.path().join("name")));
        assert_eq!(at(dir.path(), true, true), Some(dir.path().to_owned()));
        assert_eq!(at(&dir.path().join("new"), true, false), Some(dir.path().join("new")));
        assert_eq!(at(&dir.path().join("new/"), false, false), None);
        assert_eq!(at(&file, false, false), Some(file.clone()));
        assert_eq!(at(&file, true, false), None);
    }
}
