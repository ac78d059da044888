//! `run` without `-d`: this process supervises the container, with its own streams and signals.

use std::{
    io::{self, Read, Write},
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use galley_engine::{
    Error, ErrorKind,
    container::{self, Container, NotStarted, Running, Streams},
    events::Stream,
};
use galley_store::Store;
use signal_hook::{
    consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH},
    iterator::Signals,
};

use super::terminal;
use crate::{
    failure::{Failure, Outcome},
    message,
};

/// What is passed on to the container's first process.
const PASSED: [i32; 7] = [SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
/// A first process without a handler ignores signals: whoever asks this often means it.
const INTERRUPTS_MAX: u32 = 3;

/// Runs to the end.
pub(in crate::commands) fn run(store: &Store, container: Container) -> Outcome {
    let (tty, interactive) = (container.config.tty, container.config.open_stdin);
    let signals = Passing::start()
        .map_err(|error| Error::new(ErrorKind::Machine, "cannot listen for signals").because(error))?;
    let raw = if tty && interactive { terminal::Raw::enter() } else { Ok(None) };
    let raw =
        raw.map_err(|error| Error::new(ErrorKind::Machine, "cannot use the terminal").because(error))?;
    let stdin = io::stdin();
    let ended = container::supervise(
        store,
        container,
        &Streams {
            stdin: interactive.then(|| stdin.as_fd()),
            tty_size: terminal::size(),
            output: &|stream, bytes| {
                if write(stream, bytes).is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                    signals.unheard();
                }
            },
            warn: &|message| message::warn(message, None),
            started: &|running| signals.started(running, interactive),
        },
    );
    drop(raw);
    if signals.is_unheard() { Err(Failure::BrokenPipe) } else { ending(ended) }
}

/// The container's code is ours.
pub(super) fn ending(ended: Result<i32, NotStarted>) -> Outcome {
    match ended {
        Ok(code) => Err(Failure::Code(u8::try_from(code).unwrap_or(u8::MAX))),
        Err(NotStarted { code, error }) => Err(Failure::coded(u8::try_from(code).unwrap_or(u8::MAX), error)),
    }
}

pub(in crate::commands) fn write(stream: Stream, bytes: &[u8]) -> io::Result<()> {
    match stream {
        Stream::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Stream::Stderr => io::stderr().lock().write_all(bytes),
    }
}

/// Passes signals on, from before the container runs.
#[derive(Clone, Debug, Default)]
struct Passing(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    running: Option<Running>,
    /// What came before there was anybody to pass it to.
    waiting: Vec<i32>,
    interrupts: u32,
    unheard: bool,
}

impl Passing {
    fn start() -> io::Result<Self> {
        let passing = Self::default();
        let mut signals = Signals::new(PASSED.iter().chain(&[SIGWINCH]))?;
        let shared = passing.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                shared.arrived(signal);
            }
        })?;
        Ok(passing)
    }

    fn arrived(&self, signal: i32) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.interrupts += u32::from(signal == SIGINT || signal == SIGTERM);
        let Some(running) = &state.running else {
            if signal != SIGWINCH {
                state.waiting.push(signal);
            }
            return;
        };
        match (signal, &running.pty) {
            // A size that cannot be set is only ugly.
            (SIGWINCH, Some(pty)) => drop(pty.resize(terminal::size())),
            (SIGWINCH, None) => {}
            _ if state.interrupts >= INTERRUPTS_MAX => running.kill(),
            _ => running.signal(signal),
        }
    }

    /// Nobody reads what the container writes (`galley run … | head`). Its supervisor, which the pipeline waits for, ends as
    /// docker's client does, and so the container with it.
    fn unheard(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.unheard = true;
        state.running.iter().for_each(Running::kill);
    }

    fn is_unheard(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unheard
    }

    /// The container runs: what waited is passed on, and its terminal gets what is typed.
    fn started(&self, running: &Running, interactive: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for signal in std::mem::take(&mut state.waiting) {
            running.signal(signal);
        }
        state.running = Some(running.clone());
        if let Some(pty) = running.pty.clone().filter(|_| interactive) {
            // Ends with this process: a read of a terminal cannot be called off.
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = io::stdin().lock().read(&mut buffer) {
                    if !write_all(&pty, buffer.get(..count).unwrap_or_default()) {
                        return;
                    }
                }
            });
        }
    }
}

pub(in crate::commands) fn write_all(pty: &galley_sandbox::Pty, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match pty.write(bytes) {
            Ok(count @ 1..) => bytes = bytes.get(count..).unwrap_or_default(),
            _ => return false,
        }
    }
    true
}
