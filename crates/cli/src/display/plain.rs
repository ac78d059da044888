//! `--progress=plain`: one line after the other, each with the number of its step, as BuildKit writes them.

use std::{
    io::{self, Write},
    time::Duration,
};

use galley_engine::Event;

use super::{
    Display,
    state::{State, Status, Work},
};
use crate::human;

/// Writes lines to `out`.
pub(super) struct Plain<W> {
    out: W,
    /// Number of what the last line was about.
    last: usize,
    /// The highest number whose name was written.
    named: usize,
    /// Warnings told so far.
    warned: usize,
}

impl<W: Write> Plain<W> {
    pub(super) const fn new(out: W) -> Self {
        Self { out, last: 0, named: 0, warned: 0 }
    }

    /// A blank line where the subject changes, and the name where something begins.
    fn subject(&mut self, work: &Work, begins: bool) -> io::Result<()> {
        if self.last != work.number && self.last != 0 {
            writeln!(self.out)?;
        }
        if begins {
            writeln!(self.out, "#{} {}", work.number, work.name)?;
            self.named = self.named.max(work.number);
        }
        self.last = work.number;
        Ok(())
    }

    fn fresh(&mut self, work: &Work) -> io::Result<()> {
        for (at, line) in &work.fresh {
            writeln!(self.out, "#{} {:.3} {line}", work.number, at.as_secs_f64())?;
        }
        Ok(())
    }

    fn ended(&mut self, work: &Work) -> io::Result<()> {
        self.fresh(work)?;
        match &work.status {
            Status::Cached => writeln!(self.out, "#{} CACHED", work.number),
            Status::Done(took) => writeln!(self.out, "#{} DONE {}", work.number, human::seconds(*took)),
            Status::Failed(message) => writeln!(self.out, "#{} ERROR: {message}", work.number),
            Status::Waiting | Status::Running => Ok(()),
        }
    }

    fn warnings(&mut self, state: &State) -> io::Result<()> {
        for warned in state.warnings.iter().skip(self.warned) {
            let place = warned.place.as_ref().map_or_else(String::new, |place| format!(" ({place})"));
            writeln!(self.out, "WARN: {}{place}", warned.message)?;
            if let Some(help) = &warned.help {
                writeln!(self.out, "      {help}")?;
            }
        }
        self.warned = state.warnings.len();
        Ok(())
    }
}

impl<W: Write + Send> Display for Plain<W> {
    fn event(&mut self, event: &Event, state: &State, _at: Duration) -> io::Result<()> {
        self.warnings(state)?;
        let Some(work) = state.current() else { return Ok(()) };
        match event {
            Event::Started { .. } | Event::Exporting { .. } => self.subject(work, true),
            // A step that failed before it was started has not been named yet.
            Event::Failed { .. } => {
                self.subject(work, work.number > self.named)?;
                self.ended(work)
            }
            Event::Context { .. } | Event::Cached { .. } => {
                self.subject(work, true)?;
                self.ended(work)
            }
            Event::Log { .. } => {
                self.subject(work, false)?;
                self.fresh(work)
            }
            _ => {
                self.subject(work, false)?;
                self.ended(work)
            }
        }
    }
}
