//! What the process that watches a container is asked by others, with an answer: a socket in the container's folder.
//!
//! Open files come along: the streams of a further process, a terminal. The socket is reached by the number of the open
//! folder, since the path of a socket may have only a hundred bytes.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use galley_sandbox::message;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use serde::{Deserialize, Serialize};

use super::{Container, ContainerConfig, ExecRequest, Limits, Restart, attach, exec, pause, watch::Watch};
use crate::{Error, ErrorKind};

/// The longest request: its arguments and variables.
pub(super) const MESSAGE_BYTES_MAX: usize = 160 << 10;
/// The name of the socket in the container's folder.
const SOCKET: &str = "exec";
/// How many may wait to be answered.
const BACKLOG: i32 = 16;
/// The pause after somebody could not be let in: there are too many open files, or no memory.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a process that ends may have one file closed and another open, and how often that is looked at.
const END_TIME_MAX: Duration = Duration::from_secs(2);
const END_POLL: Duration = Duration::from_millis(10);

/// What is wanted.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Another process.
    Exec(ExecRequest),
    /// What the program writes, and how to type to it.
    Attach,
    /// Its root directory, open.
    Root,
    /// All processes are to stop.
    Pause,
    /// The same for as long as whoever asked keeps the connection, however they come to their end.
    Hold,
    /// They are to go on.
    Unpause,
    /// Other limits, all that hold from now on; another policy for its end.
    Change { limits: Option<Box<Limits>>, restart: Option<Restart> },
}

/// What is said to that.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It is done, or the program runs; a terminal or the program's standard input may come along.
    Done,
    /// It is not. The code is docker's for a process that did not start.
    Failed { code: i32, message: String, help: Option<String> },
    /// The program has ended.
    Ended { code: i32 },
}

impl Answer {
    /// A failure as it is told.
    pub(super) fn failed(code: i32, error: &Error) -> Self {
        let (message, help) = exec::said(error);
        Self::Failed { code, message, help }
    }
}

/// Asks; the open connection when it was done.
pub(super) fn ask(
    container: &Container,
    ask: &Ask,
    streams: &[BorrowedFd<'_>],
    files: &mut Vec<OwnedFd>,
) -> Result<OwnedFd, (i32, Error)> {
    let early = |error| (exec::NOT_STARTED, error);
    let connection = connect(container)?;
    let text = serde_json::to_vec(ask).unwrap_or_default();
    match message::send(&connection, &text, streams) {
        // Nobody is there any more: no answer will come either.
        Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => {}
        // Such as one that is too long.
        Err(errno) => return Err(early(lost(errno))),
    }
    // It may have ended while it was asked.
    let answer = receive(&connection, files).map_err(|error| match has_ended(container) {
        true => (exec::NOT_RUNNING, not_running(container)),
        false => early(error),
    });
    match answer? {
        Answer::Done => Ok(connection),
        Answer::Failed { code, message, help } => {
            let error = Error::new(ErrorKind::Usage, message);
            Err((code, help.into_iter().fold(error, Error::help)))
        }
        Answer::Ended { .. } => Err(early(lost(Errno::PROTO))),
    }
}

/// That a container does not run, and how it would.
pub(super) fn not_running(container: &Container) -> Error {
    Error::new(ErrorKind::Usage, format!("container {} is not running", container.name))
        .help(format!("`galley start {}` starts it", container.name))
}

/// Whether nobody watches it, now or within a moment: whoever did closes its files one after the other.
fn has_ended(container: &Container) -> bool {
    let until = Instant::now() + END_TIME_MAX;
    loop {
        match container.folder.is_held() {
            Ok(true) if Instant::now() < until => thread::sleep(END_POLL),
            held => return matches!(held, Ok(false)),
        }
    }
}

fn connect(container: &Container) -> Result<OwnedFd, (i32, Error)> {
    let not_running = || (exec::NOT_RUNNING, not_running(container));
    let early = |errno| (exec::NOT_STARTED, lost(errno));
    if !container.is_running() {
        return Err(not_running());
    }
    let (folder, address) = address(container.folder.path()).map_err(early)?;
    let socket = socket().map_err(early)?;
    let connected = rustix::net::connect(&socket, &address);
    drop(folder);
    match connected {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Err(not_running()),
        other => other.map(|()| socket).map_err(early),
    }
}

pub(super) fn lost(errno: Errno) -> Error {
    let error = Error::new(ErrorKind::Machine, "cannot talk to the process that watches the container");
    error.because(std::io::Error::from(errno))
}

pub(super) fn receive(connection: &OwnedFd, files: &mut Vec<OwnedFd>) -> Result<Answer, Error> {
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let length = message::receive(connection, &mut buffer, files).map_err(lost)?;
    serde_json::from_slice(buffer.get(..length).unwrap_or_default()).map_err(|_| lost(Errno::PIPE))
}

fn socket() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// The open folder, and the address of the socket in it for as long as that is open.
fn address(folder: &std::path::Path) -> Result<(OwnedFd, SocketAddrUnix), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))?;
    Ok((folder, address))
}

/// Answers requests until this process ends.
pub(super) fn listen(container: &Container, watch: &Arc<Watch>) -> Result<(), Error> {
    let failed = |errno: Errno| {
        Error::new(ErrorKind::Store, "cannot listen in the container's folder")
            .because(std::io::Error::from(errno))
    };
    let (folder, address) = address(container.folder.path()).map_err(failed)?;
    // That of an earlier run.
    let _ = rustix::fs::unlinkat(&folder, SOCKET, rustix::fs::AtFlags::empty());
    let listener = socket().map_err(failed)?;
    rustix::net::bind(&listener, &address).map_err(failed)?;
    // Nobody can connect before it listens.
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::chmodat(&folder, SOCKET, mode, rustix::fs::AtFlags::empty()).map_err(failed)?;
    rustix::net::listen(&listener, BACKLOG).map_err(failed)?;
    let (config, watch) = (Arc::new(container.config.clone()), Arc::downgrade(watch));
    let accept = move || {
        loop {
            let accepted = rustix::net::accept_with(&listener, SocketFlags::CLOEXEC);
            let (config, Some(watch)) = (Arc::clone(&config), watch.upgrade()) else { return };
            match accepted {
                // A thread that cannot be made leaves whoever asked with a closed connection.
                Ok(connection) => {
                    drop(thread::Builder::new().spawn(move || serve(&connection, &config, &watch)));
                }
                // Nobody is turned away for good: files are closed, and memory is freed.
                Err(_) => thread::sleep(PAUSE),
            }
        }
    };
    let spawned = thread::Builder::new().name("ask".to_owned()).spawn(accept);
    spawned.map(drop).map_err(|error| Error::new(ErrorKind::Machine, "cannot start a thread").because(error))
}

pub(super) fn answer(connection: &OwnedFd, answer: &Answer, files: &[BorrowedFd<'_>]) {
    // Whoever asked may be gone; the process goes on, as under docker.
    let _ = message::send(connection, &serde_json::to_vec(answer).unwrap_or_default(), files);
}

/// One request, to its end.
fn serve(connection: &OwnedFd, config: &ContainerConfig, watch: &Watch) {
    let (mut buffer, mut files) = (vec![0; MESSAGE_BYTES_MAX], Vec::new());
    let Ok(length) = message::receive(connection, &mut buffer, &mut files) else { return };
    let Ok(request) = serde_json::from_slice(buffer.get(..length).unwrap_or_default()) else { return };
    drop(buffer);
    let done = match request {
        Ask::Exec(request) => return exec::serve(connection, &request, files, config, watch),
        Ask::Attach => return attach::serve(connection, watch),
        Ask::Root => return exec::serve_root(connection, watch),
        Ask::Hold => return pause::serve(connection, config, watch),
        Ask::Pause => watch.pause(config).map(drop),
        Ask::Unpause => watch.unpause(),
        Ask::Change { limits, restart } => watch.change(config, limits.as_deref(), restart),
    };
    let said = done.map_or_else(|error| Answer::failed(exec::NOT_RUNNING, &error), |()| Answer::Done);
    answer(connection, &said, &[]);
}

/// A file that whoever asked is given.
pub(super) fn fds<'a>(file: Option<&'a impl AsFd>) -> Vec<BorrowedFd<'a>> {
    file.map(AsFd::as_fd).into_iter().collect()
}
