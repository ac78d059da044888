//! The three standard streams: a terminal of the sandbox, or what galley gave.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid, fchown};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

use super::path;
use super::step::Step as _;
use crate::error::{SetupError, SetupStep};
use crate::pty;
use crate::spec::{TtySize, User};
use crate::{sys, userns};

/// Both sides of a terminal.
pub(crate) struct Terminal {
    pub(crate) master: OwnedFd,
    slave: OwnedFd,
}

/// Opens the first terminal of the sandbox, after pivot_root, and shows it as /dev/console.
pub(crate) fn open(size: TtySize, uid: u32) -> Result<Terminal, SetupError> {
    let terminal = open_further(size, uid)?;
    let console =
        super::staging::clone_mount(rustix::fs::CWD, "/dev/pts/0", false).step(SetupStep::OpenTerminal)?;
    super::staging::attach(console.as_fd(), rustix::fs::CWD, "/dev/console").step(SetupStep::OpenTerminal)?;
    Ok(terminal)
}

/// Opens a terminal of the sandbox.
pub(crate) fn open_further(size: TtySize, uid: u32) -> Result<Terminal, SetupError> {
    open_by("/dev/pts/ptmx", size, uid)
}

/// Opens a terminal for a sandbox that is not entered yet and has no devpts of its own.
pub(crate) fn open_outside(size: TtySize, uid: u32) -> Result<Terminal, SetupError> {
    open_by("/dev/ptmx", size, uid)
}

fn open_by(multiplexer: &str, size: TtySize, uid: u32) -> Result<Terminal, SetupError> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::open(multiplexer, flags, Mode::empty()).step(SetupStep::OpenTerminal)?;
    unlockpt(&master).step(SetupStep::OpenTerminal)?;
    let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, peer).step(SetupStep::OpenTerminal)?;
    pty::set_size(slave.as_fd(), size).step(SetupStep::OpenTerminal)?;
    if !userns::has_one_id() {
        fchown(&slave, Some(Uid::from_raw(uid)), None).step(SetupStep::OpenTerminal)?;
    }
    Ok(Terminal { master, slave })
}

/// Puts the streams at 0, 1 and 2; nothing else survives exec.
pub(crate) fn connect(
    terminal: Option<&Terminal>,
    given: &[OwnedFd; 3],
    user: &User,
) -> Result<(), SetupError> {
    for (number, given) in given.iter().enumerate() {
        let stream = terminal.map_or(given, |terminal| &terminal.slave);
        if terminal.is_none() {
            refuse_directory(given)?;
            // Else a supervisor is told, see give_streams.
            if !userns::has_one_id() {
                give_pipe_to(given.as_fd(), user);
            }
        }
        sys::place_descriptor(stream.as_fd(), number as i32).step(SetupStep::ConnectStreams)?;
    }
    if let Some(terminal) = terminal {
        rustix::process::ioctl_tiocsctty(&terminal.slave).step(SetupStep::OpenTerminal)?;
    }
    sys::close_on_exec_from(3).step(SetupStep::CloseFiles)
}

/// From a directory of the host, `..` would lead to all of it.
fn refuse_directory(stream: &OwnedFd) -> Result<(), SetupError> {
    let is_directory = path::file_type(stream.as_fd()).ok() == Some(FileType::Directory);
    if is_directory { Err(rustix::io::Errno::ISDIR).step(SetupStep::ConnectStreams) } else { Ok(()) }
}

/// A user other than root can open /dev/stdout again only when the pipe is theirs (web servers log that way).
fn give_pipe_to(stream: BorrowedFd<'_>, user: &User) {
    if user.uid != 0 && path::file_type(stream).ok() == Some(FileType::Fifo) {
        // Pipes made by somebody else stay theirs; writing to them works all the same.
        let _ = fchown(stream, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
    }
}

/// The same once a supervisor tells the owners of files.
pub(crate) fn give_streams(is_terminal: bool, user: &User) {
    if is_terminal {
        let _ = fchown(rustix::stdio::stdin(), Some(Uid::from_raw(user.uid)), None);
        return;
    }
    [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()]
        .into_iter()
        .for_each(|stream| give_pipe_to(stream, user));
}
