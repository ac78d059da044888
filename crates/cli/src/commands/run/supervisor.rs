//! `run -d`: a process of its own supervises the container after this one has ended.
//!
//! It is galley itself under a hidden command. It says on its standard output when the program runs, or on standard
//! error why it does not; then it lets go of both.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Command, Stdio},
};

use galley_engine::{
    Error, ErrorKind,
    container::{self, Container, Streams},
};
use galley_sandbox::TtySize;
use galley_store::Store;

use super::foreground;
use crate::{
    context::Context,
    failure::{Failure, Outcome},
    message,
};

/// The line that says the program runs.
const STARTED: &str = "started";
/// Nobody looks at it: the size every terminal once had.
const TTY_SIZE: TtySize = TtySize { rows: 24, cols: 80 };

/// The hidden command of the supervising process.
#[derive(Debug, clap::Args)]
pub(crate) struct SuperviseArgs {
    #[arg(value_name = "ID")]
    id: String,
}

/// Starts the supervisor, unless one runs the container by now, and waits until the program runs; the container's id.
pub(in crate::commands) fn start(store: &Store, container: Container) -> Outcome<String> {
    let failed = |error| {
        Error::new(ErrorKind::Machine, "cannot start the process that watches the container").because(error)
    };
    // The lock is never free between the two: a container that nobody holds may be pruned.
    let Some(lock) = container::lend_lock(&container)? else { return Ok(container.folder.id().to_owned()) };
    // Else it seems to run already.
    container::note_killed(&container)?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("galley")
        .arg("--root")
        .arg(store.root())
        .args(["__supervise", container.folder.id()])
        .stdin(lock)
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let mut line = String::new();
    if let Some(said) = child.stdout.take() {
        BufReader::new(said).read_line(&mut line).map_err(failed)?;
    }
    if line.trim_end() == STARTED {
        return Ok(container.folder.id().to_owned());
    }
    // It has printed why.
    let code = child.wait().map_err(failed)?.code().and_then(|code| u8::try_from(code).ok());
    Err(Failure::Code(code.unwrap_or(crate::exit::USAGE)))
}

/// The supervising process.
pub(crate) fn execute(arguments: &SuperviseArgs, context: &Context) -> Outcome {
    // A process group leader cannot make a session of its own; then it has none of the terminal's signals either.
    let _ = rustix::process::setsid();
    let store = context.store()?;
    let container = container::find(&store, &arguments.id)?;
    take_lock(&container).map_err(|error| {
        Error::new(ErrorKind::Store, "cannot take the container's lock over").because(error)
    })?;
    let ended = container::supervise(
        &store,
        container,
        &Streams {
            stdin: None,
            tty_size: TTY_SIZE,
            output: &|_, _| (),
            warn: &|message| message::warn(message, None),
            started: &|_| let_go(),
        },
    );
    foreground::ending(ended)
}

/// Standard input is the lock that was lent; afterwards it is nothing.
fn take_lock(container: &Container) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let lock = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(fs_err::File::open("/dev/null")?)?;
    Ok(container.folder.take_over(lock)?)
}

/// Tells that the program runs, and gives the streams back to whoever waits for their end.
fn let_go() {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{STARTED}").and_then(|()| out.flush()));
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}
