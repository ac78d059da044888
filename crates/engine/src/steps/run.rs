//! RUN: a process on a snapshot, and what it changed.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fs_err as fs;
use galley_oci::minimal;
use galley_store::Layer;

use super::{
    files::{Files, store_error},
    mounts::{self, MountInput},
    users::Accounts,
    work::Work,
};
use crate::{
    Cancel, Error, ErrorKind, Event,
    build::Builder,
    cache::Key,
    events::Stream,
    plan::{RunOp, Step},
    ports::{Exit, RunOutcome, RunRequest},
};

/// A step that takes less of the processor gains nothing by a base that is a directory.
const WORK_MIN: Duration = Duration::from_millis(50);

/// How many lines of a failed step are shown with its error.
const TAIL_LINES: usize = 20;

/// The longest part of one line that is kept for the error.
const TAIL_LINE_BYTES_MAX: usize = 1024;

/// Where the output of a run step is kept, relative to the store: the last execution of each key.
pub(crate) fn log_name(key: &Key) -> String {
    format!("history/{}.log", key.hex())
}

/// A process that failed: the [source](std::error::Error::source) of an error of kind [`ErrorKind::Step`].
#[derive(Debug)]
pub struct StepFailure {
    /// How it ended.
    pub exit: Exit,
    /// The last lines that it wrote, both streams as they came.
    pub last_lines: Vec<Vec<u8>>,
    /// The file that holds all of it.
    pub log: PathBuf,
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exit {
            Exit::Code(code) => write!(f, "exit code: {code}"),
            Exit::Signal(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

impl std::error::Error for StepFailure {}

/// Runs the step and commits what it changed.
pub(crate) fn execute(
    builder: &Builder<'_>,
    step: &Step,
    work: &Work<'_>,
    operation: &RunOp,
    inputs: &[Option<MountInput>],
    stop: &Cancel,
) -> Result<Layer, Error> {
    let files = Files::of_snapshot(&work.parent)?;
    let user = Accounts::read(builder.store, &files)?.process(&operation.user)?;
    let mounts = mounts::resolve(builder, step, operation, inputs, stop)?;
    let output = Output::create(builder, step, &work.key)?;
    let request = RunRequest {
        snapshot: &work.parent,
        operation,
        user,
        mounts: mounts.mounts.clone(),
        secret_env: mounts.secret_env.clone(),
        network: operation.network,
        followed: builder.is_followed(step),
    };
    let outcome = builder.runner.0.run(request, &|stream, bytes| output.write(stream, bytes), stop);
    drop(mounts);
    if stop.is_cancelled() {
        return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
    }
    let outcome = outcome?;
    if outcome.cpu >= WORK_MIN {
        work.parent.layers()?.iter().for_each(|layer| builder.store.count_use(layer));
    }
    finish(builder, &files, outcome, output, operation)
}

fn finish(
    builder: &Builder<'_>,
    below: &Files,
    outcome: RunOutcome,
    output: Output<'_>,
    operation: &RunOp,
) -> Result<Layer, Error> {
    if outcome.exit != Exit::Code(0) {
        return Err(output.failure(operation, outcome.exit));
    }
    let (temp, changes) = match outcome.changes {
        Some(changes) => changes,
        None => {
            let message = "the runner reported success and no changed files";
            return Err(Error::new(ErrorKind::Internal, message));
        }
    };
    let layer = builder.store.commit_dir(temp, minimal(changes, below.stack())).map_err(store_error)?;
    if outcome.lets_out {
        layer.mistrust();
    }
    Ok(layer)
}

/// What a process writes: to the display, to the log, and the end of it kept for an error.
struct Output<'a> {
    builder: &'a Builder<'a>,
    step: &'a Step,
    log: PathBuf,
    state: Mutex<OutputState>,
}

struct OutputState {
    /// Made with the first bytes: most short steps write none.
    file: Option<fs::File>,
    tail: Tail,
}

/// The last lines; the very last may not be complete.
#[derive(Debug)]
struct Tail {
    lines: VecDeque<Vec<u8>>,
    ended: bool,
}

impl<'a> Output<'a> {
    fn create(builder: &'a Builder<'a>, step: &'a Step, key: &Key) -> Result<Self, Error> {
        let log = builder.store.root().join(log_name(key));
        match fs::remove_file(&log) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::new(ErrorKind::Store, "cannot create the log of the step").because(error));
            }
            _ => {}
        }
        let state = OutputState { file: None, tail: Tail::new() };
        Ok(Self { builder, step, log, state: Mutex::new(state) })
    }

    fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.keep(&self.log, bytes);
        let (step, bytes) = (self.step.id, bytes.to_vec());
        self.builder.events.emit(Event::Log { step, stream, bytes, skipped: None });
    }

    fn failure(self, operation: &RunOp, exit: Exit) -> Error {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.keep(&self.log, b"");
        let advice = [advice(exit), advice_on(&state.tail.lines)].into_iter().flatten();
        let failure = StepFailure { exit, last_lines: state.tail.lines.into(), log: self.log.clone() };
        let command: Vec<_> = operation.arguments.iter().map(|word| String::from_utf8_lossy(word)).collect();
        let command = command.join(" ");
        let message = format!("process {command:?} did not complete successfully: {failure}");
        let error = Error::new(ErrorKind::Step, message)
            .label(failure.to_string())
            .help(format!("the full output is in {}", self.log.display()))
            .because(failure);
        advice.fold(error, Error::help)
    }
}

/// What a code that programs rarely choose themselves stands for.
const fn advice(exit: Exit) -> Option<&'static str> {
    match exit {
        Exit::Code(127) => Some(
            "a shell ends with 127 when a command is not there, or is there without its dynamic loader or the interpreter of its #! line",
        ),
        Exit::Code(137) | Exit::Signal(9) => Some("killed, perhaps for want of memory: `dmesg` tells"),
        _ => None,
    }
}

/// What `go` says where there is no /proc; a Go that the step itself put there is not told where it is.
fn advice_on(lines: &VecDeque<Vec<u8>>) -> Option<&'static str> {
    let words = b"binary is trimmed and GOROOT is not set";
    let said = lines.iter().any(|line| line.windows(words.len()).any(|part| part == words));
    said.then_some(
        "there is no /proc for go to find itself by: `ENV GOROOT=/usr/local/go` before this RUN tells it",
    )
}

impl OutputState {
    fn keep(&mut self, log: &Path, bytes: &[u8]) {
        if self.file.is_none() {
            self.file = fs::File::create(log).ok();
        }
        // A full disk must not kill the step for its log's sake; the commit will tell.
        drop(self.file.as_mut().map(|file| file.write_all(bytes)));
        self.tail.keep(bytes);
    }
}

impl Tail {
    const fn new() -> Self {
        Self { lines: VecDeque::new(), ended: true }
    }

    fn keep(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.ended {
                if self.lines.len() == TAIL_LINES {
                    self.lines.pop_front();
                }
                self.lines.push_back(Vec::new());
            }
            self.ended = piece.ends_with(b"\n");
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if let Some(line) = self.lines.back_mut() {
                // What a progress bar wrote over itself is gone, as on a terminal.
                let text = match text.iter().rposition(|&byte| byte == b'\r') {
                    Some(start) => {
                        line.clear();
                        &text[start + 1..]
                    }
                    None => text,
                };
                let room = TAIL_LINE_BYTES_MAX.saturating_sub(line.len()).min(text.len());
                line.extend_from_slice(&text[..room]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(pieces: &[&str]) -> Vec<String> {
        let mut tail = Tail::new();
        pieces.iter().for_each(|piece| tail.keep(piece.as_bytes()));
        tail.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    #[test]
    fn lines_come_in_pieces() {
        assert_eq!(tail(&["a", "b\nc", "\n", "\nd"]), ["ab", "c", "", "d"]);
        assert_eq!(tail(&["dos\r\nnext\r\n"]), ["dos", "next"]);
    }

    #[test]
    fn a_progress_bar_leaves_its_last_state() {
        assert_eq!(tail(&["10%\r20", "%\r30%", "\r100%\ndone"]), ["100%", "done"]);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let long = "x".repeat(TAIL_LINE_BYTES_MAX);
        assert_eq!(tail(&[&long, &long]), std::slice::from_ref(&long));
    }
}
