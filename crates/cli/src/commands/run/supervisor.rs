//! `run -d`: a process of its own supervises the container after this one has ended.
//!
//! It is galley itself under a hidden command. It says on its standard output when the program runs, or on standard
//! error why it does not; then it lets go of both.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::unix::process::CommandExt,
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
    failure::{Failure, Outcome, output},
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

/// Starts the supervisor, waits until the program runs, and prints the container's id.
pub(super) fn start(store: &Store, container: Container) -> Outcome {
    let failed = |error| {
        Error::new(ErrorKind::Machine, "cannot start the process that watches the container").because(error)
    };
    container.folder.hand_over();
    let mut child = Command::new("/proc/self/exe")
        .arg0("galley")
        .arg("--root")
        .arg(store.root())
        .args(["__supervise", container.folder.id()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let mut line = String::new();
    if let Some(said) = child.stdout.take() {
        BufReader::new(said).read_line(&mut line).map_err(failed)?;
    }
    if line.trim_end() == STARTED {
        return writeln!(io::stdout().lock(), "{}", container.folder.id()).map_err(output);
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

/// Tells that the program runs, and gives the streams back to whoever waits for their end.
fn let_go() {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{STARTED}").and_then(|()| out.flush()));
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}
