use std::{
    io::{self, Write},
    time::Duration,
};

use galley_engine::container;

use crate::{
    commands::{
        run::{foreground, supervisor, terminal},
        stop::{other_signal, seconds},
    },
    context::Context,
    failure::{Failure, Outcome, keep_first, output},
    namespace,
};

/// Start containers that have ended, or were only created
#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {
    /// Stay with it: show what it writes, pass signals on, end as it does
    #[arg(short, long)]
    attach: bool,
    /// Connect standard input too
    #[arg(short, long)]
    interactive: bool,
    /// Names, ids or the start of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Stop containers and start them again
#[derive(Debug, clap::Args)]
pub(crate) struct RestartArgs {
    /// Seconds to wait before killing; -1 waits for ever
    #[arg(short, long, visible_alias = "time", value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    timeout: Option<i64>,
    /// The signal that asks it to end, instead of its own
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Names, ids or the start of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Starts each and prints its name.
pub(crate) fn execute(arguments: &StartArgs, context: &Context) -> Outcome {
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    if arguments.attach || arguments.interactive {
        let [name] = arguments.containers.as_slice() else {
            return Err(Failure::usage("only one container can be attached to"));
        };
        let mut found = container::find(&store, name)?;
        if found.is_running() {
            return Err(Failure::usage(format!(
                "container {name} is running; `logs -f` shows what it writes"
            )));
        }
        found.config.open_stdin &= arguments.interactive;
        let typed = found.config.tty && found.config.open_stdin;
        terminal::require(typed).map_err(|error| error.help("leave out -i, or start it without -a"))?;
        return foreground::run(&store, found);
    }
    each(&arguments.containers, |name| {
        let found = container::find(&store, name)?;
        if found.is_running() { Ok(()) } else { supervisor::start(&store, found).map(drop) }
    })
}

/// Stops and starts each.
pub(crate) fn restart(arguments: &RestartArgs, context: &Context) -> Outcome {
    let signal = other_signal(arguments.signal.as_deref())?;
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    each(&arguments.containers, |name| {
        let found = container::find(&store, name)?;
        let patience = match arguments.timeout {
            Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
            None => container::patience(&found),
        };
        container::stop(&found, signal, patience)?;
        supervisor::start(&store, container::find(&store, name)?).map(drop)
    })
}

/// Does `act` with each and prints the name of those that it worked with; the first failure is the outcome.
pub(super) fn each(names: &[String], act: impl Fn(&str) -> Outcome) -> Outcome {
    let mut outcome = Ok(());
    for name in names {
        match act(name) {
            Ok(()) => writeln!(io::stdout().lock(), "{name}").map_err(output)?,
            Err(failure) => keep_first(&mut outcome, failure),
        }
    }
    outcome
}
