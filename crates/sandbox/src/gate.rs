//! A program that runs before its network is there: whatever would make a socket waits.
//!
//! A second filter hands `socket` over to galley (user notification), but for Unix sockets. Nothing is decided there and
//! nothing refused: the kernel makes the call itself, later. So it does not matter that a program could change what its
//! arguments point to; the family is not behind a pointer.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::child::Child;
use crate::error::Error;
use crate::seccomp::{self, Listener};

/// Where the sockets of one sandbox wait: [`Spec::hold_sockets`](crate::Spec::hold_sockets).
///
/// Once it is dropped they cannot be made any more.
#[derive(Debug)]
pub struct Gate(Listener);

/// Has this process, and all that it starts, wait for sockets.
pub(crate) fn close() -> Result<OwnedFd, Errno> {
    seccomp::load_listener(&seccomp::sockets())
}

impl Gate {
    pub(crate) fn new(listener: OwnedFd) -> Self {
        Self(Listener::new(listener))
    }

    /// Stays until nothing is left in the sandbox, which has to be that of `child`. The first time that something wants a
    /// socket, `is_ready` is called; it may take its time. If it says no, the sandbox is killed, and the result is `false`.
    pub fn keep(self, child: &Child, is_ready: impl FnOnce() -> bool) -> Result<bool, Error> {
        let kept = self.let_through(is_ready);
        if !matches!(kept, Ok(true)) {
            child.signal(libc::SIGKILL)?;
            // Nobody is to see that there is no answer.
            while let Ok(Some(_)) = self.0.receive() {}
        }
        kept.map_err(|error| Error::Spawner {
            action: "holding the sockets of a sandbox",
            source: error.into(),
        })
    }

    fn let_through(&self, is_ready: impl FnOnce() -> bool) -> Result<bool, Errno> {
        let Some(first) = self.0.receive()? else { return Ok(true) };
        if !is_ready() {
            return Ok(false);
        }
        self.0.go_on(first.id);
        while let Some(call) = self.0.receive()? {
            self.0.go_on(call.id);
        }
        Ok(true)
    }
}
