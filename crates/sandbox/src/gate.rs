//! A program that runs before its network is there: whatever would make a socket waits.
//!
//! A second filter hands `socket` over to galley (user notification), but for Unix sockets. Nothing is decided there and
//! nothing refused: the kernel makes the call itself, later. So it does not matter that a program could change what its
//! arguments point to; the family is not behind a pointer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::child::Child;
use crate::error::Error;
use crate::owners::Door;
use crate::seccomp::{self, Listener};

/// Where the sockets of one sandbox wait: [`Spec::hold_sockets`](crate::Spec::hold_sockets).
///
/// Once it is dropped they cannot be made any more.
#[derive(Debug)]
pub struct Gate(Keeper);

/// Who holds them. A process has one listener at most, and where owners are told their supervisor has it.
#[derive(Debug)]
enum Keeper {
    Own(Listener),
    Supervisor(Door),
}

/// Has this process, and all that it starts, wait for sockets.
pub(crate) fn close() -> Result<OwnedFd, Errno> {
    seccomp::load_listener(&seccomp::sockets())
}

impl Gate {
    pub(crate) fn new(file: OwnedFd, supervised: bool) -> Self {
        Self(match supervised {
            true => Keeper::Supervisor(Door::new(file)),
            false => Keeper::Own(Listener::new(file)),
        })
    }

    /// Stays until nothing is left in the sandbox, which has to be that of `child`. The first time that something wants a
    /// socket, `is_ready` is called; it may take its time. If it says no, the sandbox is killed, and the result is `false`.
    pub fn keep(self, child: &Child, is_ready: impl FnOnce() -> bool) -> Result<bool, Error> {
        let kept = self.0.let_through(is_ready);
        if !matches!(kept, Ok(true)) {
            child.signal(libc::SIGKILL)?;
            // Nobody is to see that there is no answer.
            self.0.await_end();
        }
        kept.map_err(|error| Error::Spawner {
            action: "holding the sockets of a sandbox",
            source: error.into(),
        })
    }
}

/// Readable as soon as something wants a socket; hung up when nothing is left that could.
impl AsFd for Gate {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Keeper::Own(listener) => listener.as_fd(),
            Keeper::Supervisor(door) => door.as_fd(),
        }
    }
}

impl Keeper {
    fn let_through(&self, is_ready: impl FnOnce() -> bool) -> Result<bool, Errno> {
        match self {
            Self::Own(listener) => {
                let Some(first) = listener.receive()? else { return Ok(true) };
                if !is_ready() {
                    return Ok(false);
                }
                listener.go_on(first.id);
                while let Some(call) = listener.receive()? {
                    listener.go_on(call.id);
                }
            }
            Self::Supervisor(door) => {
                if !door.is_wanted() {
                    return Ok(true);
                }
                if !is_ready() {
                    return Ok(false);
                }
                door.open()?;
                self.await_end();
            }
        }
        Ok(true)
    }

    fn await_end(&self) {
        match self {
            Self::Own(listener) => while let Ok(Some(_)) = listener.receive() {},
            Self::Supervisor(door) => door.await_end(),
        }
    }
}
