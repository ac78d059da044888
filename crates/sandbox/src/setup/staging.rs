//! A file system in memory where things are made before they are mounted at their place.
//!
//! It is attached on top of the old root, so that its parts can be cloned as mounts, and goes with it.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dev, FileType, Mode, OFlags};
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use super::step::Step as _;
use crate::error::{SetupError, SetupStep};
use crate::sys;

/// The flags that every mount gets: device files work nowhere but on the few nodes of /dev.
pub(crate) const NODEV: u64 = MountAttrFlags::MOUNT_ATTR_NODEV.bits() as u64;
/// Read-only.
pub(crate) const RDONLY: u64 = MountAttrFlags::MOUNT_ATTR_RDONLY.bits() as u64;
/// No setuid programs, no device files, no programs at all.
pub(crate) const INERT: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// The staging file system.
pub(crate) struct Staging {
    root: OwnedFd,
    may_make_devices: bool,
    made: u32,
    /// Names of the device nodes made, to make each once.
    nodes: Vec<(Dev, String)>,
    /// Name of the empty directory, once there is one.
    empty: Option<String>,
}

impl Staging {
    pub(crate) fn mount(may_make_devices: bool) -> Result<Self, SetupError> {
        let root =
            new_mount("tmpfs", &[("mode", "0700")], MountAttrFlags::empty()).step(SetupStep::MountStaging)?;
        attach(root.as_fd(), CWD, "/").step(SetupStep::MountStaging)?;
        Ok(Self { root, may_make_devices, made: 0, nodes: Vec::new(), empty: None })
    }

    /// Attaches a new mount to a directory of its own, so that it has a place in the tree of mounts.
    pub(crate) fn park(&mut self, mount: BorrowedFd<'_>) -> io::Result<()> {
        let name = self.new_directory()?;
        attach(mount, self.root.as_fd(), name)
    }

    fn new_name(&mut self) -> String {
        self.made += 1;
        self.made.to_string()
    }

    fn new_directory(&mut self) -> io::Result<String> {
        let name = self.new_name();
        rustix::fs::mkdirat(&self.root, &name, Mode::from_raw_mode(0o755))?;
        Ok(name)
    }

    /// A directory in which mounts can be put together.
    pub(crate) fn open_new_directory(&mut self) -> io::Result<OwnedFd> {
        let name = self.new_directory()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.root, name, flags, Mode::empty())?)
    }

    /// A mount that is one file with this content.
    pub(crate) fn file(&mut self, content: &[u8], mode: u32, owner: (u32, u32)) -> io::Result<OwnedFd> {
        let name = self.new_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.root, &name, flags, Mode::from_raw_mode(0o600))?;
        let mut file = std::fs::File::from(file);
        file.write_all(content)?;
        crate::owners::give(&file, owner.0, owner.1)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        clone_mount(self.root.as_fd(), name, false)
    }

    /// A mount that is one empty directory, read-only.
    pub(crate) fn empty_directory(&mut self) -> io::Result<OwnedFd> {
        let name = match self.empty.take() {
            Some(name) => name,
            None => self.new_directory()?,
        };
        let mount = clone_mount(self.root.as_fd(), &name, false)?;
        sys::add_mount_flags(mount.as_fd(), RDONLY | u64::from(INERT.bits()), false)?;
        self.empty = Some(name);
        Ok(mount)
    }

    /// A mount that is /dev/null.
    pub(crate) fn null(&mut self) -> io::Result<OwnedFd> {
        self.device("null", rustix::fs::makedev(1, 3))
    }

    /// A mount that is one character device: an own node where nodes can be made, else the host's.
    ///
    /// The host's cannot be changed by a user to whom it does not belong, but by root, so root gets it only where an
    /// outer container keeps it from making nodes; then it is the container's.
    pub(crate) fn device(&mut self, name: &str, device: Dev) -> io::Result<OwnedFd> {
        match self.node(device)? {
            Some(node) => clone_mount(self.root.as_fd(), node, false),
            None => clone_mount(CWD, Path::new("/dev").join(name), false),
        }
    }

    fn node(&mut self, device: Dev) -> io::Result<Option<String>> {
        if let Some((_, name)) = self.nodes.iter().find(|(made, _)| *made == device) {
            return Ok(Some(name.clone()));
        }
        if !self.may_make_devices {
            return Ok(None);
        }
        let name = self.new_name();
        let mode = Mode::from_raw_mode(0o666);
        match rustix::fs::mknodat(&self.root, &name, FileType::CharacterDevice, mode, device) {
            Err(rustix::io::Errno::PERM) => return Ok(None),
            result => result?,
        }
        self.nodes.push((device, name.clone()));
        Ok(Some(name))
    }
}

/// A new file system, not attached anywhere yet.
pub(crate) fn new_mount(kind: &str, options: &[(&str, &str)], flags: MountAttrFlags) -> io::Result<OwnedFd> {
    use rustix::mount::{FsMountFlags, FsOpenFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    // What the table of mounts shows in the first column; programs expect a name there.
    fsconfig_set_string(context.as_fd(), "source", kind)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

/// What is at a path, as a mount of its own, not attached anywhere yet.
pub(crate) fn clone_mount(
    directory: BorrowedFd<'_>,
    path: impl Into<PathBuf>,
    recursive: bool,
) -> io::Result<OwnedFd> {
    let path = path.into();
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    Ok(rustix::mount::open_tree(directory, &path, flags)?)
}

/// Attaches a mount at a path.
pub(crate) fn attach(
    mount: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    path: impl rustix::path::Arg,
) -> io::Result<()> {
    Ok(rustix::mount::move_mount(mount, "", directory, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Attaches a mount at what `target` is.
pub(crate) fn attach_at(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", target, "", flags)?)
}
