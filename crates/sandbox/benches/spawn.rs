//! A trivial sandbox against bare loops of the same system calls: `cargo bench -p galley-sandbox` as root.
//!
//! `bare` is clone, overlay, pivot_root, exec, wait; `furnished` adds /proc, /dev with six devices, /dev/shm, /dev/pts
//! and /sys. The sandbox does all of that, and masks, capabilities and the filter. The three take turns in changing
//! order, so that a busy machine, and what the one before leaves to be torn down, slows them alike.

#![expect(clippy::print_stdout, reason = "a bench prints")]

use std::ffi::{CString, OsString};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use galley_sandbox::{Handles, Layers, Network, Root, Spawner, Spec, Writable};
use rustix::fs::{CWD, FileType, Mode};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};

const ROUNDS: usize = 400;
const NAMESPACES: libc::c_int =
    libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;

fn main() {
    galley_sandbox::init();
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: needs root");
        return;
    }
    let kitchen = tempfile::tempdir().expect("a temporary directory");
    let dir = kitchen.path();
    for name in ["base/bin", "base/proc", "base/dev", "base/sys", "upper", "work"] {
        fs_err::create_dir_all(dir.join(name)).expect("a directory");
    }
    fs_err::copy("/bin/busybox", dir.join("base/bin/true")).expect("a static busybox");
    let spawner = Spawner::start().expect("a spawner");
    // The spawner makes mounts private once; so do the bare loops, in a parent of their own.
    // SAFETY: no other thread has been started.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
        .expect("a mount namespace");
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .expect("no propagation");
    let spec = spec(dir);
    let mut times: [Vec<Duration>; 3] = Default::default();
    for round in 0..ROUNDS {
        for turn in 0..3 {
            let kind = (turn + round / 2) % 3;
            times[kind].push(match kind {
                0 => time(|| bare(dir, false)),
                1 => time(|| bare(dir, true)),
                _ => time(|| sandbox(&spawner, &spec)),
            });
        }
    }
    let [bare, furnished, sandbox] = times.map(summary);
    println!("bare       min {:.2?} p50 {:.2?} p90 {:.2?}", bare[0], bare[1], bare[2]);
    println!("furnished  min {:.2?} p50 {:.2?} p90 {:.2?}", furnished[0], furnished[1], furnished[2]);
    println!("sandbox    min {:.2?} p50 {:.2?} p90 {:.2?}", sandbox[0], sandbox[1], sandbox[2]);
    let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
    println!(
        "sandbox / bare       min {:.2} p50 {:.2}",
        ratio(sandbox[0], bare[0]),
        ratio(sandbox[1], bare[1])
    );
    println!(
        "sandbox / furnished  min {:.2} p50 {:.2}",
        ratio(sandbox[0], furnished[0]),
        ratio(sandbox[1], furnished[1])
    );
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn summary(mut times: Vec<Duration>) -> [Duration; 3] {
    times.sort();
    [times[0], times[times.len() / 2], times[times.len() * 9 / 10]]
}

fn spec(dir: &Path) -> Spec {
    let writable = Writable { upper: dir.join("upper"), work: dir.join("work") };
    let root = Root::Layers(Layers { lowers: vec![dir.join("base").into()], writable: Some(writable) });
    let mut spec = Spec::new(root, vec![OsString::from("/bin/true")]);
    spec.network = Network::Host;
    spec
}

fn sandbox(spawner: &Spawner, spec: &Spec) {
    let child = spawner.spawn(spec, Handles::default()).expect("a sandbox");
    assert!(child.wait().expect("its end").exit.success());
}

fn bare(dir: &Path, furnished: bool) {
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
