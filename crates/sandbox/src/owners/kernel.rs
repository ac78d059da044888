//! The kernel's side of user notification, and of looking into another process.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const ID_VALID: libc::c_ulong = 0x4008_2102;
const ADD_FILE: libc::c_ulong = 0x4018_2103;
const SET_FLAGS: libc::c_ulong = 0x4008_2104;

/// Both sides on one processor, taking turns.
const SYNC_WAKE_UP: libc::c_ulong = 1;
/// The kernel makes the call.
const FLAG_CONTINUE: u32 = 1;
/// The new descriptor is the answer.
const FLAG_SEND: u32 = 2;

/// A call that waits for its answer: the kernel's `struct seccomp_notif`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Call {
    pub(super) id: u64,
    /// The thread, in the supervisor's pid namespace.
    pub(super) pid: u32,
    flags: u32,
    pub(super) number: i32,
    arch: u32,
    instruction: u64,
    pub(super) args: [u64; 6],
}

#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

#[repr(C)]
struct AddFile {
    id: u64,
    flags: u32,
    source: u32,
    new: u32,
    new_flags: u32,
}

fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 {
        let error = io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    Ok(result)
}

/// Loads a filter into this thread and gives what its notifications are read from.
pub(super) fn load_listener(program: &[libc::sock_filter]) -> Result<OwnedFd, Errno> {
    const SET_MODE_FILTER: libc::c_uint = 1;
    const NEW_LISTENER: libc::c_ulong = 1 << 3;
    // Else every signal of a Go program would interrupt, and repeat, what is being done for it.
    const WAIT_KILLABLE: libc::c_ulong = 1 << 5;
    let len = u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let load = |flags: libc::c_ulong| {
        // SAFETY: filter describes the slice, which the kernel copies and checks; it does not write to it.
        check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const filter) })
    };
    let fd = match load(NEW_LISTENER | WAIT_KILLABLE) {
        // Before Linux 5.19.
        Err(Errno::INVAL) => load(NEW_LISTENER),
        result => result,
    }?;
    // SAFETY: a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Where calls come from.
pub(super) struct Listener(OwnedFd);

impl Listener {
    pub(super) fn new(file: OwnedFd) -> Self {
        // Since Linux 6.6; without it everything is slower.
        // SAFETY: the argument is a plain number.
        unsafe { libc::ioctl(file.as_raw_fd(), SET_FLAGS as _, SYNC_WAKE_UP) };
        Self(file)
    }

    /// Waits for the next call; `None` when nothing is left that could call.
    pub(super) fn receive(&self) -> Result<Option<Call>, Errno> {
        use rustix::event::{PollFd, PollFlags, poll};
        loop {
            let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut polled, None))?;
            if !polled[0].revents().contains(PollFlags::IN) {
                return Ok(None);
            }
            let mut call = Call::default();
            // SAFETY: the kernel writes a seccomp_notif, which call has the size and form of.
            let result = unsafe { libc::ioctl(self.0.as_raw_fd(), RECEIVE as _, &raw mut call) };
            match check(result.into()) {
                Ok(_) => return Ok(Some(call)),
                // Its process is gone.
                Err(Errno::NOENT | Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&self, answer: &Answer) {
        // The process may be gone: then nobody needs the answer.
        // SAFETY: the kernel reads a seccomp_notif_resp, which answer has the size and form of.
        unsafe { libc::ioctl(self.0.as_raw_fd(), SEND as _, std::ptr::from_ref(answer)) };
    }

    /// The call gives this.
    pub(super) fn answer(&self, id: u64, value: i64) {
        self.send(&Answer { id, value, error: 0, flags: 0 });
    }

    /// The call fails.
    pub(super) fn fail(&self, id: u64, error: Errno) {
        self.send(&Answer { id, value: 0, error: -error.raw_os_error(), flags: 0 });
    }

    /// The kernel makes the call.
    pub(super) fn go_on(&self, id: u64) {
        self.send(&Answer { id, value: 0, error: 0, flags: FLAG_CONTINUE });
    }

    /// Whether the call still waits: then its process is the one that made it.
    pub(super) fn waits(&self, id: u64) -> bool {
        // SAFETY: the kernel reads a u64.
        unsafe { libc::ioctl(self.0.as_raw_fd(), ID_VALID as _, &raw const id) == 0 }
    }

    /// The call gives a new descriptor of this file.
    pub(super) fn answer_file(
        &self,
        id: u64,
        file: BorrowedFd<'_>,
        close_on_exec: bool,
    ) -> Result<(), Errno> {
        let new_flags = if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 };
        let add = AddFile { id, flags: FLAG_SEND, source: file.as_raw_fd() as u32, new: 0, new_flags };
        // SAFETY: the kernel reads a seccomp_notif_addfd, which add has the size and form of.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), ADD_FILE as _, &raw const add) }.into())?;
        Ok(())
    }
}

/// Reads memory of another process; gives how much there is.
pub(super) fn read_memory(pid: u32, address: u64, into: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: local describes `into`, which is written to; remote is an address of the other process, which the kernel
    // checks.
    let read = unsafe { libc::process_vm_readv(pid as i32, &raw const local, 1, &raw const remote, 1, 0) };
    check(read as libc::c_long).map(|read| read as usize)
}

/// Writes all of `bytes` to the memory of another process.
pub(super) fn write_memory(pid: u32, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: local describes `bytes`, which is only read; remote is an address of the other process, which the kernel
    // checks.
    let wrote = unsafe { libc::process_vm_writev(pid as i32, &raw const local, 1, &raw const remote, 1, 0) };
    let wrote = check(wrote as libc::c_long)?;
    if wrote as usize == bytes.len() { Ok(()) } else { Err(Errno::FAULT) }
}

/// The soft limit of file locks of a process, which Linux has not obeyed since 2.4.25; forks and execs keep it.
pub(super) fn lock_limit(pid: u32) -> Result<u64, Errno> {
    let mut limits = [0_u64; 2];
    let none = std::ptr::null::<u64>();
    // SAFETY: the kernel writes a rlimit64, two u64; a null new limit is allowed.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, libc::RLIMIT_LOCKS, none, limits.as_mut_ptr()) })?;
    Ok(limits[0])
}

/// Sets the same; the hard limit stays.
pub(super) fn set_lock_limit(pid: u32, soft: u64) -> Result<(), Errno> {
    let limits = [soft, u64::MAX];
    let none = std::ptr::null_mut::<u64>();
    // SAFETY: the kernel reads a rlimit64, two u64; a null old limit is allowed.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, libc::RLIMIT_LOCKS, limits.as_ptr(), none) })?;
    Ok(())
}

/// What `stat` fills in. The C library's form is the kernel's on the machines that galley knows.
pub(super) fn stat(path: &CStr, follow: bool) -> Result<libc::stat, Errno> {
    let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: path is a C string, and the kernel writes one stat.
    check(unsafe { libc::fstatat(libc::AT_FDCWD, path.as_ptr(), stat.as_mut_ptr(), flags) }.into())?;
    // SAFETY: plain numbers, and filled in.
    Ok(unsafe { stat.assume_init() })
}

/// What `statx` fills in.
pub(super) fn statx(path: &CStr, flags: i32, mask: u32) -> Result<libc::statx, Errno> {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: path is a C string, and the kernel writes one statx.
    let result = unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, mask, stat.as_mut_ptr()) };
    check(result.into())?;
    // SAFETY: plain numbers, and filled in.
    Ok(unsafe { stat.assume_init() })
}

/// The bytes of a plain structure of numbers, as it goes into the memory of another process.
///
/// Only for the two above, which were zeroed before the kernel filled them in.
pub(super) fn bytes<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: Plain is for structures whose every byte, padding too, was written.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// A structure of numbers that was zeroed and filled in.
pub(super) trait Plain {}

impl Plain for libc::stat {}
impl Plain for libc::statx {}
