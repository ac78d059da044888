//! `galley exec`: another process in a container that runs.
//!
//! Whoever wants one asks the supervisor, and sends its three streams along; the supervisor's helper process starts it.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    sync::Arc,
};

use galley_sandbox::{Handles, Pty, Root, Seccomp, Spec, TtySize, User};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{
    Container, ContainerConfig,
    ask::{self, Answer, Ask},
    spec::no_account,
    watch::{Inside, Watch},
};
use crate::{Error, ErrorKind, steps::users::Accounts};

/// The exit code for what has nothing to do with the program.
pub(super) const NOT_STARTED: i32 = 126;
/// The exit code when there is no container to run it in, as in docker.
pub(super) const NOT_RUNNING: i32 = 1;

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
        match ask::receive(&self.connection, &mut Vec::new())? {
            Answer::Ended { code } => Ok(code),
            _ => Err(ask::lost(Errno::PROTO)),
        }
    }
}

/// Starts a process in `container`, with these streams; the code is docker's for what could not be started.
pub fn exec(
    container: &Container,
    request: &ExecRequest,
    streams: [BorrowedFd<'_>; 3],
) -> Result<Execution, (i32, Error)> {
    let mut files = Vec::new();
    let connection = ask::ask(container, &Ask::Exec(request.clone()), &streams, &mut files)?;
    let pty = files.pop().map(|master| Arc::new(Pty::from_master(master)));
    Ok(Execution { connection, pty })
}

/// One request, to the end of its process.
pub(super) fn serve(
    connection: &OwnedFd,
    request: &ExecRequest,
    files: Vec<OwnedFd>,
    config: &ContainerConfig,
    watch: &Watch,
) {
    let started = start(request, &files, config, watch);
    drop(files);
    let (child, pty) = match started {
        Ok(started) => started,
        Err((code, error)) => return ask::answer(connection, &Answer::failed(code, &error), &[]),
    };
    ask::answer(connection, &Answer::Done, &ask::fds(pty.as_ref()));
    drop(pty);
    if let Ok(outcome) = child.wait() {
        ask::answer(connection, &Answer::Ended { code: outcome.exit.code() }, &[]);
    }
}

/// Hands the root directory over.
pub(super) fn serve_root(connection: &OwnedFd, watch: &Watch) {
    let idle = || Error::new(ErrorKind::Usage, "the container does not run just now");
    match watch.inside().ok_or_else(idle).and_then(|inside| root_of(&inside)) {
        Ok(root) => ask::answer(connection, &Answer::Done, &[root.as_fd()]),
        Err(error) => ask::answer(connection, &Answer::failed(NOT_RUNNING, &error), &[]),
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
    let idle = |message: &str| (NOT_RUNNING, Error::new(ErrorKind::Usage, message));
    let inside = watch.inside().ok_or_else(|| idle("the container does not run just now"))?;
    if watch.is_paused() {
        let (code, error) = idle("the container is paused");
        return Err((code, error.help("`galley unpause` lets it go on")));
    }
    let spec = spec(&inside, config, request).map_err(early)?;
    let stream = |index: usize| files.get(index).map(AsFd::as_fd);
    let handles = Handles { stdin: stream(0), stdout: stream(1), stderr: stream(2), ..Handles::default() };
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
        let own = matches!(spec.seccomp, Seccomp::Own(_));
        spec.make_insecure();
        if own {
            config.service.filter(&mut spec, false)?;
        }
    }
    if let Some(directory) = &request.working_directory {
        spec.cwd = directory.into();
    }
    if let Some(user) = &request.user {
        let root = root_of(inside)?;
        let user = Accounts::below(root.as_fd())?
            .process(user)
            .map_err(|error| no_account("--user", user, &error))?;
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
    // By chroot it is this directory of the machine, and a process of another user may not be looked at.
    let path = match &inside.spec.root {
        Root::Directory(path) if inside.spawner.makes_chroots() => path.clone(),
        _ => format!("/proc/{pid}/root").into(),
    };
    let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| {
        Error::new(ErrorKind::Machine, "cannot look into the container").because(std::io::Error::from(errno))
    })?;
    // Not somebody else's by now: then its number was still its own when it was opened.
    (inside.child.id() == Some(pid)).then_some(root).ok_or_else(ended)
}
