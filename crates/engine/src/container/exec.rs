//! `galley exec`: another process in a container that runs.
//!
//! Whoever wants one asks the supervisor through a socket in the container's folder, and sends its three streams along; the
//! supervisor's helper process starts it. The socket is reached by the number of the open folder, since the path of a
//! socket may have only a hundred bytes.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    sync::Arc,
    thread,
};

use galley_sandbox::{Handles, Pty, Spec, TtySize, User, message};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use serde::{Deserialize, Serialize};

use super::{Container, ContainerConfig, watch::Inside, watch::Watch};
use crate::{Error, ErrorKind, steps::users::Accounts};

/// The longest request: its arguments and variables.
const MESSAGE_BYTES_MAX: usize = 160 << 10;
/// The name of the socket in the container's folder.
const SOCKET: &str = "exec";
/// How many may wait to be answered.
const BACKLOG: i32 = 16;
/// The exit code for what has nothing to do with the program.
const NOT_STARTED: i32 = 126;

/// What is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// `NAME=value`, beyond the container's.
    pub environment: Vec<String>,
    /// Instead of the container's.
    pub user: Option<String>,
    /// Instead of the container's.
    pub working_directory: Option<String>,
    /// Rows and columns of a terminal of its own.
    pub terminal: Option<(u16, u16)>,
    /// With all rights that galley has.
    pub privileged: bool,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// The program runs; its terminal may come along.
    Started,
    /// It does not.
    NotStarted { code: i32, message: String, help: Option<String> },
    /// It has ended.
    Ended { code: i32 },
}

/// A process that was started in a container.
#[derive(Debug)]
pub struct Execution {
    connection: OwnedFd,
    /// Its terminal, when it has one.
    pub pty: Option<Arc<Pty>>,
}

impl Execution {
    /// Waits for its end; the exit code.
    pub fn wait(&self) -> Result<i32, Error> {
        match receive(&self.connection, &mut Vec::new())? {
            Answer::Ended { code } => Ok(code),
            _ => Err(lost(Errno::PROTO)),
        }
    }
}

/// Starts a process in `container`, with these streams; the code is docker's for what could not be started.
pub fn exec(
    container: &Container,
    request: &ExecRequest,
    streams: [BorrowedFd<'_>; 3],
) -> Result<Execution, (i32, Error)> {
    let early = |error| (NOT_STARTED, error);
    let connection = connect(container).map_err(early)?;
    let text = serde_json::to_vec(request).unwrap_or_default();
    message::send(&connection, &text, &streams).map_err(|errno| early(lost(errno)))?;
    let mut files = Vec::new();
    match receive(&connection, &mut files).map_err(early)? {
        Answer::Started => {
            let pty = files.pop().map(|master| Arc::new(Pty::from_master(master)));
            Ok(Execution { connection, pty })
        }
        Answer::NotStarted { code, message, help } => {
            let error = Error::new(ErrorKind::Usage, message);
            Err((code, help.into_iter().fold(error, Error::help)))
        }
        Answer::Ended { .. } => Err(early(lost(Errno::PROTO))),
    }
}

fn connect(container: &Container) -> Result<OwnedFd, Error> {
    let not_running = || {
        Error::new(ErrorKind::Usage, format!("container {} is not running", container.name))
            .help(format!("`galley start {}` starts it", container.name))
    };
    if !container.is_running() {
        return Err(not_running());
    }
    let (folder, address) = address(container.folder.path()).map_err(lost)?;
    let socket = socket().map_err(lost)?;
    let connected = rustix::net::connect(&socket, &address);
    drop(folder);
    match connected {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Err(not_running()),
        other => other.map(|()| socket).map_err(lost),
    }
}

fn lost(errno: Errno) -> Error {
    let error = Error::new(ErrorKind::Machine, "cannot talk to the process that watches the container");
    error.because(std::io::Error::from(errno))
}

fn receive(connection: &OwnedFd, files: &mut Vec<OwnedFd>) -> Result<Answer, Error> {
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
        while let Ok(connection) =
            rustix::io::retry_on_intr(|| rustix::net::accept_with(&listener, SocketFlags::CLOEXEC))
        {
            let (config, Some(watch)) = (Arc::clone(&config), watch.upgrade()) else { return };
            // A thread that cannot be made leaves whoever asked with a closed connection.
            let _ = thread::Builder::new().spawn(move || serve(&connection, &config, &watch));
        }
    };
    let spawned = thread::Builder::new().name("exec".to_owned()).spawn(accept);
    spawned.map(drop).map_err(|error| Error::new(ErrorKind::Machine, "cannot start a thread").because(error))
}

fn answer(connection: &OwnedFd, answer: &Answer, files: &[BorrowedFd<'_>]) {
    // Whoever asked may be gone; the process goes on, as under docker.
    let _ = message::send(connection, &serde_json::to_vec(answer).unwrap_or_default(), files);
}

/// One request, to the end of its process.
fn serve(connection: &OwnedFd, config: &ContainerConfig, watch: &Watch) {
    let (mut buffer, mut files) = (vec![0; MESSAGE_BYTES_MAX], Vec::new());
    let Ok(length) = message::receive(connection, &mut buffer, &mut files) else { return };
    let Ok(request) = serde_json::from_slice(buffer.get(..length).unwrap_or_default()) else { return };
    let started = start(&request, &files, config, watch);
    drop((files, buffer));
    let child = match started {
        Ok(child) => child,
        Err((code, error)) => {
            let (message, help) = said(&error);
            return answer(connection, &Answer::NotStarted { code, message, help }, &[]);
        }
    };
    let (child, pty) = child;
    let master: Vec<BorrowedFd<'_>> = pty.iter().map(AsFd::as_fd).collect();
    answer(connection, &Answer::Started, &master);
    drop(pty);
    if let Ok(outcome) = child.wait() {
        answer(connection, &Answer::Ended { code: outcome.exit.code() }, &[]);
    }
}

pub(super) fn said(error: &Error) -> (String, Option<String>) {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    (format!("{}{cause}", error.message), error.help.first().cloned())
}

fn start(
    request: &ExecRequest,
    files: &[OwnedFd],
    config: &ContainerConfig,
    watch: &Watch,
) -> Result<(galley_sandbox::Child, Option<Pty>), (i32, Error)> {
    let early = |error| (NOT_STARTED, error);
    let inside = watch
        .inside()
        .ok_or_else(|| early(Error::new(ErrorKind::Usage, "the container does not run just now")))?;
    let spec = spec(&inside, config, request).map_err(early)?;
    let stream = |index: usize| files.get(index).map(AsFd::as_fd);
    let handles = Handles { stdin: stream(0), stdout: stream(1), stderr: stream(2), netns: None };
    let mut child = inside.spawner.join(&inside.child, &spec, handles).map_err(|error| {
        let (code, help) = (error.exit_code(), error.help());
        let failed = Error::new(ErrorKind::Usage, "cannot run that in the container").because(error);
        // 125 is said of containers; of their processes it is 126.
        (if code == 127 { code } else { NOT_STARTED }, help.into_iter().fold(failed, Error::help))
    })?;
    let pty = child.take_pty();
    Ok((child, pty))
}

/// The container's own sandbox with another process.
pub(super) fn spec(inside: &Inside, config: &ContainerConfig, request: &ExecRequest) -> Result<Spec, Error> {
    let mut spec = inside.spec.clone();
    spec.args = request.arguments.iter().map(OsString::from).collect();
    spec.tty = request.terminal.map(|(rows, cols)| TtySize { rows, cols });
    spec.mounts.clear();
    spec.init = false;
    spec.cgroup = None;
    if request.privileged {
        spec.make_insecure();
    }
    if let Some(directory) = &request.working_directory {
        spec.cwd = directory.into();
    }
    if let Some(user) = &request.user {
        let root = root_of(inside)?;
        let user = Accounts::below(root.as_fd())?.process(user)?;
        spec.user = User { uid: user.uid, gid: user.gid, groups: user.groups };
        if !config.environment.iter().any(|variable| variable.starts_with("HOME=")) {
            set(&mut spec.env, OsString::from_vec([b"HOME=", &user.home[..]].concat()));
        }
    }
    if request.terminal.is_some() && !has(&spec.env, "TERM") {
        spec.env.push("TERM=xterm".into());
    }
    request.environment.iter().for_each(|variable| set(&mut spec.env, variable.into()));
    Ok(spec)
}

fn name(variable: &OsStr) -> &[u8] {
    variable.as_encoded_bytes().split(|byte| *byte == b'=').next().unwrap_or_default()
}

fn has(environment: &[OsString], wanted: &str) -> bool {
    environment.iter().any(|known| name(known) == wanted.as_bytes())
}

fn set(environment: &mut Vec<OsString>, variable: OsString) {
    match environment.iter_mut().find(|known| name(known) == name(&variable)) {
        Some(known) => *known = variable,
        None => environment.push(variable),
    }
}

/// The root directory as the container has it now.
fn root_of(inside: &Inside) -> Result<OwnedFd, Error> {
    let ended = || Error::new(ErrorKind::Usage, "the container has ended");
    let pid = inside.child.id().ok_or_else(ended)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty()).map_err(|errno| {
        Error::new(ErrorKind::Machine, "cannot look into the container").because(std::io::Error::from(errno))
    })?;
    // Not somebody else's by now: then its number was still its own when it was opened.
    (inside.child.id() == Some(pid)).then_some(root).ok_or_else(ended)
}
