//! An agent lent to one step: a socket of galley's own that passes on what a step may ask.

use std::{
    io::{self, PipeWriter},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use fs_err as fs;
use galley_store::{Store, TempDir};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{Mode, OFlags},
};

use super::{
    SshAgent,
    protocol::{self, EXTENSION, EXTENSION_FAILURE, FAILURE, REQUEST_IDENTITIES, SIGN_REQUEST},
};
use crate::{Error, ErrorKind, steps::files::store_error};

/// How many programs of one step may talk at once; more are hung up on.
const CONVERSATIONS_MAX: usize = 64;
/// The socket's name in its directory.
const NAME: &str = "agent";

/// Whom the socket belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A socket that is answered as long as this is kept.
#[derive(Debug)]
pub(crate) struct Loan {
    socket: PathBuf,
    directory: OwnedFd,
    /// Closing it ends the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
    _temp: TempDir,
}

impl Loan {
    /// Begins to answer.
    pub(crate) fn new(store: &Store, agent: &SshAgent, owner: Owner) -> Result<Self, Error> {
        let temp = store.temp_dir("ssh").map_err(store_error)?;
        let socket = temp.path().join(NAME);
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Machine, "cannot make the socket of an SSH agent for the step")
                .because(error)
        };
        let directory = open(temp.path()).map_err(failed)?;
        let listener = listen(&directory).map_err(failed)?;
        give(&socket, owner)?;
        let (stopped, stop) = io::pipe().map_err(failed)?;
        let agent = agent.clone();
        let thread = std::thread::spawn(move || accept(&listener, &stopped, &agent));
        Ok(Self { socket, directory, stop: Some(stop), thread: Some(thread), _temp: temp })
    }

    /// Where it is.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The same, as short as the address of a socket must be, for processes of this machine.
    pub(crate) fn short(&self) -> PathBuf {
        name(&self.directory, &std::process::id().to_string())
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn open(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::empty())?)
}

/// A socket has a short name only, and the store may be deep: the directory is named by its descriptor.
fn name(directory: &OwnedFd, process: &str) -> PathBuf {
    format!("/proc/{process}/fd/{}/{NAME}", directory.as_raw_fd()).into()
}

fn listen(directory: &OwnedFd) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(name(directory, "self"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn give(socket: &Path, owner: Owner) -> Result<(), Error> {
    let Owner { mode, uid, gid } = owner;
    galley_store::give(socket, uid, gid).map_err(|error| {
        let message = format!("cannot give the socket of an SSH agent to {uid}:{gid}");
        Error::new(ErrorKind::Machine, message).because(error)
    })?;
    fs::set_permissions(socket, std::fs::Permissions::from_mode(mode & 0o777)).map_err(|error| {
        Error::new(ErrorKind::Machine, "cannot set the mode of the socket of an SSH agent").because(error)
    })
}

fn accept(listener: &UnixListener, stopped: &impl AsFd, agent: &SshAgent) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let mut polled = [PollFd::new(listener, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        let _interrupted = poll(&mut polled, None);
        if !polled[1].revents().is_empty() {
            return;
        }
        let Ok((step, _)) = listener.accept() else { continue };
        if open.fetch_add(1, Ordering::SeqCst) >= CONVERSATIONS_MAX {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (agent, open) = (agent.clone(), Arc::clone(&open));
        // It ends with the program that talks: at the latest when the step does, whose processes are all killed then.
        std::thread::spawn(move || {
            // What goes wrong here is for the program to tell, which finds the line dead.
            drop(converse(step, &agent));
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Lists and signs; as in BuildKit a step can neither add nor remove keys, nor lock or unlock the agent, nor use
/// extensions.
fn converse(mut step: UnixStream, agent: &SshAgent) -> io::Result<()> {
    step.set_nonblocking(false)?;
    let mut agent = agent.open()?;
    while let Some(request) = protocol::read(&mut step)? {
        let answer = match request.first() {
            Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)) => agent.ask(&request)?,
            Some(&EXTENSION) => vec![EXTENSION_FAILURE],
            _ => vec![FAILURE],
        };
        protocol::write(&mut step, &answer)?;
    }
    Ok(())
}
