//! System calls that rustix does not offer, each behind a function that is safe to call or says what it needs.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;

use crate::outcome::{Exit, Outcome, Usage};

/// Both sides of a fork.
pub(crate) enum Fork {
    /// In the new process.
    Child,
    /// In the old one.
    Parent {
        /// The new process, in the caller's pid namespace.
        pid: i32,
        /// A file that stands for the new process.
        pidfd: OwnedFd,
    },
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Has large pieces of memory go back to the kernel when they are freed. When nothing is said, glibc takes the first large
/// piece that is freed as a sign to keep all that are smaller, for each thread.
#[cfg(target_env = "gnu")]
pub(crate) fn give_back_memory() {
    const LARGE_BYTES: libc::c_int = 128 << 10;
    // SAFETY: sets a number in the allocator; where it is refused, nothing changes.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same, with the error as rustix has it.
pub(crate) fn checked(result: libc::c_long) -> Result<libc::c_long, Errno> {
    check(result).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Forks into the new namespaces of `namespaces` (CLONE_NEW* bits).
///
/// # Safety
///
/// When the calling process has other threads, the child may only make system calls (no allocation, no locks) until
/// it executes another program.
pub(crate) unsafe fn fork_into(namespaces: u64) -> io::Result<Fork> {
    let mut pidfd: libc::c_int = -1;
    let args = CloneArgs {
        flags: namespaces | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    // SAFETY: args is a valid clone_args of the size given and pidfd outlives the call; without CLONE_VM the child has
    // its own copy of the memory, and the caller promises to respect what a fork of threads leaves usable.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) });
    let pid = match pid {
        // Docker's filter hides the newer call from containers, because it cannot see its flags.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            let flags = args.flags | args.exit_signal;
            // SAFETY: as above; no new stack, and the third argument is where the kernel stores the pidfd.
            check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, args.pidfd, 0, 0) })?
        }
        result => result?,
    };
    if pid == 0 {
        return Ok(Fork::Child);
    }
    // SAFETY: on success the kernel stored a new file descriptor that nothing else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Fork::Parent { pid: pid as i32, pidfd })
}

/// Forks a process whose filter of system calls does not know `clone3`; gives the child's number in the parent.
///
/// # Safety
///
/// As for [`fork_into`].
pub(crate) unsafe fn fork_filtered() -> io::Result<Option<i32>> {
    // SAFETY: the caller promises to respect what a fork of threads leaves usable.
    let pid = check(unsafe { libc::fork() }.into())?;
    Ok((pid > 0).then_some(pid as i32))
}

/// Has children that are forked from now on be in the pid namespace of this process's, until [`children_stay`]; gives what
/// that needs.
pub(crate) fn children_go_to(process: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let own = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())?;
    set_namespaces(process, libc::CLONE_NEWPID)?;
    Ok(own)
}

/// Has children be in this process's own pid namespace again.
pub(crate) fn children_stay(own: &OwnedFd) -> io::Result<()> {
    set_namespaces(own.as_fd(), libc::CLONE_NEWPID)
}

/// Moves this process, which has one thread, into the namespaces of the sandbox whose first process this is.
pub(crate) fn join_sandbox(process: BorrowedFd<'_>, network: bool) -> io::Result<()> {
    let all = libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
    set_namespaces(process, if network { all | libc::CLONE_NEWNET } else { all })
}

/// Enters the mount namespace of a process; its root becomes that of the calling process.
pub(crate) fn join_mounts(process: BorrowedFd<'_>) -> io::Result<()> {
    set_namespaces(process, libc::CLONE_NEWNS)
}

/// The mount namespace of a child of this process, as a file that keeps it; since Linux 6.11.
pub(crate) fn mounts_of(process: BorrowedFd<'_>) -> Option<OwnedFd> {
    /// `PIDFD_GET_MNT_NAMESPACE`.
    const GET_MOUNTS: libc::c_ulong = 0xff03;
    // SAFETY: the request takes no argument.
    let file = unsafe { libc::ioctl(process.as_raw_fd(), GET_MOUNTS as _, 0) };
    // SAFETY: on success the kernel made a new file descriptor that nothing else owns.
    (file >= 0).then(|| unsafe { OwnedFd::from_raw_fd(file) })
}

fn set_namespaces(process: BorrowedFd<'_>, namespaces: libc::c_int) -> io::Result<()> {
    // SAFETY: plain numbers; no memory of this process depends on a namespace.
    check(unsafe { libc::setns(process.as_raw_fd(), namespaces) }.into())?;
    Ok(())
}

/// A list of C strings as the array of pointers that execve wants.
///
/// Made before a fork, used after it: the child must not allocate.
pub(crate) struct CStringArray {
    _strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl CStringArray {
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        let pointers =
            strings.iter().map(|string| string.as_ptr()).chain(std::iter::once(std::ptr::null())).collect();
        Self { _strings: strings, pointers }
    }
}

/// Replaces the process by the program at `path`; returns only the reason why not.
pub(crate) fn exec_path(path: &CStr, args: &CStringArray, env: &CStringArray) -> io::Error {
    // SAFETY: path is a C string and both arrays are null-terminated arrays of C strings that they keep alive.
    unsafe { libc::execve(path.as_ptr(), args.pointers.as_ptr(), env.pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces the process by the program that `file` is; returns only the reason why not.
pub(crate) fn exec_file(file: BorrowedFd<'_>, args: &CStringArray, env: &CStringArray) -> io::Error {
    // SAFETY: as in exec_path; the empty path with AT_EMPTY_PATH means the file itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            args.pointers.as_ptr(),
            env.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Ends the process at once, without running destructors or flushing anything.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: a plain number.
    unsafe { libc::syscall(libc::SYS_exit_group, code) };
    // A filter of somebody's own has refused even that; this needs none.
    std::process::abort()
}

/// Closes every file descriptor from `first` on. Only for a process that never uses an owner of one again.
pub(crate) fn close_from(first: u32) {
    // SAFETY: plain numbers; the caller promises about the owners.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

/// Marks every file descriptor from `first` on to be closed by the next exec.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: with CLOSE_RANGE_CLOEXEC nothing is closed now, so no owner of a descriptor is invalidated.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Makes `to` (one of the low numbers) refer to the same file as `from`, open across exec.
pub(crate) fn place_descriptor(from: BorrowedFd<'_>, to: i32) -> io::Result<()> {
    if from.as_raw_fd() == to {
        // SAFETY: F_SETFD on a borrowed descriptor only changes its close-on-exec flag.
        check(unsafe { libc::fcntl(to, libc::F_SETFD, 0) }.into())?;
        return Ok(());
    }
    // SAFETY: the callers pass numbers that no OwnedFd of this process owns (standard streams and fixed slots of a child
    // that is about to exec), so replacing them invalidates nothing.
    check(unsafe { libc::dup2(from.as_raw_fd(), to) }.into())?;
    Ok(())
}

/// Takes over a descriptor that the process was started with.
///
/// # Safety
///
/// The number must be open and owned by nothing else in this process.
pub(crate) unsafe fn adopt_descriptor(number: i32) -> OwnedFd {
    // SAFETY: promised by the caller.
    unsafe { OwnedFd::from_raw_fd(number) }
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Adds MOUNT_ATTR_* bits to a mount, and to all below it when `recursive`.
pub(crate) fn add_mount_flags(mount: BorrowedFd<'_>, flags: u64, recursive: bool) -> io::Result<()> {
    let attr = MountAttr { set: flags, clear: 0, propagation: 0, userns_fd: 0 };
    set_mount_attributes(mount, &attr, recursive)
}

/// Removes MOUNT_ATTR_* bits from a mount.
pub(crate) fn remove_mount_flags(mount: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    let attr = MountAttr { set: 0, clear: flags, propagation: 0, userns_fd: 0 };
    set_mount_attributes(mount, &attr, false)
}

fn set_mount_attributes(mount: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> io::Result<()> {
    const AT_RECURSIVE: libc::c_int = 0x8000;
    let at_flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: attr is a valid mount_attr of the size given, the path is an empty C string.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            at_flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}

/// Sends a signal by number, real-time ones included.
pub(crate) fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks the kernel to fill it in; the rest are plain numbers.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) })?;
    Ok(())
}

/// A child that ended, with what it used.
pub(crate) struct Ended {
    pub(crate) pid: i32,
    pub(crate) status: i32,
    pub(crate) max_rss_bytes: u64,
    pub(crate) user_time: Duration,
    pub(crate) system_time: Duration,
}

/// Reaps any child that has ended; `None` when there is none now.
pub(crate) fn reap_any() -> Option<Ended> {
    reap(libc::WNOHANG)
}

/// Does something as another user, in a process of its own: whether it did. The caller has one thread.
pub(crate) fn succeeds_as(user: u32, act: impl FnOnce() -> bool) -> bool {
    // SAFETY: as the caller has one thread, the child may do what it likes.
    match unsafe { fork_into(0) } {
        Ok(Fork::Child) => exit_now(i32::from(set_uid(user).is_err() || !act())),
        Ok(Fork::Parent { pid, .. }) => {
            let mut status = 0;
            // SAFETY: the pointer is to a live value of the right type.
            let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
            waited == pid && status == 0
        }
        Err(_) => false,
    }
}

/// Waits for the end of any child; `None` when there are no children.
pub(crate) fn await_any() -> Option<Ended> {
    reap(0)
}

fn reap(options: i32) -> Option<Ended> {
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which all zeroes are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right types.
    let pid = unsafe { libc::wait4(-1, &raw mut status, options, &raw mut usage) };
    (pid > 0).then(|| Ended {
        pid,
        status,
        max_rss_bytes: (usage.ru_maxrss as u64) << 10,
        user_time: duration(usage.ru_utime),
        system_time: duration(usage.ru_stime),
    })
}

impl Ended {
    /// As galley is told.
    pub(crate) fn outcome(&self, oom_killed: bool) -> Outcome {
        let usage = Usage {
            max_rss_bytes: self.max_rss_bytes,
            user_time: self.user_time,
            system_time: self.system_time,
        };
        Outcome { exit: Exit::from_wait_status(self.status), usage, oom_killed }
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000)
}

fn signal_set(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: sigset_t is plain bits; sigemptyset and sigaddset only write to it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// Blocks these signals for the calling thread and gives a file from which they are read instead.
pub(crate) fn signal_file(signals: &[i32]) -> io::Result<OwnedFd> {
    let set = signal_set(signals);
    // SAFETY: set is initialised; a null old set is allowed.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    // SAFETY: set is initialised; -1 asks for a new descriptor.
    let fd =
        check(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) }.into())?;
    // SAFETY: a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A signal read from a [`signal_file`].
pub(crate) struct Arrived {
    pub(crate) signal: i32,
    /// Whether the kernel sent it (a key on the terminal), not a process.
    pub(crate) by_kernel: bool,
}

/// The next signal of a [`signal_file`], if one has arrived.
pub(crate) fn read_signal(file: BorrowedFd<'_>) -> Option<Arrived> {
    let mut buffer = [0_u8; size_of::<libc::signalfd_siginfo>()];
    let read = rustix::io::read(file, &mut buffer).ok()?;
    if read != buffer.len() {
        return None;
    }
    let word = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&buffer[at..at + 4]);
        i32::from_ne_bytes(bytes)
    };
    let code = word(std::mem::offset_of!(libc::signalfd_siginfo, ssi_code));
    let signal = word(std::mem::offset_of!(libc::signalfd_siginfo, ssi_signo));
    Some(Arrived { signal, by_kernel: code == libc::SI_KERNEL })
}

/// The numbers of all signals.
pub(crate) fn all_signals() -> Vec<i32> {
    (1..65).collect()
}

/// Those that this process ignores, which programs it executes would ignore too.
pub(crate) fn ignored_signals() -> Vec<i32> {
    let is_ignored = |&signal: &i32| {
        // SAFETY: a sigaction of zeroes is one.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: a null new action changes nothing; the old one is a live value of the right type.
        let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
        asked == 0 && action.sa_sigaction == libc::SIG_IGN
    };
    all_signals().into_iter().filter(is_ignored).collect()
}

/// Gives these signals their default action and blocks none.
pub(crate) fn reset_signals(signals: &[i32]) {
    let set = signal_set(&[]);
    for &signal in signals {
        // SAFETY: SIG_DFL runs no code of ours; numbers that cannot be changed give an error, which is fine.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: set is initialised; a null old set is allowed.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
}

/// Gives the process a session keyring of its own, so that it cannot use its parent's keys.
pub(crate) fn join_new_session_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring. Kernels without keys, and full quotas, change nothing.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
}

/// Sets a resource limit by the kernel's number.
pub(crate) fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = [soft, hard];
    let none = std::ptr::null_mut::<u64>();
    // SAFETY: the kernel reads a rlimit64, two u64, from limit; a null old limit is allowed; pid 0 is the caller.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, limit.as_ptr(), none) })?;
    Ok(())
}

/// Sets all three user ids, of this thread alone.
pub(crate) fn set_uid(uid: u32) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
    Ok(())
}

/// Sets all three group ids, of this thread alone.
pub(crate) fn set_gid(gid: u32) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    Ok(())
}

/// Has whatever loses its parent below this process become its child.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }.into())?;
    Ok(())
}

/// Replaces the supplementary groups, of this thread alone.
pub(crate) fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of one slice of gid_t.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    Ok(())
}

/// Capabilities of a thread.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
}

/// What this process may have.
pub(crate) fn permitted_capabilities() -> u64 {
    capabilities(0).permitted
}

/// Those of a thread, 0 is the calling one; none when it is gone.
pub(crate) fn capabilities(thread: u32) -> Held {
    let header: [u32; 2] = [CAPABILITY_VERSION_3, thread];
    let mut data = [0_u32; 6];
    // SAFETY: header is a cap_user_header_t of version 3, for which data has room for two cap_user_data_t.
    unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) };
    let set = |low: usize| u64::from(data[low]) | u64::from(data[low + 3]) << 32;
    Held { effective: set(0), permitted: set(1) }
}

/// The version of the kernel's interface in which a set has 64 bits.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Sets the permitted and effective capabilities to `bits`, and the inheritable ones to those.
pub(crate) fn set_capabilities(bits: u64, inheritable: u64) -> io::Result<()> {
    set_capability_sets([bits, bits, inheritable])
}

/// Sets the effective capabilities alone; `permitted` are the permitted ones, as they are.
pub(crate) fn set_effective_capabilities(effective: u64, permitted: u64) -> io::Result<()> {
    set_capability_sets([effective, permitted, 0])
}

/// Effective, permitted, inheritable.
fn set_capability_sets(sets: [u64; 3]) -> io::Result<()> {
    let header: [u32; 2] = [CAPABILITY_VERSION_3, 0];
    let data = [sets.map(|bits| bits as u32), sets.map(|bits| (bits >> 32) as u32)];
    // SAFETY: header is a cap_user_header_t of version 3, for which data holds two cap_user_data_t.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) })?;
    Ok(())
}

/// Removes one capability from the bounding set; `false` when the kernel does not know the number.
pub(crate) fn drop_bounding(number: usize) -> io::Result<bool> {
    // SAFETY: plain numbers.
    match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) }.into()) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Empties the ambient capabilities.
pub(crate) fn clear_ambient() -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) }.into())?;
    Ok(())
}

/// Makes a capability ambient, which it stays over exec for every user; it has to be permitted and inheritable.
pub(crate) fn raise_ambient(number: usize) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number, 0, 0) }.into())?;
    Ok(())
}

/// Lets the permitted capabilities outlive the change to another user.
pub(crate) fn keep_capabilities() -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) }.into())?;
    Ok(())
}

/// Installs a classic BPF program as system call filter of this thread.
pub(crate) fn load_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    load_filter_with(program, 0)
}

/// The same, with flags that give no descriptor.
pub(crate) fn load_filter_with(program: &[libc::sock_filter], flags: u32) -> io::Result<()> {
    const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: filter describes the slice, which the kernel copies and checks; it does not write to it.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const filter) })?;
    Ok(())
}

/// Prepares a new network namespace, the calling thread's, as Docker does: loopback is up, and users other than root may
/// bind low ports and send echo requests.
pub(crate) fn furnish_network() -> io::Result<()> {
    loopback_up()?;
    // Best effort: older kernels know only some of these, and groups may not be mapped.
    let settings = [("ip_unprivileged_port_start", "0"), ("ping_group_range", "0 2147483647")];
    for (name, value) in settings {
        let _ = fs_err::write(format!("/proc/sys/net/ipv4/{name}"), value);
    }
    Ok(())
}

/// Switches the network interface `lo` of the current network namespace on.
fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: ifreq is plain data, for which all zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads a ifreq, which request is.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }.into())?;
    Ok(())
}
