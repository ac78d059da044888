//! /proc, /dev and /sys, as the OCI runtime specification and Docker have them.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Dev, FileType, Mode, makedev, mkdirat, mknodat, symlinkat};
use rustix::mount::MountAttrFlags;

use super::mounts::Builder;
use super::path;
use super::staging::{INERT, RDONLY, Staging, attach, attach_at, clone_mount, new_mount};
use super::step::Step as _;
use crate::error::{SetupError, SetupStep};
use crate::spec::{Network, Spec};
use crate::sys;

/// The devices of every sandbox.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Further devices of an insecure sandbox, as BuildKit has them.
const INSECURE_DEVICES: [(&str, u32, u32); 6] = [
    ("kmsg", 1, 11),
    ("cuse", 10, 203),
    ("fuse", 10, 229),
    ("kvm", 10, 232),
    ("net/tun", 10, 200),
    ("loop-control", 10, 237),
];
/// The kernel's number of loop devices.
const LOOP_MAJOR: u32 = 7;
/// How many loop devices there are beyond those that the machine has.
const LOOP_DEVICES_MORE: u32 = 8;

/// Links of every /dev.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Group `tty` of Debian, Fedora, Alpine and all others: owner of terminals.
const TTY_GROUP: &str = "5";

/// The kernel's own files, wherever the image has them mounted: /proc and /sys may be links, and where those lead may change
/// with every mount.
pub(crate) struct KernelFiles {
    proc: OwnedFd,
    sys: OwnedFd,
}

impl KernelFiles {
    /// What is at a path like /proc/sys, if it exists.
    fn find(&self, builder: &Builder, path: &Path, step: SetupStep) -> Result<Option<OwnedFd>, SetupError> {
        for (mount, name) in [(&self.proc, "/proc"), (&self.sys, "/sys")] {
            if let Ok(rest) = path.strip_prefix(name) {
                return path::find(mount.as_fd(), rest).step_at(step, path);
            }
        }
        path::find(builder.root(), path).step_at(step, path)
    }
}

pub(crate) fn mount_all(builder: &mut Builder, spec: &Spec) -> Result<KernelFiles, SetupError> {
    let proc = new_mount("proc", &[], INERT).step(SetupStep::MountProc)?;
    builder.attach(proc.as_fd(), Path::new("/proc"))?;
    mount_dev(builder, spec)?;
    Ok(KernelFiles { proc, sys: mount_sys(builder, spec)? })
}

/// Masked and read-only paths of the kernel's own files.
pub(crate) fn restrict_paths(
    builder: &mut Builder,
    files: &KernelFiles,
    spec: &Spec,
) -> Result<(), SetupError> {
    for path in &spec.readonly_paths {
        let found = files.find(builder, path, SetupStep::ReadonlyPath)?;
        found.map_or(Ok(()), |found| builder.make_readonly(&found, path))?;
    }
    for path in &spec.masked_paths {
        let found = files.find(builder, path, SetupStep::MaskPath)?;
        found.map_or(Ok(()), |found| builder.mask(&found, path))?;
    }
    Ok(())
}

/// The same for what somebody had mounted there instead, such as the host's own /proc.
pub(crate) fn restrict_covered(builder: &mut Builder, spec: &Spec) -> Result<(), SetupError> {
    let is_ours = |target: &Path| target.starts_with("/proc") || target.starts_with("/sys");
    if !spec.mounts.iter().any(|mount| is_ours(&mount.target)) {
        return Ok(());
    }
    let open = |name| builder.open(Path::new(name)).step_at(SetupStep::MaskPath, name);
    let files = KernelFiles { proc: open("/proc")?, sys: open("/sys")? };
    restrict_paths(builder, &files, spec)
}

/// The directory itself forbids device files, so CAP_MKNOD makes nothing that opens; each device is a mount.
fn mount_dev(builder: &mut Builder, spec: &Spec) -> Result<(), SetupError> {
    let insecure = spec.insecure && !builder.in_user_namespace;
    let nodev = if insecure { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_NODEV };
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | nodev;
    let options = [("mode", "0755"), ("size", "65536k")];
    let dev = new_mount("tmpfs", &options, flags).step(SetupStep::MountDev)?;
    builder.attach(dev.as_fd(), Path::new("/dev"))?;
    for (name, major, minor) in DEVICES {
        mount_device(&mut builder.staging, &dev, name, makedev(major, minor))
            .step_at(SetupStep::MakeDevice, Path::new("/dev").join(name))?;
    }
    if insecure {
        make_insecure_devices(&dev)?;
    }
    // A kernel without /proc/kcore gets no name for it.
    let there = |&(name, target): &(&str, &str)| name != "core" || Path::new(target).exists();
    for (name, target) in LINKS.into_iter().filter(there) {
        symlinkat(target, &dev, name).step_at(SetupStep::MountDev, name)?;
    }
    for name in ["pts", "shm", "mqueue"] {
        mkdirat(&dev, name, Mode::from_raw_mode(0o755)).step_at(SetupStep::MountDev, name)?;
    }
    let shm = [("mode", "1777"), ("size", &spec.shm_size.to_string())];
    let shm = new_mount("tmpfs", &shm, INERT).step(SetupStep::MountDev)?;
    attach(shm.as_fd(), dev.as_fd(), "shm").step(SetupStep::MountDev)?;
    mount_mqueue(&dev)?;
    mount_devpts(&dev, spec)
}

fn mount_device(staging: &mut Staging, dev: &OwnedFd, name: &str, device: Dev) -> std::io::Result<()> {
    let mount = staging.device(name, device)?;
    mknodat(dev, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)?;
    attach(mount.as_fd(), dev.as_fd(), name)
}

/// An outer container may forbid it: then the sandbox is as insecure as that one lets it be.
fn make_insecure_devices(dev: &OwnedFd) -> Result<(), SetupError> {
    mkdirat(dev, "net", Mode::from_raw_mode(0o755)).step_at(SetupStep::MakeDevice, "/dev/net")?;
    let make = |name: &str, kind: FileType, device: Dev| {
        let mode = Mode::from_raw_mode(0o666);
        match mknodat(dev, name, kind, mode, device) {
            Err(rustix::io::Errno::PERM) => Ok(()),
            result => result.step_at(SetupStep::MakeDevice, Path::new("/dev").join(name)),
        }
    };
    for (name, major, minor) in INSECURE_DEVICES {
        make(name, FileType::CharacterDevice, makedev(major, minor))?;
    }
    let is_loop = |number: &u32| Path::new(&format!("/sys/block/loop{number}")).exists();
    let there = (0..).take_while(is_loop).count() as u32;
    for number in 0..there + LOOP_DEVICES_MORE {
        make(&format!("loop{number}"), FileType::BlockDevice, makedev(LOOP_MAJOR, number))?;
    }
    Ok(())
}

fn mount_mqueue(dev: &OwnedFd) -> Result<(), SetupError> {
    match new_mount("mqueue", &[], INERT) {
        // A kernel without POSIX message queues.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        result => {
            let mqueue = result.step(SetupStep::MountMqueue)?;
            attach(mqueue.as_fd(), dev.as_fd(), "mqueue").step(SetupStep::MountMqueue)
        }
    }
}

fn mount_devpts(dev: &OwnedFd, spec: &Spec) -> Result<(), SetupError> {
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", TTY_GROUP)];
    let devpts = match new_mount("devpts", &options, flags) {
        // The group is not mapped in a user namespace with few ids.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => new_mount("devpts", &options[..2], flags),
        result => result,
    };
    let devpts = devpts.step(SetupStep::MountDevpts)?;
    attach(devpts.as_fd(), dev.as_fd(), "pts").step(SetupStep::MountDevpts)?;
    if spec.tty.is_some() {
        mknodat(dev, "console", FileType::RegularFile, Mode::from_raw_mode(0o600), 0)
            .step(SetupStep::OpenTerminal)?;
    }
    Ok(())
}

/// sysfs shows the devices of one network namespace and can be mounted by its owner only; else the host's is bound.
fn mount_sys(builder: &mut Builder, spec: &Spec) -> Result<OwnedFd, SetupError> {
    let readonly = if spec.insecure { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_RDONLY };
    let flags = INERT | readonly;
    match new_mount("sysfs", &[], flags) {
        Err(_) if spec.network == Network::Host && builder.in_user_namespace => {
            let sys = clone_mount(CWD, "/sys", true).step(SetupStep::MountSys)?;
            sys::add_mount_flags(sys.as_fd(), RDONLY | u64::from(INERT.bits()), true)
                .step(SetupStep::MountSys)?;
            builder.attach(sys.as_fd(), Path::new("/sys"))?;
            Ok(sys)
        }
        result => {
            let sys = result.step(SetupStep::MountSys)?;
            builder.attach(sys.as_fd(), Path::new("/sys"))?;
            mount_cgroup(&sys, flags);
            Ok(sys)
        }
    }
}

/// The sandbox's own part of the unified hierarchy, read-only. Hosts with the old ones show none.
fn mount_cgroup(sys: &OwnedFd, flags: MountAttrFlags) {
    const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
    let is_unified = |fs: rustix::fs::StatFs| fs.f_type as u64 == CGROUP2_SUPER_MAGIC;
    if !rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(is_unified) {
        return;
    }
    // An outer container may keep the hierarchy to itself; nothing in a build needs it.
    if let (Ok(cgroup), Ok(point)) =
        (new_mount("cgroup2", &[], flags), path::open(sys.as_fd(), Path::new("fs/cgroup")))
    {
        let _ = attach_at(cgroup.as_fd(), point.as_fd());
    }
}
