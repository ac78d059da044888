//! The kernel's side of looking into another process.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::{self, checked};

/// Reads memory of another process; gives how much there is.
pub(super) fn read_memory(pid: u32, address: u64, into: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: local describes `into`, which is written to; remote is an address of the other process, which the kernel
    // checks.
    let read = unsafe { libc::process_vm_readv(pid as i32, &raw const local, 1, &raw const remote, 1, 0) };
    checked(read as libc::c_long).map(|read| read as usize)
}

/// The memory of another process, whoever gets its number later. Seen from the supervisor's working directory.
pub(super) struct Memory(OwnedFd);

impl Memory {
    pub(super) fn of(pid: u32) -> Result<Self, Errno> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, format!("{pid}/mem"), flags, Mode::empty())?))
    }

    /// Writes all of `bytes`.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        match rustix::io::pwrite(&self.0, bytes, address) {
            Ok(wrote) if wrote == bytes.len() => Ok(()),
            _ => Err(Errno::FAULT),
        }
    }
}

/// The soft limit of file locks of a process, which Linux has not obeyed since 2.4.25; forks and execs keep it.
pub(super) fn lock_limit(pid: u32) -> Result<u64, Errno> {
    limit(pid, None)
}

/// Sets the same, the hard limit stays; gives what it was.
pub(super) fn set_lock_limit(pid: u32, soft: u64) -> Result<u64, Errno> {
    limit(pid, Some(soft))
}

fn limit(pid: u32, soft: Option<u64>) -> Result<u64, Errno> {
    let new = soft.map(|soft| [soft, u64::MAX]);
    let new = new.as_ref().map_or(std::ptr::null(), |new| new.as_ptr());
    let mut old = [0_u64; 2];
    // SAFETY: the kernel reads a rlimit64, two u64, where the pointer is not null, and writes one.
    checked(unsafe { libc::syscall(libc::SYS_prlimit64, pid, libc::RLIMIT_LOCKS, new, old.as_mut_ptr()) })?;
    Ok(old[0])
}

/// The effective capabilities of a thread.
pub(super) fn capabilities(pid: u32) -> u64 {
    sys::capabilities(pid).effective
}

/// What `stat` fills in. The C library's form is the kernel's on the machines that galley knows.
pub(super) fn stat(path: &CStr, follow: bool) -> Result<libc::stat, Errno> {
    let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: path is a C string, and the kernel writes one stat.
    checked(unsafe { libc::fstatat(libc::AT_FDCWD, path.as_ptr(), stat.as_mut_ptr(), flags) }.into())?;
    // SAFETY: plain numbers, and filled in.
    Ok(unsafe { stat.assume_init() })
}

/// What `statx` fills in.
pub(super) fn statx(path: &CStr, flags: i32, mask: u32) -> Result<libc::statx, Errno> {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: path is a C string, and the kernel writes one statx.
    let result = unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, mask, stat.as_mut_ptr()) };
    checked(result.into())?;
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
