//! Layers as one file system.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::packed;
use super::staging::{self, NODEV, Staging, clone_mount};
use super::step::Step as _;
use crate::error::{SetupError, SetupStep};
use crate::spec::{Layers, Lower, Writable};
use crate::sys;

/// Options that make what a step writes independent of the kernel's own defaults, so that a layer can be moved to any
/// other place: no redirects, no index, no copy-up of attributes alone.
const PORTABLE: [(&str, &str); 3] = [("redirect_dir", "nofollow"), ("index", "off"), ("metacopy", "off")];

/// Files of a packed layer come from a file system of their own. Programs that stay on one file system (`tar
/// --one-file-system`) would leave them out, so overlayfs makes up the numbers by which they are told apart.
fn has_packed(layers: &Layers) -> bool {
    layers.lowers.iter().any(|lower| matches!(lower, Lower::Packed(_)))
}

/// A view of the layers, not attached anywhere yet.
pub(crate) fn mount(
    layers: &Layers,
    staging: &mut Staging,
    in_user_namespace: bool,
) -> Result<OwnedFd, SetupError> {
    match (layers.lowers.as_slice(), &layers.writable) {
        ([], None) => empty(),
        ([], Some(writable)) => bind(&writable.upper, false),
        ([Lower::Directory(lower)], None) => bind(lower, true),
        ([Lower::Packed(lower)], None) => packed::mount(lower).step_at(SetupStep::MountPacked, lower),
        _ => overlay(layers, staging, in_user_namespace),
    }
}

fn empty() -> Result<OwnedFd, SetupError> {
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    staging::new_mount("tmpfs", &[("mode", "0755")], flags).step(SetupStep::BindRoot)
}

fn bind(path: &Path, readonly: bool) -> Result<OwnedFd, SetupError> {
    let mount = clone_mount(CWD, path, false).step_at(SetupStep::BindRoot, path)?;
    let flags = NODEV | if readonly { staging::RDONLY } else { 0 };
    sys::add_mount_flags(mount.as_fd(), flags, false).step_at(SetupStep::BindRoot, path)?;
    Ok(mount)
}

/// Directories go to the kernel as open files, by their name in /proc/self/fd: any byte and any length are fine, and
/// the host's paths do not show in the sandbox's table of mounts.
struct Directories {
    lowers: Vec<OwnedFd>,
    writable: Option<(OwnedFd, OwnedFd)>,
}

impl Directories {
    fn open(layers: &Layers, staging: &mut Staging) -> Result<Self, SetupError> {
        let lowers =
            layers.lowers.iter().map(|lower| open_lower(lower, staging)).collect::<Result<_, _>>()?;
        let writable = layers.writable.as_ref().map(open_writable).transpose()?;
        Ok(Self { lowers, writable })
    }
}

/// A packed layer is attached below the staging file system, and goes with it; the overlay keeps a mount of its own.
fn open_lower(lower: &Lower, staging: &mut Staging) -> Result<OwnedFd, SetupError> {
    match lower {
        Lower::Directory(path) => open(path, SetupStep::OpenLower),
        Lower::Packed(path) => {
            let mount = packed::mount(path).step_at(SetupStep::MountPacked, path)?;
            staging.park(mount.as_fd()).step_at(SetupStep::MountPacked, path)?;
            Ok(mount)
        }
    }
}

fn open(path: &Path, step: SetupStep) -> Result<OwnedFd, SetupError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).step_at(step, path)
}

fn open_writable(writable: &Writable) -> Result<(OwnedFd, OwnedFd), SetupError> {
    Ok((open(&writable.upper, SetupStep::OpenUpper)?, open(&writable.work, SetupStep::OpenWork)?))
}

fn name(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn overlay(layers: &Layers, staging: &mut Staging, in_user_namespace: bool) -> Result<OwnedFd, SetupError> {
    let directories = Directories::open(layers, staging)?;
    let lower = layers.lowers.first().map(|(Lower::Directory(path) | Lower::Packed(path))| path);
    let path = layers.writable.as_ref().map(|writable| &writable.upper).or(lower);
    let result = mount_overlay(&directories, layers, in_user_namespace);
    match path {
        Some(path) => result.step_at(SetupStep::MountOverlay, path),
        None => result.step(SetupStep::MountOverlay),
    }
}

fn mount_overlay(directories: &Directories, layers: &Layers, in_user_namespace: bool) -> io::Result<OwnedFd> {
    if let Some((_, work)) = &directories.writable {
        forget_volatile_mount(work);
    }
    match mount_one_by_one(directories, layers, in_user_namespace) {
        // The answer to an unknown option; kernels before 6.5 give it as late as at the end.
        Err(rustix::io::Errno::INVAL) => mount_at_once(directories, layers, in_user_namespace),
        result => Ok(result?),
    }
}

/// Lower directories are named one by one, which has no limit of length; since Linux 6.8.
fn mount_one_by_one(
    directories: &Directories,
    layers: &Layers,
    in_user_namespace: bool,
) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let context = context.as_fd();
    fsconfig_set_string(context, "source", "overlay")?;
    for (key, value) in PORTABLE {
        fsconfig_set_string(context, key, value)?;
    }
    fsconfig_set_string(context, "xino", if has_packed(layers) { "on" } else { "off" })?;
    if in_user_namespace {
        fsconfig_set_flag(context, "userxattr")?;
    }
    for lower in &directories.lowers {
        fsconfig_set_string(context, "lowerdir+", name(lower))?;
    }
    if let Some((upper, work)) = &directories.writable {
        fsconfig_set_string(context, "upperdir", name(upper))?;
        fsconfig_set_string(context, "workdir", name(work))?;
        // The store decides what reaches the disk when.
        fsconfig_set_flag(context, "volatile")?;
    }
    fsconfig_create(context)?;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NODEV)
}

/// The old way, in which all options share one page: relative to /proc/self/fd there is room for some 500 layers. It
/// attaches the mount somewhere: on top of the first layer, for a moment, in this process's own mount namespace.
fn mount_at_once(directories: &Directories, layers: &Layers, in_user_namespace: bool) -> io::Result<OwnedFd> {
    // A kernel that mounts packed layers knows the other way.
    let Some(Lower::Directory(place)) = layers.lowers.first().filter(|_| !has_packed(layers)) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let numbers: Vec<String> = directories.lowers.iter().map(|lower| lower.as_raw_fd().to_string()).collect();
    let mut options: Vec<String> = PORTABLE.iter().map(|(key, value)| format!("{key}={value}")).collect();
    options.push("xino=off".to_owned());
    options.push(format!("lowerdir={}", numbers.join(":")));
    if let Some((upper, work)) = &directories.writable {
        options.push(format!("upperdir={},workdir={},volatile", name(upper), name(work)));
    }
    if in_user_namespace {
        options.push("userxattr".to_owned());
    }
    rustix::process::chdir("/proc/self/fd")?;
    let options = CString::new(options.join(","))?;
    rustix::mount::mount("overlay", place, "overlay", MountFlags::NODEV, options.as_c_str())?;
    let mount = clone_mount(CWD, place, false);
    rustix::mount::unmount(place, UnmountFlags::DETACH)?;
    mount
}

/// A volatile mount leaves a mark that forbids mounting again, lest a machine that crashed meanwhile goes unnoticed. A
/// container that starts again does just that; what a crash costs is the business of the directories' owner.
fn forget_volatile_mount(work: &OwnedFd) {
    let _ = rustix::fs::unlinkat(work, "work/incompat/volatile/dirty", AtFlags::empty());
    for directory in ["work/incompat/volatile", "work/incompat"] {
        let _ = rustix::fs::unlinkat(work, directory, AtFlags::REMOVEDIR);
    }
}
