//! Sockets that wait at the supervisor, for galley's word.
//!
//! A process has one listener at most (the kernel allows no second), so where owners are told their supervisor holds the
//! sockets as well ([`crate::gate`] tells why they wait). A socket leads from it to galley:
//!
//! ```text
//! supervisor ── one byte: a socket is wanted ──▶ galley
//!            ◀── one byte: they may be made ────
//!            ── the end: nothing is left in the sandbox ──▶
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::seccomp::{self, Call, Listener};
use crate::wire;

/// What is sent.
const SIGN: &[u8] = b".";

/// galley's side.
#[derive(Debug)]
pub(crate) struct Door(OwnedFd);

impl Door {
    pub(crate) const fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Waits until something wants a socket; `false` when nothing is left that could.
    pub(crate) fn is_wanted(&self) -> bool {
        matches!(wire::receive(&self.0, &mut [0; 1], &mut Vec::new()), Ok(1))
    }

    /// All sockets are made from now on.
    pub(crate) fn open(&self) -> Result<(), Errno> {
        match wire::send(&self.0, SIGN, &[]) {
            // The sandbox has ended.
            Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Waits until nothing is left in the sandbox.
    pub(crate) fn await_end(&self) {
        while self.is_wanted() {}
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The supervisor's side.
pub(super) struct Doorkeeper {
    /// Open as long as the supervisor lives: its end is what galley waits for.
    socket: OwnedFd,
    /// Calls that were told to wait.
    waiting: Vec<u64>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open,
    /// Nobody will ever open it.
    Shut,
}

impl Doorkeeper {
    pub(super) const fn new(socket: OwnedFd) -> Self {
        Self { socket, waiting: Vec::new(), state: State::Closed }
    }

    /// The next call that is not about a socket, as [`Listener::receive`] gives it.
    pub(super) fn receive(&mut self, listener: &Listener) -> Result<Option<Call>, Errno> {
        loop {
            let call = match self.state {
                State::Closed => self.receive_or_open(listener)?,
                State::Open | State::Shut => listener.receive()?.map(Some),
            };
            match call {
                None => return Ok(None),
                Some(Some(call)) if !makes_socket(&call) => return Ok(Some(call)),
                Some(Some(call)) => self.admit(listener, call.id),
                Some(None) => {}
            }
        }
    }

    /// Waits for a call or for galley's word, of which it is `Some(None)`; `None` at the end of all processes.
    fn receive_or_open(&mut self, listener: &Listener) -> Result<Option<Option<Call>>, Errno> {
        let mut polled = [PollFd::new(listener, PollFlags::IN), PollFd::new(&self.socket, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut polled, None))?;
        let [calls, word] = polled.map(|file| file.revents());
        if calls.contains(PollFlags::IN) {
            return match listener.take() {
                Err(Errno::NOENT | Errno::INTR) => Ok(Some(None)),
                result => result.map(|call| Some(Some(call))),
            };
        }
        if !calls.is_empty() {
            return Ok(None);
        }
        if !word.is_empty() {
            let told = wire::receive(&self.socket, &mut [0; 1], &mut Vec::new());
            self.state = if told == Ok(SIGN.len()) { State::Open } else { State::Shut };
            std::mem::take(&mut self.waiting).into_iter().for_each(|id| self.admit(listener, id));
        }
        Ok(Some(None))
    }

    /// The kernel makes the socket: nothing is decided here, so it does not matter what its arguments lead to meanwhile.
    fn admit(&mut self, listener: &Listener, id: u64) {
        match self.state {
            State::Open => listener.go_on(id),
            // As if its listener were closed.
            State::Shut => listener.fail(id, Errno::NOSYS),
            State::Closed => {
                if self.waiting.is_empty() && wire::send(&self.socket, SIGN, &[]).is_err() {
                    self.state = State::Shut;
                    return listener.fail(id, Errno::NOSYS);
                }
                self.waiting.push(id);
            }
        }
    }
}

/// Calls of other machines are handed over for no other reason.
fn makes_socket(call: &Call) -> bool {
    !seccomp::is_native(call.arch) || libc::c_long::from(call.number) == libc::SYS_socket
}
