//! What the threads of a supervising process share: the container as it is now, and what it is asked.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use galley_sandbox::{Child, Spawner, Spec};
use galley_store::ContainerDir;

use super::{ContainerState, Request, write_state};
use crate::Error;

/// The signal that no program can do anything about.
const SIGKILL: i32 = 9;

/// A container whose program runs, as its supervisor has it.
pub(super) struct Inside {
    /// Made it.
    pub(super) spawner: Spawner,
    /// Its first process.
    pub(super) child: Arc<Child>,
    /// What it was made of.
    pub(super) spec: Spec,
}

/// The container.
pub(super) struct Watch {
    folder: ContainerDir,
    stop_signal: i32,
    now: Mutex<Now>,
    changed: Condvar,
}

struct Now {
    state: ContainerState,
    inside: Option<Arc<Inside>>,
    /// Somebody wants it to end and not to start again.
    stopped: bool,
    /// Came before there was anybody to get it.
    waiting: Vec<i32>,
}

impl Watch {
    pub(super) fn new(folder: ContainerDir, stop_signal: i32, state: ContainerState) -> Self {
        let now = Now { state, inside: None, stopped: false, waiting: Vec::new() };
        Self { folder, stop_signal, now: Mutex::new(now), changed: Condvar::new() }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is written of the container.
    pub(super) fn update(&self, change: impl FnOnce(&mut ContainerState)) -> Result<(), Error> {
        let mut now = self.now();
        change(&mut now.state);
        write_state(&self.folder, &now.state)
    }

    /// The program runs, or no longer does.
    pub(super) fn set_inside(&self, inside: Option<Arc<Inside>>) {
        let mut now = self.now();
        if let Some(inside) = &inside {
            let waiting = std::mem::take(&mut now.waiting);
            // The only failure is that of a process that has ended in between.
            waiting.into_iter().for_each(|signal| drop(inside.child.signal(signal)));
        }
        now.inside = inside;
        self.changed.notify_all();
    }

    /// The container, while its program runs.
    pub(super) fn inside(&self) -> Option<Arc<Inside>> {
        self.now().inside.clone()
    }

    /// Whether it is to stay ended.
    pub(super) fn is_stopped(&self) -> bool {
        self.now().stopped
    }

    /// Does what another process asked for.
    pub(super) fn act(&self, request: Request) {
        let signal = match request {
            Request::Signal(signal) => signal,
            Request::Stop => self.stop_signal,
            Request::Kill => SIGKILL,
        };
        self.pass_on(signal, signal == SIGKILL || signal == self.stop_signal);
    }

    /// Sends a signal; with `for_good` the container is to stay ended afterwards.
    pub(super) fn pass_on(&self, signal: i32, for_good: bool) {
        let mut now = self.now();
        now.stopped |= for_good;
        match &now.inside {
            Some(inside) => drop(inside.child.signal(signal)),
            None => now.waiting.push(signal),
        }
        self.changed.notify_all();
    }

    /// Waits that long; `false` when the container is to stay ended.
    pub(super) fn rest(&self, pause: Duration) -> bool {
        self.wait(pause, |now| now.stopped);
        !self.is_stopped()
    }

    /// Waits that long while the program runs; `false` when it has ended.
    pub(super) fn runs_for(&self, pause: Duration) -> bool {
        self.wait(pause, |now| now.inside.is_none());
        self.now().inside.is_some()
    }

    fn wait(&self, pause: Duration, over: impl Fn(&Now) -> bool) {
        let until = Instant::now() + pause;
        let mut now = self.now();
        while !over(&now) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            now = self.changed.wait_timeout(now, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
