//! What the person sees of a build: consumers of the engine's one stream of events.
//!
//! ```text
//! engine ── Event ──▶ thread ─┬▶ State ──▶ tty | plain | quiet | rawjson ──▶ standard error
//!                             └▶ Story ──▶ trace, report, what the store remembers
//! ```
//!
//! Displays get the time with each event and write to any `Write`, so that their tests need neither a process nor a
//! clock.

mod plain;
pub(crate) mod rawjson;
mod state;
pub(crate) mod text;
mod transfers;
mod tty;

use std::{
    io::{self, IsTerminal, LineWriter, Write},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use galley_engine::{Event, Events, Stamped};

use state::State;
pub(crate) use state::Tail;

use crate::story::Story;

/// How often a terminal is redrawn.
const REDRAW: Duration = Duration::from_millis(100);

/// `--progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Progress {
    /// `tty` on a terminal, else `plain`
    #[default]
    Auto,
    /// Redrawn in place
    Tty,
    /// One line after the other
    Plain,
    /// Nothing but errors
    #[value(alias = "none")]
    Quiet,
    /// One JSON object for each event
    Rawjson,
}

impl Progress {
    /// The same without `auto`. A `dumb` terminal is one that cannot move its cursor.
    pub(crate) fn resolved(self, dumb: bool) -> Self {
        match self {
            Self::Auto if io::stderr().is_terminal() && !dumb => Self::Tty,
            Self::Auto => Self::Plain,
            other => other,
        }
    }
}

/// One way to show events.
trait Display: Send {
    /// Something happened, `at` after the start.
    fn event(&mut self, event: &Event, state: &State, at: Duration) -> io::Result<()>;

    /// Time went by.
    fn tick(&mut self, _state: &State, _at: Duration) -> io::Result<()> {
        Ok(())
    }

    /// That was all.
    fn finish(&mut self, _state: &State, _at: Duration) -> io::Result<()> {
        Ok(())
    }
}

/// A display at work on its own thread.
pub(crate) struct Show {
    thread: JoinHandle<Summary>,
}

/// What is left to say once a display is done.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// The last output of a step that failed.
    pub(crate) failed: Option<Tail>,
    /// All that happened.
    pub(crate) story: Story,
}

/// Where something puts its events that began at `start`, and where a display takes them.
pub(crate) fn channel(start: Instant) -> (Events, Incoming) {
    let (sender, events) = crossbeam_channel::unbounded();
    (Events::new(sender, start), Incoming { events, start })
}

/// Events on their way to a display.
pub(crate) struct Incoming {
    events: Receiver<Stamped>,
    start: Instant,
}

impl Show {
    /// Starts the display; it ends when every clone of the [`Events`] is gone.
    pub(crate) fn start(progress: Progress, program: &str, incoming: Incoming) -> Self {
        let display = display(progress, program);
        Self { thread: thread::spawn(move || consume(display, &incoming)) }
    }

    /// Waits until everything is shown.
    pub(crate) fn finish(self) -> Summary {
        self.thread.join().unwrap_or_default()
    }
}

fn display(progress: Progress, program: &str) -> Option<Box<dyn Display>> {
    match progress {
        Progress::Tty => Some(Box::new(tty::Tty::on_terminal(io::stderr()))),
        Progress::Rawjson => Some(Box::new(rawjson::RawJson::new(LineWriter::new(io::stderr()), program))),
        Progress::Plain | Progress::Auto => Some(Box::new(plain::Plain::new(LineWriter::new(io::stderr())))),
        Progress::Quiet => None,
    }
}

/// Reads events to their end. A display that cannot write any more is dropped; the build goes on.
fn consume(mut display: Option<Box<dyn Display>>, incoming: &Incoming) -> Summary {
    let mut state = State::default();
    let mut story = Story::default();
    loop {
        let received = incoming.events.recv_timeout(REDRAW);
        if let Ok(stamped) = &received {
            state.apply(&stamped.event, stamped.at);
        }
        let shown = match (&mut display, &received) {
            (None, _) => Ok(()),
            (Some(display), Ok(Stamped { at, event })) => display.event(event, &state, *at),
            (Some(display), Err(RecvTimeoutError::Timeout)) => display.tick(&state, incoming.start.elapsed()),
            (Some(display), Err(RecvTimeoutError::Disconnected)) => {
                display.finish(&state, incoming.start.elapsed())
            }
        };
        if shown.is_err() {
            display = None;
        }
        match received {
            Ok(stamped) => story.add(stamped),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                story.end(incoming.start.elapsed());
                return Summary { failed: state.into_failed(), story };
            }
        }
    }
}

/// Prints the last output of the step that failed, between rules, as BuildKit does.
pub(crate) fn print_failed(tail: &Tail, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "------\n > {}:", text::clean(&tail.name))?;
    if tail.skipped > 0 {
        writeln!(out, "(earlier lines left out)")?;
    }
    for (at, line) in &tail.lines {
        writeln!(out, "{:.3} {line}", at.as_secs_f64())?;
    }
    writeln!(out, "------")
}

#[cfg(test)]
mod tests;
