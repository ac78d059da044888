mod keys;

use std::{
    io::{self, IsTerminal, Read, Write},
    sync::Arc,
    thread,
};

use galley_engine::{
    Error, ErrorKind,
    container::{self, Attached, Container, Status},
};
use signal_hook::{
    consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2},
    iterator::Signals,
};

use self::keys::Keys;
use crate::{
    args::go_bool,
    commands::{
        exec::follow_size,
        run::{
            foreground::{write, write_all},
            terminal,
        },
    },
    context::Context,
    failure::{Failure, Outcome},
    message,
};

/// See what a container writes from now on, and type to it
#[derive(Debug, clap::Args)]
pub(crate) struct AttachArgs {
    /// Keys that end this and leave the container running, like ctrl-a or a,b
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q", value_parser = Keys::parse)]
    detach_keys: Keys,
    /// Do not type to it
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the command; not with a terminal
    #[arg(long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = go_bool())]
    sig_proxy: bool,
    /// Name, id or the start of one
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// What is passed on to the container's first process.
const PASSED: [i32; 7] = [SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// Ends as the command does.
pub(crate) fn execute(arguments: &AttachArgs, context: &Context) -> Outcome {
    let store = context.store()?;
    let found = container::find(&store, &arguments.container)?;
    if matches!(found.status, Status::Paused { .. }) {
        let error = Error::new(ErrorKind::Usage, format!("container {} is paused", found.name));
        return Err(error.help(format!("`galley unpause {}` lets it go on", found.name)).into());
    }
    let interactive = !arguments.no_stdin && found.config.open_stdin;
    let attached = container::attach(&found)?;
    let name = found.name.clone();
    if arguments.sig_proxy && attached.pty.is_none() {
        pass_signals(found)?;
    }
    let raw = if interactive && attached.pty.is_some() { terminal::Raw::enter() } else { Ok(None) };
    let raw =
        raw.map_err(|error| Error::new(ErrorKind::Machine, "cannot use the terminal").because(error))?;
    let raw = Arc::new(std::sync::Mutex::new(raw));
    if let Some(pty) = &attached.pty {
        // A size that cannot be set is only ugly.
        drop(pty.resize(terminal::size()));
        follow_size(pty);
    }
    if interactive {
        type_to(&attached, arguments.detach_keys.clone(), Arc::clone(&raw))?;
    }
    let ended = attached.watch(|stream, bytes| {
        // Whoever closed our output wants no more of it; the container goes on.
        if write(stream, bytes).is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            leave(&raw);
        }
    });
    drop(raw.lock().map(|mut raw| raw.take()));
    let seen = ended?;
    if !seen.whole {
        let help = format!("`galley logs {name}` has all of it");
        message::warn("the container has ended, and its last output did not come through", Some(&help));
    }
    Err(Failure::Code(u8::try_from(seen.code).unwrap_or(u8::MAX)))
}

fn pass_signals(found: Container) -> Result<(), Error> {
    let failed = |error| Error::new(ErrorKind::Machine, "cannot listen for signals").because(error);
    let mut signals = Signals::new(PASSED).map_err(failed)?;
    let pass = move || {
        for signal in signals.forever() {
            // One that has ended tells so itself.
            drop(container::signal(&found, signal));
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(pass).map(drop).map_err(failed)
}

/// Passes on what is typed until the keys come that end this. The thread ends with this process: a read of a terminal
/// cannot be called off.
fn type_to(
    attached: &Attached,
    mut keys: Keys,
    raw: Arc<std::sync::Mutex<Option<terminal::Raw>>>,
) -> Result<(), Error> {
    let failed = |error| Error::new(ErrorKind::Machine, "cannot use the container's input").because(error);
    let pty = attached.pty.clone();
    let mut file = attached.stdin.as_ref().map(std::fs::File::try_clone).transpose().map_err(failed)?;
    // A script's input may hold any bytes.
    let watched = io::stdin().is_terminal();
    let work = move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = io::stdin().lock().read(&mut buffer) {
            let bytes = buffer.get(..count).unwrap_or_default();
            let (typed, over) = if watched { keys.take(bytes) } else { (bytes.to_vec(), false) };
            let went = match (&pty, &mut file) {
                (Some(pty), _) => write_all(pty, &typed),
                (None, Some(file)) => file.write_all(&typed).is_ok(),
                (None, None) => true,
            };
            if over {
                drop(writeln!(io::stderr().lock(), "read escape sequence"));
                leave(&raw);
            }
            if !went {
                return;
            }
        }
    };
    thread::Builder::new().name("typing".to_owned()).spawn(work).map(drop).map_err(failed)
}

/// Ends this process and leaves the container to itself.
fn leave(raw: &std::sync::Mutex<Option<terminal::Raw>>) {
    drop(raw.lock().map(|mut raw| raw.take()));
    crate::exit::leave();
}
