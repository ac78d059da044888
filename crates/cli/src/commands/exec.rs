use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::AsFd,
    path::PathBuf,
    sync::Arc,
    thread,
};

use galley_engine::{
    Error, ErrorKind,
    container::{self, ExecRequest, Execution},
};
use galley_sandbox::Pty;
use signal_hook::{consts::SIGWINCH, iterator::Signals};

use crate::{
    commands::run::{foreground::write_all, terminal, variables},
    context::Context,
    failure::{Failure, Outcome},
};

/// Run a command in a container that runs
#[derive(Debug, clap::Args)]
pub(crate) struct ExecArgs {
    /// Do not wait for it
    #[arg(short, long)]
    detach: bool,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set a variable, NAME=VALUE; without a value it is taken from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Set the variables that are in a file, one a line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Whom to run as: USER[:GROUP], names or numbers
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// Let it do everything that galley itself may do
    #[arg(long)]
    privileged: bool,
    /// Name, id or the start of one
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// What to run
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs it; what the command ends with is how galley ends.
pub(crate) fn execute(arguments: &ExecArgs, context: &Context) -> Outcome {
    let typed = arguments.tty && arguments.interactive && !arguments.detach;
    terminal::require(typed).map_err(|error| error.help("leave out -t"))?;
    let store = context.store()?;
    let found = container::find(&store, &arguments.container)?;
    let size = terminal::size();
    let request = ExecRequest {
        arguments: arguments.command.clone(),
        environment: variables(&arguments.env_file, &arguments.env, &context.environment)?,
        user: arguments.user.clone().filter(|user| !user.is_empty()),
        working_directory: arguments.workdir.clone().filter(|path| !path.is_empty()),
        terminal: arguments.tty.then_some((size.rows, size.cols)),
        privileged: arguments.privileged,
    };
    let null = File::options().read(true).write(true).open("/dev/null");
    let null =
        null.map_err(|error| Error::new(ErrorKind::Machine, "cannot open /dev/null").because(error))?;
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let null = null.as_fd();
    let (input, away) = (arguments.interactive && !arguments.detach, arguments.detach);
    let streams = [
        if input { stdin.as_fd() } else { null },
        if away { null } else { stdout.as_fd() },
        if away { null } else { stderr.as_fd() },
    ];
    let execution = container::exec(&found, &request, streams);
    let execution =
        execution.map_err(|(code, error)| Failure::coded(u8::try_from(code).unwrap_or(u8::MAX), error))?;
    if arguments.detach {
        return Ok(());
    }
    let code = attended(&execution, arguments.interactive)?;
    Err(Failure::Code(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Stays with the process until its end.
fn attended(execution: &Execution, interactive: bool) -> Result<i32, Error> {
    let Some(pty) = &execution.pty else { return execution.wait() };
    let raw = if interactive { terminal::Raw::enter() } else { Ok(None) };
    let raw =
        raw.map_err(|error| Error::new(ErrorKind::Machine, "cannot use the terminal").because(error))?;
    if interactive {
        let pty = Arc::clone(pty);
        // Ends with this process: a read of a terminal cannot be called off.
        thread::spawn(move || type_into(&pty));
    }
    follow_size(pty);
    show(pty);
    let code = execution.wait();
    drop(raw);
    code
}

fn type_into(pty: &Pty) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = io::stdin().lock().read(&mut buffer) {
        if !write_all(pty, buffer.get(..count).unwrap_or_default()) {
            return;
        }
    }
}

pub(super) fn follow_size(pty: &Arc<Pty>) {
    let pty = Arc::clone(pty);
    // A size that cannot be followed is only ugly.
    let Ok(mut signals) = Signals::new([SIGWINCH]) else { return };
    thread::spawn(move || {
        for _ in signals.forever() {
            drop(pty.resize(terminal::size()));
        }
    });
}

fn show(pty: &Pty) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = pty.read(&mut buffer) {
        let mut out = io::stdout().lock();
        drop(out.write_all(buffer.get(..count).unwrap_or_default()).and_then(|()| out.flush()));
    }
}
