//! The process that answers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::door::Doorkeeper;
use super::files::Reply;
use super::ids::Table;
use super::mark::Marks;
use super::rights::Rights;
use super::task::Task;
use super::{About, READY, calls};
use crate::seccomp::{Call, Listener};
use crate::setup::new_mount;
use crate::sys::{self, Fork};
use crate::wire;

/// Where the supervisor keeps its socket.
const SOCKET: i32 = 3;

/// Starts a supervisor for one sandbox; gives the end of its socket that is for the sandbox's first process.
pub(crate) fn start() -> Result<OwnedFd, Errno> {
    let (ours, theirs) = wire::packet_pair()?;
    // SAFETY: this process has one thread, so the child may do what it likes.
    match unsafe { sys::fork_into(0) } {
        Ok(Fork::Child) => sys::exit_now(i32::from(run(theirs.as_fd()).is_err())),
        Ok(Fork::Parent { .. }) => Ok(ours),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)),
    }
}

/// Everything that this process was forked with is closed first: others wait for those files to end.
fn run(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    sys::place_descriptor(socket, SOCKET).map_err(|_| Errno::BADF)?;
    sys::close_from(SOCKET as u32 + 1);
    // SAFETY: it was placed at this number, and nothing else in this process owns it.
    let socket = unsafe { sys::adopt_descriptor(SOCKET) };
    // Of this pid namespace, in which the sandbox's processes have numbers; it stays out of the sandbox's reach.
    let proc = new_mount("proc", &[], MountAttrFlags::empty());
    let proc = proc.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let (mut about, mut files) = ([0; About::BYTES], Vec::new());
    if wire::receive(&socket, &mut about, &mut files)? == 0 {
        // The sandbox could not be set up.
        return Ok(());
    }
    let about = About::from_bytes(about);
    let mut files = files.into_iter();
    let (Some(listener), Some(process)) = (files.next(), files.next()) else { return Err(Errno::BADF) };
    let door = files.next().map(Doorkeeper::new);
    sys::join_mounts(process.as_fd()).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    drop(process);
    rustix::process::fchdir(&proc)?;
    let marks = Marks::new(Rights::take(about.capabilities)?);
    let supervisor = Supervisor { proc, roots_differ: about.roots_differ, table: Table::new(), marks };
    let listener = Listener::new(listener);
    wire::send(&socket, READY, &[])?;
    drop(socket);
    supervisor.serve(&listener, door)
}

struct Supervisor {
    /// The working directory.
    proc: OwnedFd,
    /// Whether processes may have other roots than the first one.
    roots_differ: bool,
    table: Table,
    marks: Marks,
}

impl Supervisor {
    /// Until no process is left.
    fn serve(mut self, listener: &Listener, mut door: Option<Doorkeeper>) -> Result<(), Errno> {
        let mut receive = || match &mut door {
            Some(door) => door.receive(listener),
            None => listener.receive(),
        };
        while let Some(call) = receive()? {
            match self.answer(listener, call) {
                Ok(Reply::Kernel) => listener.go_on(call.id),
                Ok(Reply::Value(value)) => listener.answer(call.id, value),
                Ok(Reply::Done) => {}
                Err(error) => listener.fail(call.id, error),
            }
        }
        Ok(())
    }

    fn answer(&mut self, listener: &Listener, call: Call) -> Result<Reply, Errno> {
        let number = libc::c_long::from(call.number);
        if number == libc::SYS_chroot {
            self.roots_differ = true;
            return Ok(Reply::Kernel);
        }
        if self.roots_differ {
            self.share_root(call.pid)?;
        }
        let asks = is_question(number);
        match calls::answer(&Task { listener, marks: &self.marks, call }, &mut self.table) {
            // The kernel says what is wrong with the question; and it knows /proc/self.
            Err(_) if asks => Ok(Reply::Kernel),
            answer => answer,
        }
    }

    /// Takes the root that the process has.
    fn share_root(&self, process: u32) -> Result<(), Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, format!("{process}/root"), flags, Mode::empty())?;
        rustix::process::fchdir(&root)?;
        rustix::process::chroot(".")?;
        rustix::process::fchdir(&self.proc)
    }
}

/// Calls that change nothing, which the kernel may answer as well; and those whose failure it had better explain.
fn is_question(number: libc::c_long) -> bool {
    #[cfg(target_arch = "x86_64")]
    if matches!(number, libc::SYS_stat | libc::SYS_lstat) {
        return true;
    }
    matches!(number, libc::SYS_fstat | libc::SYS_newfstatat | libc::SYS_statx | libc::SYS_execve)
}
