//! `galley cp`: files from a container, and into one.

use std::{
    ffi::OsStr,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use fs_err as fs;
use galley_oci::{Entry, Kind, Last, tree};
use galley_store::Store;
use rustix::fs::{FileType, Stat};

use super::{
    Container, ContainerMount, MountFrom,
    access::Access,
    anchor::{Anchor, Look},
    changes::FILES,
    export::View,
    list::unless_gone,
};
use crate::{Error, ErrorKind};

/// The bits of a mode that let everybody be the owner or in the group.
const SET_IDS: u32 = 0o6000;
/// Folders deeper than this are no longer copied into a container.
const DEPTH_MAX: usize = 500;

/// What of a container is not copied.
pub(super) const NOT_COPIED: &str = "it is a device or a pipe, which is not copied";

/// How files are copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// What a symbolic link leads to is copied, when the link itself was named.
    pub follow: bool,
    /// Files stay whose they are; else they are root's in a container, and whose that are who copies on this machine.
    pub owners: bool,
}

/// What was named of a container.
pub(super) struct Wanted {
    /// In its files, links resolved.
    pub(super) path: Vec<u8>,
    pub(super) is_directory: bool,
    /// The contents of the directory, without it.
    pub(super) contents: bool,
}

impl Wanted {
    pub(super) fn find(
        view: &View,
        container: &Container,
        source: &str,
        follow: bool,
    ) -> Result<Self, Error> {
        refuse_mounts(container, source)?;
        let last = if follow || source.ends_with('/') { Last::Follow } else { Last::Keep };
        let missing = || {
            let message = format!("container {} has no {source}", container.name);
            Error::new(ErrorKind::NotFound, message)
        };
        let path = view.stack.resolve(source.as_bytes(), last).map_err(|_| missing())?;
        let found = view.stack.get(&path);
        if found.is_none() && !path.is_empty() {
            return Err(missing());
        }
        let is_directory = found.is_none_or(|found| found.entry.is_directory());
        if !is_directory && (source.ends_with('/') || source.ends_with("/.")) {
            let message = format!("{source} of container {} is no directory", container.name);
            return Err(Error::new(ErrorKind::Usage, message));
        }
        let contents = path.is_empty() || source.ends_with("/.");
        Ok(Self { path, is_directory, contents })
    }
}

/// Copies `source`, an absolute path of `container`, to `target`, a path of this machine. As docker: into a directory that is
/// there, else under that name; the contents of a directory alone when `source` ends with `/.`.
pub fn copy_out(
    store: &Store,
    container: &Container,
    source: &str,
    target: &Path,
    options: CopyOptions,
) -> Result<(), Error> {
    unless_gone(container, copied_out(store, container, source, target, options))
}

fn copied_out(
    store: &Store,
    container: &Container,
    source: &str,
    target: &Path,
    options: CopyOptions,
) -> Result<(), Error> {
    let view = View::of(store, container)?;
    let Wanted { path, is_directory, contents } = Wanted::find(&view, container, source, options.follow)?;
    let name = OsStr::from_bytes(tree::file_name(&path));
    let to = place(target, There::here(target), name, is_directory, contents)?;
    let out = Out::new(&to, target).map_err(|error| failed(&to, error))?;
    let mut directories = Vec::new();
    for found in view.stack.walk(&path) {
        let below = found.path().strip_prefix(&path[..]).unwrap_or_default();
        let to = out.path(below.strip_prefix(b"/").unwrap_or(below));
        let look = look_of(found.entry, options.owners);
        let open = || view.open(store, (found.layer, found.index));
        let is_new = write(&out.anchor, found.entry, look, &to, open).map_err(|error| failed(&to, error))?;
        // A directory that was there keeps its permissions.
        if is_new && found.entry.is_directory() {
            directories.push((to, look));
        }
    }
    // The deepest first: what is made in a directory changes its time, and one may be read-only.
    let mut finished = directories.iter().rev();
    finished
        .try_for_each(|(to, look)| out.anchor.finish_directory(to, *look).map_err(|error| failed(to, error)))
}

/// Where files of a container go: below a directory whose way is as it was typed. Below it links may be the container's own, of an
/// earlier copy or, where the directory is mounted in it, of this moment.
struct Out {
    anchor: Anchor,
    name: PathBuf,
}

impl Out {
    fn new(to: &Path, typed: &Path) -> io::Result<Self> {
        if to == typed && typed.is_dir() {
            return Ok(Self { anchor: Anchor::of(to)?, name: PathBuf::new() });
        }
        let anchor = Anchor::of(to.parent().unwrap_or(Path::new("/")))?;
        Ok(Self { anchor, name: to.file_name().unwrap_or_default().into() })
    }

    fn path(&self, below: &[u8]) -> PathBuf {
        if below.is_empty() { self.name.clone() } else { self.name.join(OsStr::from_bytes(below)) }
    }
}

/// Without the bits that give an owner's rights away: a copy's owner is another.
fn look_of(entry: &Entry, with_owner: bool) -> Look {
    Look {
        owner: with_owner.then_some((entry.meta.uid, entry.meta.gid)),
        mode: u32::from(entry.meta.mode) & !SET_IDS,
        seconds: entry.meta.mtime.seconds,
        nanoseconds: entry.meta.mtime.nanoseconds.into(),
    }
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Store, format!("cannot copy to {}", path.display())).because(error)
}

/// What is mounted is not among the container's own files.
fn refuse_mounts(container: &Container, path: &str) -> Result<(), Error> {
    if FILES.contains(&path.trim_start_matches('/')) {
        let message = format!("{path} is made anew for each start of a container, and mounted there");
        let help = format!("`galley exec {} cat {path}` tells what it says", container.name);
        return Err(Error::new(ErrorKind::Usage, message).help(help));
    }
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

/// What is at the place that was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Nothing,
    Directory,
    Other,
}

impl There {
    fn new(is_directory: bool, is_there: impl FnOnce() -> bool) -> Self {
        match is_directory {
            true => Self::Directory,
            false if is_there() => Self::Other,
            false => Self::Nothing,
        }
    }

    fn here(target: &Path) -> Self {
        Self::new(target.is_dir(), || target.exists())
    }
}

/// Where a copy goes: into a directory that is there, or under that name.
fn place(
    target: &Path,
    there: There,
    name: &OsStr,
    directory: bool,
    contents: bool,
) -> Result<PathBuf, Error> {
    let usage = |message: String| Err(Error::new(ErrorKind::Usage, message));
    if there == There::Directory {
        return Ok(if contents { target.to_owned() } else { target.join(name) });
    }
    let slash = target.as_os_str().as_bytes().ends_with(b"/");
    if slash && !directory {
        return usage(format!("there is no directory {}", target.display()));
    }
    if directory && !slash && there == There::Other {
        return usage(format!(
            "{} is no directory, and a directory cannot be copied to it",
            target.display()
        ));
    }
    Ok(target.to_owned())
}

fn write(
    out: &Anchor,
    entry: &Entry,
    look: Look,
    to: &Path,
    open: impl FnOnce() -> io::Result<Box<dyn Read>>,
) -> io::Result<bool> {
    match &entry.kind {
        Kind::Directory { .. } => out.make_directory(to),
        // A process may write to it without end.
        Kind::File { size, .. } => out.make_file(to, look, &mut open()?.take(*size)).map(|()| true),
        Kind::Symlink { target } => out.make_link(to, OsStr::from_bytes(target), look.owner).map(|()| true),
        _ => Err(io::Error::other(NOT_COPIED)),
    }
}

/// Copies `source`, a path of this machine, to `target` in `container`, whether it runs or not.
pub fn copy_in(
    store: &Store,
    container: &Container,
    source: &Path,
    target: &str,
    options: CopyOptions,
) -> Result<(), Error> {
    let unreadable = |error: io::Error| {
        let kind =
            if error.kind() == io::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Store };
        Error::new(kind, format!("cannot read {}", source.display())).because(error)
    };
    let followed = options.follow || source.as_os_str().as_bytes().ends_with(b"/");
    let real = if followed { fs::canonicalize(source).map_err(unreadable)? } else { source.to_owned() };
    let from = Origin::new(&real).map_err(unreadable)?;
    let found = from.anchor.stat(&from.name).map_err(unreadable)?;
    let is_directory = is_directory(&found);
    let access = Access::open(store, container)?;
    let inside = &access.root;
    let contents = source.as_os_str().as_bytes().ends_with(b"/.");
    let name = source.file_name().unwrap_or_default();
    let there = There::new(inside.is_directory(Path::new(target)), || inside.stat(Path::new(target)).is_ok());
    let to = place(Path::new(target), there, name, is_directory, contents || name.is_empty())?;
    let copying = Copying { source: &from.anchor, inside, owners: options.owners };
    copying.one(&from.name, &to, 0).map_err(|error| {
        let message = format!("cannot copy {} to {target} in {}", source.display(), container.name);
        Error::new(ErrorKind::Store, message).because(error)
    })
}

/// What is copied into a container: links on the way to it are followed, below it none is.
struct Origin {
    anchor: Anchor,
    name: PathBuf,
}

impl Origin {
    fn new(source: &Path) -> io::Result<Self> {
        Ok(match source.file_name() {
            Some(name) => {
                Self { anchor: Anchor::of(source.parent().unwrap_or(Path::new("/")))?, name: name.into() }
            }
            None => Self { anchor: Anchor::of(source)?, name: PathBuf::new() },
        })
    }
}

fn is_directory(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode).is_dir()
}

/// Everything below a path of this machine.
struct Copying<'a> {
    source: &'a Anchor,
    inside: &'a Anchor,
    owners: bool,
}

impl Copying<'_> {
    fn one(&self, from: &Path, to: &Path, depth: usize) -> io::Result<()> {
        let Self { source, inside, owners } = *self;
        let found = source.stat(from)?;
        let look = Look::of(&found, owners);
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Symlink => inside.make_link(to, source.link(from)?.as_os_str(), look.owner),
            FileType::RegularFile => inside.make_file(to, look, &mut source.open_file(from)?),
            FileType::Directory if depth > DEPTH_MAX => Err(io::Error::other("folders are nested too deep")),
            FileType::Directory => {
                let is_new = inside.make_directory(to)?;
                for name in source.names(from)? {
                    self.one(&from.join(&name), &to.join(&name), depth + 1)?;
                }
                if is_new { inside.finish_directory(to, look) } else { Ok(()) }
            }
            _ => Err(io::Error::other(format!("{} is a device or a pipe", from.display()))),
        }
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
            place(target, There::here(target), OsStr::new("name"), directory, contents).ok()
        };
        assert_eq!(at(dir.path(), false, false), Some(dir.path().join("name")));
        assert_eq!(at(dir.path(), true, true), Some(dir.path().to_owned()));
        assert_eq!(at(&dir.path().join("new"), true, false), Some(dir.path().join("new")));
        assert_eq!(at(&dir.path().join("new/"), false, false), None);
        assert_eq!(at(&file, false, false), Some(file.clone()));
        assert_eq!(at(&file, true, false), None);
    }
}
