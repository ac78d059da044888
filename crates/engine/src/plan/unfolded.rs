//! How much a Dockerfile may make of itself.
//!
//! `$A` can stand for a megabyte on any line, each RUN tells all ARGs in its line of the history, and a stage begins with
//! all that the stage below it says. So a file of some kilobytes could ask for any amount of memory; what grows like this
//! is counted for the file as a whole.

use std::cell::Cell;

use galley_dockerfile::Span;

use super::{state::State, text::Text};
use crate::Error;

/// The most bytes of values that are filled in, of lines of the history and of what stages begin with, together.
pub(super) const UNFOLDED_BYTES_MAX: usize = 64 << 20;

/// What an entry of a list or map takes beside its text.
const ENTRY_BYTES: usize = 64;

/// What one file has come to.
#[derive(Debug, Default)]
pub(super) struct Unfolded(Cell<usize>);

impl Unfolded {
    /// Counts so many bytes.
    pub(super) fn add(&self, bytes: usize) {
        self.0.set(self.0.get().saturating_add(bytes));
    }

    /// An error at this place when it has become too much.
    pub(super) fn check(&self, text: &Text, span: Span) -> Result<(), Error> {
        if self.0.get() <= UNFOLDED_BYTES_MAX {
            return Ok(());
        }
        let message = format!("the Dockerfile unfolds to more than {UNFOLDED_BYTES_MAX} bytes");
        Err(text.wrong(span, message).label("with this line").help(
            "values of variables wherever they are filled in, lines of the history and what stages begin with are \
             counted together: write fewer or shorter ones",
        ))
    }
}

impl State {
    /// About how much a copy of this takes.
    pub(super) fn bytes(&self) -> usize {
        let run = &self.config.config;
        let labels = run.labels.iter().map(|(name, value)| name.len() + value.len());
        let texts = run.env.iter().chain(&run.volumes).chain(&run.exposed_ports).chain(&run.cmd);
        let texts = texts.chain(&run.entrypoint).chain(&run.shell).map(String::len);
        let variables = self.environment.names().map(|name| 3 * name.len());
        labels.chain(texts).chain(variables).map(|bytes| bytes + ENTRY_BYTES).sum()
    }
}
