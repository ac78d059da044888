//! Calls that wait for another process: the kernel's side of user notification.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::sys::checked;

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

const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The version from which on RECEIVE returns when all processes are gone.
const RECEIVING_ENDS: (u32, u32) = (6, 11);

/// A call that waits for its answer: the kernel's `struct seccomp_notif`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Call {
    pub(crate) id: u64,
    /// The thread, in the supervisor's pid namespace.
    pub(crate) pid: u32,
    flags: u32,
    pub(crate) number: i32,
    pub(crate) arch: u32,
    instruction: u64,
    pub(crate) args: [u64; 6],
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

/// Loads a filter into this thread and gives what its notifications are read from.
pub(crate) fn load_listener(program: &[libc::sock_filter]) -> Result<OwnedFd, Errno> {
    const SET_MODE_FILTER: libc::c_uint = 1;
    const NEW_LISTENER: libc::c_ulong = 1 << 3;
    // Else every signal of a Go program would interrupt, and repeat, what is being done for it.
    const WAIT_KILLABLE: libc::c_ulong = 1 << 5;
    let len = u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let load = |flags: libc::c_ulong| {
        // SAFETY: filter describes the slice, which the kernel copies and checks; it does not write to it.
        checked(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const filter) })
    };
    let fd = match load(NEW_LISTENER | WAIT_KILLABLE) {
        // Before Linux 5.19.
        Err(Errno::INVAL) => load(NEW_LISTENER),
        result => result,
    }?;
    // SAFETY: a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Whether the kernel is of this version or a later one.
fn kernel_is(version: (u32, u32)) -> bool {
    let name = rustix::system::uname();
    let numbers = name.release().to_str().ok().and_then(numbers);
    numbers.is_some_and(|numbers| numbers >= version)
}

fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Where calls come from.
#[derive(Debug)]
pub(crate) struct Listener {
    file: OwnedFd,
    /// Whether receiving ends with the last process: else it has to be asked before, each time, whether there is something.
    receiving_ends: bool,
}

impl Listener {
    pub(crate) fn new(file: OwnedFd) -> Self {
        // Since Linux 6.6; without it everything is slower.
        // SAFETY: the argument is a plain number.
        unsafe { libc::ioctl(file.as_raw_fd(), SET_FLAGS as _, SYNC_WAKE_UP) };
        Self { file, receiving_ends: kernel_is(RECEIVING_ENDS) }
    }

    /// Waits for the next call; `None` when nothing is left that could call.
    pub(crate) fn receive(&self) -> Result<Option<Call>, Errno> {
        loop {
            if !self.receiving_ends && !self.may_have_call(None)? {
                return Ok(None);
            }
            match self.take() {
                Ok(call) => return Ok(Some(call)),
                // Its process is gone, or all are.
                Err(Errno::NOENT) if !self.may_have_call(Some(&NO_TIME))? => return Ok(None),
                Err(Errno::NOENT | Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether there is a call, or may come one; waits so long for one.
    fn may_have_call(&self, time: Option<&Timespec>) -> Result<bool, Errno> {
        let mut polled = [PollFd::new(&self.file, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut polled, time))?;
        let events = polled[0].revents();
        Ok(events.contains(PollFlags::IN) || events.is_empty())
    }

    /// The next call, when there is one: for who has waited for that.
    pub(crate) fn take(&self) -> Result<Call, Errno> {
        let mut call = Call::default();
        // SAFETY: the kernel writes a seccomp_notif, which call has the size and form of.
        checked(unsafe { libc::ioctl(self.file.as_raw_fd(), RECEIVE as _, &raw mut call) }.into())?;
        Ok(call)
    }

    fn send(&self, answer: &Answer) {
        // The process may be gone: then nobody needs the answer.
        // SAFETY: the kernel reads a seccomp_notif_resp, which answer has the size and form of.
        unsafe { libc::ioctl(self.file.as_raw_fd(), SEND as _, std::ptr::from_ref(answer)) };
    }

    /// The call gives this.
    pub(crate) fn answer(&self, id: u64, value: i64) {
        self.send(&Answer { id, value, error: 0, flags: 0 });
    }

    /// The call fails.
    pub(crate) fn fail(&self, id: u64, error: Errno) {
        self.send(&Answer { id, value: 0, error: -error.raw_os_error(), flags: 0 });
    }

    /// The kernel makes the call.
    pub(crate) fn go_on(&self, id: u64) {
        self.send(&Answer { id, value: 0, error: 0, flags: FLAG_CONTINUE });
    }

    /// Whether the call still waits: then its process is the one that made it.
    pub(crate) fn waits(&self, id: u64) -> bool {
        // SAFETY: the kernel reads a u64.
        unsafe { libc::ioctl(self.file.as_raw_fd(), ID_VALID as _, &raw const id) == 0 }
    }

    /// The call gives a new descriptor of this file.
    pub(crate) fn answer_file(
        &self,
        id: u64,
        file: BorrowedFd<'_>,
        close_on_exec: bool,
    ) -> Result<(), Errno> {
        let new_flags = if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 };
        let add = AddFile { id, flags: FLAG_SEND, source: file.as_raw_fd() as u32, new: 0, new_flags };
        // SAFETY: the kernel reads a seccomp_notif_addfd, which add has the size and form of.
        checked(unsafe { libc::ioctl(self.file.as_raw_fd(), ADD_FILE as _, &raw const add) }.into())?;
        Ok(())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_kernels_are_read() {
        assert_eq!(numbers("6.11.0-rc1"), Some((6, 11)));
        assert_eq!(numbers("5.4-generic"), Some((5, 4)));
        assert_eq!([numbers(""), numbers("6"), numbers("six.one")], [None; 3]);
        assert!(kernel_is((3, 0)) && !kernel_is((u32::MAX, 0)));
    }
}
