//! `--progress=plain`: one line after the other, each with the number of its step, as BuildKit writes them.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use galley_engine::Event;

use super::{
    Display,
    state::{State, Status, Work},
};
use crate::human;

/// How often it is said how far a transfer is.
const TRANSFER_INTERVAL: Duration = Duration::from_secs(5);

/// Writes lines to `out`.
pub(super) struct Plain<W> {
    out: W,
    /// Number of what the last line was about.
    last: usize,
    /// The highest number whose name was written.
    named: usize,
    /// Warnings told so far.
    warned: usize,
    /// When it was last said how far a transfer is, by the numbers of its group and its own.
    moved: BTreeMap<(usize, usize), Duration>,
}

impl<W: Write> Plain<W> {
    pub(super) const fn new(out: W) -> Self {
        Self { out, last: 0, named: 0, warned: 0, moved: BTreeMap::new() }
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
            Status::Cached(None) => writeln!(self.out, "#{} CACHED", work.number),
            Status::Cached(Some(from)) => writeln!(self.out, "#{} CACHED from {from}", work.number),
            Status::Done(took) => writeln!(self.out, "#{} DONE {}", work.number, human::seconds(*took)),
            Status::Failed(message) => writeln!(self.out, "#{} ERROR: {message}", work.number),
            Status::Waiting | Status::Running => Ok(()),
        }
    }

    /// A line when a transfer begins and when it is over, and a few in between.
    fn transfer(&mut self, work: &Work, at: Duration) -> io::Result<()> {
        let Some(moving) = work.moving() else { return Ok(()) };
        let key = (work.number, work.moved);
        let said = self.moved.get(&key).copied();
        if !moving.is_over() && said.is_some_and(|said| at.saturating_sub(said) < TRANSFER_INTERVAL) {
            return Ok(());
        }
        self.moved.insert(key, at);
        self.subject(work, work.number > self.named)?;
        let (line, took) = (moving.describe(at), human::seconds(moving.took(at)));
        let end = if moving.is_over() { " done" } else { "" };
        writeln!(self.out, "#{} {line} {took}{end}", work.number)
    }

    fn warnings(&mut self, state: &State) -> io::Result<()> {
        for warned in state.warnings.iter().skip(self.warned) {
            let place = warned.place.as_ref().map_or_else(String::new, |place| format!(" ({place})"));
            let rule = warned.rule.as_ref().map_or_else(String::new, |rule| format!("{rule}: "));
            writeln!(self.out, "WARN: {rule}{}{place}", warned.message)?;
            if let Some(help) = &warned.help {
                writeln!(self.out, "      {help}")?;
            }
        }
        self.warned = state.warnings.len();
        Ok(())
    }
}

impl<W: Write + Send> Display for Plain<W> {
    fn event(&mut self, event: &Event, state: &State, at: Duration) -> io::Result<()> {
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
            Event::Transfer { .. } => self.transfer(work, at),
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
    fn finish(&mut self, state: &State, _at: Duration) -> io::Result<()> {
        self.out.write_all(state.findings().as_bytes())
    }
}
