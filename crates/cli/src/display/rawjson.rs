//! `--progress=rawjson`: one JSON object a line for each event, as docs/rawjson.md says.

use std::{
    io::{self, Write},
    time::Duration,
};

use galley_engine::Event;
use serde_json::{Value, json};

use super::{Display, state::State};

/// Raised when a reader of these lines would have to change.
pub(crate) const VERSION: u32 = 1;

/// Writes JSON lines to `out`.
pub(super) struct RawJson<W> {
    out: W,
    program: String,
    started: bool,
}

impl<W: Write> RawJson<W> {
    pub(super) fn new(out: W, program: &str) -> Self {
        Self { out, program: program.to_owned(), started: false }
    }

    fn line(&mut self, value: Value, at: Duration) -> io::Result<()> {
        writeln!(self.out, "{}", stamped(value, at))
    }
}

/// The object with the time of what it tells.
pub(crate) fn stamped(mut value: Value, at: Duration) -> Value {
    // Microseconds: finer is noise.
    let at = (at.as_secs_f64() * 1e6).round() / 1e6;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("at".to_owned(), json!(at));
    }
    value
}

impl<W: Write + Send> Display for RawJson<W> {
    fn event(&mut self, event: &Event, _state: &State, at: Duration) -> io::Result<()> {
        if !std::mem::replace(&mut self.started, true) {
            let head = json!({ "event": "log-start", "version": VERSION, "program": self.program });
            self.line(head, Duration::ZERO)?;
        }
        self.line(serde_json::to_value(event)?, at)
    }

    fn finish(&mut self, _state: &State, at: Duration) -> io::Result<()> {
        self.line(json!({ "event": "log-end" }), at)
    }
}
