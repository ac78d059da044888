//! A sandbox without anything around it: the system calls that a RUN step cannot do without, in a loop.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};

const NAMESPACES: libc::c_int =
    libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;

/// A folder with a root of one program and what an overlay needs.
pub(crate) fn kitchen() -> tempfile::TempDir {
    let kitchen = tempfile::tempdir().expect("a temporary directory");
    let dir = kitchen.path();
    for name in ["base/bin", "base/proc", "base/dev", "base/sys", "upper", "work"] {
        fs_err::create_dir_all(dir.join(name)).expect("a directory");
    }
    fs_err::copy("/bin/busybox", dir.join("base/bin/true")).expect("a static busybox");
    kitchen
}

/// Mounts of this process are its own from here on. To be called before any thread is started.
pub(crate) fn private_mounts() {
    // SAFETY: no other thread has been started.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
        .expect("a mount namespace");
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .expect("no propagation");
}

/// One process: clone, overlay, pivot_root, exec, wait. `furnished` adds /proc, /dev with six devices, /dev/shm, /dev/pts
/// and /sys.
pub(crate) fn bare(dir: &Path, furnished: bool) {
    // clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls.
    let args: [u64; 8] = [NAMESPACES as u64, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
    // SAFETY: args is a valid clone_args, and this process has one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) };
    if pid == 0 {
        let result = bare_child(dir, furnished);
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(if result.is_ok() { 126 } else { 125 }) };
    }
    let mut status = 0;
    // SAFETY: status is a live integer.
    unsafe { libc::waitpid(pid as i32, &raw mut status, 0) };
    assert_eq!(status, 0);
}

fn new_mount(kind: &str, options: &[(&str, &str)]) -> rustix::io::Result<std::os::fd::OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

fn bare_child(dir: &Path, furnished: bool) -> rustix::io::Result<()> {
    let name = |part: &str| dir.join(part).to_string_lossy().into_owned();
    for part in ["incompat/volatile/dirty", "incompat/volatile", "incompat"] {
        let path = dir.join("work/work").join(part);
        let _ = rustix::fs::unlink(&path).or_else(|_| rustix::fs::rmdir(&path));
    }
    let root = new_mount(
        "overlay",
        &[("lowerdir+", &name("base")), ("upperdir", &name("upper")), ("workdir", &name("work"))],
    )?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&root, "", CWD, dir.join("base"), flags)?;
    if furnished {
        furnish(&root)?;
    }
    rustix::process::fchdir(&root)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    let (path, null) = (c"/bin/true".to_owned(), std::ptr::null());
    let pointers = |strings: &[CString]| strings.iter().map(|s| s.as_ptr()).chain([null]).collect::<Vec<_>>();
    let args = [path.clone()];
    // SAFETY: null-terminated arrays of C strings that live until exec.
    unsafe { libc::execve(path.as_ptr(), pointers(&args).as_ptr(), pointers(&[]).as_ptr()) };
    Ok(())
}

fn furnish(root: &impl AsFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(new_mount("proc", &[])?, "", root, "proc", flags)?;
    move_mount(new_mount("sysfs", &[])?, "", root, "sys", flags)?;
    let dev = new_mount("tmpfs", &[])?;
    move_mount(&dev, "", root, "dev", flags)?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let tree = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let device = open_tree(CWD, Path::new("/dev").join(name), tree)?;
        rustix::fs::mknodat(&dev, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)?;
        move_mount(device, "", &dev, name, flags)?;
    }
    for (kind, name) in [("tmpfs", "shm"), ("devpts", "pts")] {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
        move_mount(new_mount(kind, &[])?, "", &dev, name, flags)?;
    }
    Ok(())
}
