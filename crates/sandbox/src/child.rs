//! A running sandbox, seen from galley.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::error::Error;
use crate::gate::Gate;
use crate::note;
use crate::outcome::{MadeMountPoint, Outcome};
use crate::pty::Pty;
use crate::sys;
use crate::wire::{self, Setup, Status};

/// A sandbox whose program has been started.
///
/// All methods may be called from several threads. Dropping it kills the sandbox if it still runs.
#[derive(Debug)]
pub struct Child {
    /// Its process id for the helper process.
    number: i32,
    pidfd: OwnedFd,
    /// Until its end, or until it was taken.
    mounts: Mutex<Option<OwnedFd>>,
    status: OwnedFd,
    made: Vec<MadeMountPoint>,
    pty: Option<Pty>,
    gate: Option<Gate>,
    outcome: Mutex<Option<Outcome>>,
}

/// Largest status message; the real ones are a few hundred bytes.
const STATUS_MAX: usize = 4096;
/// Largest report of a set-up: the list of made mount points, with long paths.
const SETUP_MAX: usize = 16 << 20;

impl Child {
    /// Reads what the helper process and the child report until the program runs; `mounted` is called when its root stands.
    pub(crate) fn await_start(
        setup: OwnedFd,
        status: OwnedFd,
        mounted: impl FnOnce(),
    ) -> Result<Self, Error> {
        let mut files = Vec::new();
        let number = match receive_status(&status, &mut files)? {
            Status::Started { number } => number,
            Status::NotStarted(error) => return Err(error.into()),
            Status::Ended(_) | Status::Placed => return Err(lost("waiting for the start of a sandbox")),
        };
        let mut files = files.into_iter();
        let pidfd = files.next().ok_or_else(|| lost("waiting for its pidfd"))?;
        let mounts = Mutex::new(files.next());
        let Reported { made, terminal, gate } = await_exec(&setup, mounted)?;
        let pty = terminal.map(Pty::from_master);
        Ok(Self { number, pidfd, mounts, status, made, pty, gate, outcome: Mutex::new(None) })
    }

    /// Its number for the helper process.
    pub(crate) const fn number(&self) -> i32 {
        self.number
    }

    /// The process id of the first process, as galley sees it; `None` once it is gone.
    pub fn id(&self) -> Option<u32> {
        let info = fs_err::read_to_string(fdinfo(self.pidfd.as_fd())).ok()?;
        let line = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
        line.trim().parse().ok()
    }

    /// A file that becomes readable when the first process ends.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Mount points that did not exist and were made, in order.
    pub fn made_mount_points(&self) -> &[MadeMountPoint] {
        &self.made
    }

    /// The terminal, when the spec asked for one and it was not taken yet.
    pub fn take_pty(&mut self) -> Option<Pty> {
        self.pty.take()
    }

    /// Where its sockets wait, when the spec asked for that and it was not taken yet. Without [`Gate::keep`] nothing
    /// in the sandbox gets one.
    pub fn take_gate(&mut self) -> Option<Gate> {
        self.gate.take()
    }

    /// What keeps its mounts, which are taken apart when it is closed; that may take longer than all else that is to be done
    /// at the end. Whoever does not take it waits for that with the end. None before Linux 6.11.
    pub fn take_mounts(&self) -> Option<OwnedFd> {
        self.mounts.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Sends a signal to the first process. As for any first process of a pid namespace, one that it has no handler
    /// for is ignored, SIGKILL and SIGSTOP excepted.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        match sys::pidfd_signal(self.pidfd.as_fd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other.map_err(|source| Error::Signal { signal, source }),
        }
    }

    /// Kills every process of the sandbox and waits until they are gone.
    pub fn kill_tree(&self) -> Result<Outcome, Error> {
        self.signal(libc::SIGKILL)?;
        self.wait()
    }

    /// Waits for the end of the sandbox: of its first process, and of all others, which are killed then.
    pub fn wait(&self) -> Result<Outcome, Error> {
        self.wait_until(None)?.ok_or_else(|| lost("waiting for the end of a sandbox"))
    }

    /// The same, but not longer than this; `None` when it still runs.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<Outcome>, Error> {
        self.wait_until(Some(timeout))
    }

    fn wait_until(&self, timeout: Option<Duration>) -> Result<Option<Outcome>, Error> {
        if let Some(timeout) = timeout
            && !readable(self.pidfd.as_fd(), timeout)?
        {
            return Ok(None);
        }
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome.is_none() {
            let Status::Ended(ended) = receive_status(&self.status, &mut Vec::new())? else {
                return Err(lost("waiting for the end of a sandbox"));
            };
            *outcome = Some(ended);
            drop(self.take_mounts());
        }
        Ok(*outcome)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Without effect when it has ended: the pidfd keeps its number from being given to another process.
        let _ = self.kill_tree();
    }
}

fn fdinfo(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&fd))
}

fn lost(action: &'static str) -> Error {
    Error::Spawner { action, source: io::ErrorKind::UnexpectedEof.into() }
}

/// Waits for what the helper process says of a sandbox that it was asked to place.
pub(crate) fn await_placed(status: &OwnedFd) -> Result<(), Error> {
    match receive_status(status, &mut Vec::new())? {
        Status::Placed => Ok(()),
        Status::NotStarted(error) => Err(error.into()),
        Status::Started { .. } | Status::Ended(_) => Err(lost("waiting for the cgroups of a sandbox")),
    }
}

fn receive_status(socket: &OwnedFd, files: &mut Vec<OwnedFd>) -> Result<Status, Error> {
    let mut buffer = [0; STATUS_MAX];
    let failed = |source| Error::Spawner { action: "waiting for a sandbox", source };
    let length = wire::receive(socket, &mut buffer, files).map_err(|e| failed(e.into()))?;
    serde_json::from_slice(&buffer[..length]).map_err(|_| failed(io::ErrorKind::UnexpectedEof.into()))
}

/// What a child has said of itself when it runs its program.
struct Reported {
    made: Vec<MadeMountPoint>,
    terminal: Option<OwnedFd>,
    gate: Option<Gate>,
}

/// Reads the child's reports, one JSON text after the other, until it closes its end: by exec or by ending.
fn await_exec(setup: &OwnedFd, mounted: impl FnOnce()) -> Result<Reported, Error> {
    let (text, mut files) = read_reports(setup, mounted)?;
    let (mut ready, mut gate) = (None, None);
    // The last file belongs to the last report that brought one.
    for report in parse_reports(&text)?.into_iter().rev() {
        match report {
            Setup::Ready { made } => ready = Some(made),
            Setup::Holds { supervised } => gate = files.pop().map(|file| Gate::new(file, supervised)),
            Setup::Note => last_word(files.pop())?,
            Setup::Failed(error) => return Err(error.into()),
            Setup::Exec(error) => return Err(error.into()),
        }
    }
    let made = ready.ok_or_else(|| lost("setting a sandbox up: its process ended early"))?;
    Ok(Reported { made, terminal: files.pop(), gate })
}

fn parse_reports(text: &[u8]) -> Result<Vec<Setup>, Error> {
    let reports: Result<Vec<_>, _> = serde_json::Deserializer::from_slice(text).into_iter().collect();
    reports.map_err(|_| lost("reading the report of a sandbox"))
}

/// Why it did not run, where it could not say so otherwise.
fn last_word(file: Option<OwnedFd>) -> Result<(), Error> {
    let text = file
        .map_or(Ok(Vec::new()), note::read)
        .map_err(|source| Error::Spawner { action: "reading the last word of a sandbox", source })?;
    match parse_reports(&text)?.pop() {
        Some(Setup::Exec(error)) => Err(error.into()),
        _ => Ok(()),
    }
}

fn read_reports(setup: &OwnedFd, first: impl FnOnce()) -> Result<(Vec<u8>, Vec<OwnedFd>), Error> {
    let mut first = Some(first);
    let (mut text, mut files, mut buffer) = (Vec::new(), Vec::new(), [0; 4096]);
    loop {
        let length = wire::receive(setup, &mut buffer, &mut files).map_err(|source| Error::Spawner {
            action: "waiting for the report of a sandbox",
            source: source.into(),
        })?;
        if length == 0 {
            return Ok((text, files));
        }
        if let Some(first) = first.take() {
            first();
        }
        text.extend_from_slice(&buffer[..length]);
        if text.len() > SETUP_MAX {
            return Err(lost("reading the report of a sandbox, which has no end"));
        }
    }
}

fn readable(file: BorrowedFd<'_>, timeout: Duration) -> Result<bool, Error> {
    let timeout = Timespec::try_from(timeout).ok();
    let mut polled = [PollFd::from_borrowed_fd(file, PollFlags::IN)];
    match rustix::event::poll(&mut polled, timeout.as_ref()) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(Error::Spawner { action: "waiting for a sandbox", source: error.into() }),
    }
}
