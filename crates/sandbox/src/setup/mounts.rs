//! The new root and what is mounted in it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType};
use rustix::mount::MountAttrFlags;

use super::staging::{INERT, NODEV, RDONLY, Staging, attach_at, clone_mount, new_mount};
use super::step::Step as _;
use super::{layers, path};
use crate::error::{SetupError, SetupStep};
use crate::outcome::{MadeMountPoint, MountPointKind};
use crate::spec::{Layers, Mount, Root, Source};
use crate::sys;

/// A root under construction. Mount points are looked up inside it; missing ones are made and remembered.
pub(crate) struct Builder {
    root: OwnedFd,
    pub(crate) staging: Staging,
    pub(crate) in_user_namespace: bool,
    made: Vec<MadeMountPoint>,
}

impl Builder {
    pub(crate) fn new(root: &Root, mut staging: Staging, may_make_devices: bool) -> Result<Self, SetupError> {
        let in_user_namespace = !may_make_devices;
        let root = match root {
            Root::Layers(layers) => layers::mount(layers, &mut staging, in_user_namespace)?,
            Root::Directory(directory) => root_directory(directory)?,
        };
        staging.park(root.as_fd()).step(SetupStep::AttachRoot)?;
        Ok(Self::at(root, staging, may_make_devices))
    }

    /// Works in a directory that is a place in the tree of mounts.
    pub(crate) fn at(root: OwnedFd, staging: Staging, may_make_devices: bool) -> Self {
        Self { root, staging, in_user_namespace: !may_make_devices, made: Vec::new() }
    }

    pub(crate) fn into_parts(self) -> (OwnedFd, Staging) {
        (self.root, self.staging)
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(crate) fn into_made(self) -> Vec<MadeMountPoint> {
        self.made
    }

    /// Lets device files of the root work, where the kernel ever does.
    pub(crate) fn allow_devices(&self) -> Result<(), SetupError> {
        if self.in_user_namespace {
            return Ok(());
        }
        sys::remove_mount_flags(self.root.as_fd(), NODEV).step(SetupStep::AttachRoot)
    }

    /// What is at a path of the new root.
    pub(crate) fn open(&self, path: &Path) -> io::Result<OwnedFd> {
        path::open(self.root.as_fd(), path)
    }

    /// Attaches a mount at a path of the new root.
    pub(crate) fn attach(&mut self, mount: BorrowedFd<'_>, target: &Path) -> Result<(), SetupError> {
        let kind = match path::file_type(mount).step_at(SetupStep::Attach, target)? {
            FileType::Directory => MountPointKind::Directory,
            _ => MountPointKind::File,
        };
        let point = path::open_or_make(self.root.as_fd(), target, kind, &mut self.made)
            .step_at(SetupStep::MakeMountPoint, target)?;
        if self.is_root(point.as_fd()) {
            return Err(rustix::io::Errno::BUSY).step_at(SetupStep::Attach, target);
        }
        attach_at(mount, point.as_fd()).step_at(SetupStep::Attach, target)
    }

    /// Makes one mount of the spec.
    pub(crate) fn mount(&mut self, mount: &Mount) -> Result<(), SetupError> {
        let target = mount.target.as_path();
        let made = match &mount.source {
            Source::Bind { path, subpath, recursive } => bind(path, subpath, *recursive)?,
            Source::Tmpfs { size, mode, noexec } => {
                tmpfs(*size, mode.unwrap_or_else(|| self.mode(target)), *noexec)
                    .step_at(SetupStep::MountTmpfs, target)?
            }
            Source::Layers { layers, subpath } => self.layers(layers, subpath)?,
            Source::File { content, mode, uid, gid } => {
                self.staging.file(content, *mode, (*uid, *gid)).step_at(SetupStep::WriteFile, target)?
            }
        };
        let recursive = matches!(mount.source, Source::Bind { recursive: true, .. });
        let flags = NODEV | if mount.readonly { RDONLY } else { 0 };
        sys::add_mount_flags(made.as_fd(), flags, recursive).step_at(SetupStep::SetMountFlags, target)?;
        self.attach(made.as_fd(), target)
    }

    /// Permissions of the directory at a path of the new root; those of /tmp where there is none.
    fn mode(&self, path: &Path) -> u32 {
        let stat = self.open(path).and_then(|there| Ok(rustix::fs::fstat(there)?));
        stat.map_or(0o1777, |stat| stat.st_mode & 0o7777)
    }

    fn layers(&mut self, layers: &Layers, subpath: &Path) -> Result<OwnedFd, SetupError> {
        let view = layers::mount(layers, &mut self.staging, self.in_user_namespace)?;
        if subpath.as_os_str().is_empty() {
            return Ok(view);
        }
        self.staging.park(view.as_fd()).step_at(SetupStep::MountStaging, subpath)?;
        let part = path::open(view.as_fd(), subpath).step_at(SetupStep::OpenSource, subpath)?;
        clone_mount(part.as_fd(), "", false).step_at(SetupStep::CloneMount, subpath)
    }

    /// Hides what was found at a path behind an empty directory or file.
    pub(crate) fn mask(&mut self, found: &OwnedFd, target: &Path) -> Result<(), SetupError> {
        let is_directory = path::file_type(found.as_fd()).ok() == Some(FileType::Directory);
        let cover = if is_directory { self.staging.empty_directory() } else { self.staging.null() };
        let cover = cover.step_at(SetupStep::MaskPath, target)?;
        attach_at(cover.as_fd(), found.as_fd()).step_at(SetupStep::MaskPath, target)
    }

    /// Makes what was found at a path, and everything below it, read-only.
    pub(crate) fn make_readonly(&mut self, found: &OwnedFd, target: &Path) -> Result<(), SetupError> {
        let view = clone_mount(found.as_fd(), "", true).step_at(SetupStep::ReadonlyPath, target)?;
        sys::add_mount_flags(view.as_fd(), RDONLY, true).step_at(SetupStep::ReadonlyPath, target)?;
        attach_at(view.as_fd(), found.as_fd()).step_at(SetupStep::ReadonlyPath, target)
    }

    /// Makes the root itself, not what is mounted in it, read-only.
    pub(crate) fn make_root_readonly(&self) -> Result<(), SetupError> {
        sys::add_mount_flags(self.root.as_fd(), RDONLY, false).step(SetupStep::ReadonlyRoot)
    }

    fn is_root(&self, point: BorrowedFd<'_>) -> bool {
        match (rustix::fs::fstat(point), rustix::fs::fstat(&self.root)) {
            (Ok(a), Ok(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino),
            _ => true,
        }
    }
}

fn root_directory(directory: &Path) -> Result<OwnedFd, SetupError> {
    let mount = clone_mount(CWD, directory, false).step_at(SetupStep::BindRoot, directory)?;
    sys::add_mount_flags(mount.as_fd(), NODEV, false).step_at(SetupStep::BindRoot, directory)?;
    Ok(mount)
}

fn bind(source: &Path, subpath: &Path, recursive: bool) -> Result<OwnedFd, SetupError> {
    let mut place = rustix::fs::open(
        source,
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .step_at(SetupStep::OpenSource, source)?;
    let whole = source.join(subpath);
    if !subpath.as_os_str().is_empty() {
        place = path::open(place.as_fd(), subpath).step_at(SetupStep::OpenSource, &whole)?;
    }
    match clone_mount(place.as_fd(), "", recursive) {
        // A user namespace may not uncover what its parent has mounted over: then all of it comes along.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) && !recursive => {
            clone_mount(place.as_fd(), "", true)
        }
        result => result,
    }
    .step_at(SetupStep::CloneMount, &whole)
}

fn tmpfs(size: Option<u64>, mode: u32, noexec: bool) -> io::Result<OwnedFd> {
    let (size, mode) = (size.map(|size| size.to_string()), format!("{mode:o}"));
    let mut options = vec![("mode", mode.as_str())];
    options.extend(size.as_deref().map(|size| ("size", size)));
    let flags = if noexec { INERT } else { MountAttrFlags::MOUNT_ATTR_NOSUID };
    new_mount("tmpfs", &options, flags)
}
