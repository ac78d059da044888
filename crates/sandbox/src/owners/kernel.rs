//! The kernel's side of looking into another process.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use rustix::io::Errno;

use crate::sys::checked;

/// Reads memory of another process; gives how much there is.
pub(super) fn read_memory(pid: u32, address: u64, into: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: local describes `into`, which is written to; remote is an address of the other process, which the kernel
    // checks.
    let read = unsafe { libc::process_vm_readv(pid as i32, &raw const local, 1, &raw const remote, 1, 0) };
    checked(read as libc::c_long).map(|read| read as usize)
}

/// Writes all of `bytes` to the memory of another process.
pub(super) fn write_memory(pid: u32, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: local describes `bytes`, which is only read; remote is an address of the other process, which the kernel
    // checks.
    let wrote = unsafe { libc::process_vm_writev(pid as i32, &raw const local, 1, &raw const remote, 1, 0) };
    let wrote = checked(wrote as libc::c_long)?;
    if wrote as usize == bytes.len() { Ok(()) } else { Err(Errno::FAULT) }
}

/// The soft limit of file locks of a process, which Linux has not obeyed since 2.4.25; forks and execs keep it.
pub(super) fn lock_limit(pid: u32) -> Result<u64, Errno> {
    let mut limits = [0_u64; 2];
    let none = std::ptr::null::<u64>();
    // SAFETY: the kernel writes a rlimit64, two u64; a null new limit is allowed.
    checked(unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, libc::RLIMIT_LOCKS, none, limits.as_mut_ptr())
    })?;
    Ok(limits[0])
}

/// Sets the same; the hard limit stays.
pub(super) fn set_lock_limit(pid: u32, soft: u64) -> Result<(), Errno> {
    let limits = [soft, u64::MAX];
    let none = std::ptr::null_mut::<u64>();
    // SAFETY: the kernel reads a rlimit64, two u64; a null old limit is allowed.
    checked(unsafe { libc::syscall(libc::SYS_prlimit64, pid, libc::RLIMIT_LOCKS, limits.as_ptr(), none) })?;
    Ok(())
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
