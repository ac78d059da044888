//! What the threads of a supervising process share: the container as it is now, and what it is asked.

use std::{
    fs::File,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use galley_sandbox::{CgroupParent, CgroupPlan, Child, FormerLimits, Freezer, Pty, Spawner, Spec};
use galley_store::ContainerDir;

use super::{
    ContainerConfig, ContainerState, Limits, Phase, Request, Restart, audience::Audience, write_state,
};
use crate::{Error, ErrorKind};

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
    /// Its terminal, when it has one.
    pub(super) pty: Option<Arc<Pty>>,
    /// Where it reads, when nobody but those who attach to it types.
    pub(super) stdin: Option<File>,
}

/// The container.
pub(super) struct Watch {
    folder: ContainerDir,
    stop_signal: i32,
    now: Mutex<Now>,
    changed: Condvar,
    /// Who looks on.
    pub(super) audience: Audience,
}

struct Now {
    state: ContainerState,
    inside: Option<Arc<Inside>>,
    /// Somebody wants it to end and not to start again.
    stopped: bool,
    /// Came before there was anybody to get it.
    waiting: Vec<i32>,
    /// The cgroups that it runs in, when it has any of its own.
    cgroup: Option<CgroupPlan>,
    /// Where its processes were stopped once, and may be again.
    freezer: Option<Freezer>,
    /// How often its processes were stopped.
    pauses: u64,
    /// What happens when it ends, when that was changed.
    restart: Option<Restart>,
}

impl Watch {
    pub(super) fn new(folder: ContainerDir, stop_signal: i32, state: ContainerState) -> Self {
        let now = Now {
            state,
            inside: None,
            stopped: false,
            waiting: Vec::new(),
            cgroup: None,
            freezer: None,
            pauses: 0,
            restart: None,
        };
        let audience = Audience::default();
        Self { folder, stop_signal, now: Mutex::new(now), changed: Condvar::new(), audience }
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
        now.cgroup = inside.as_ref().and_then(|inside| inside.spec.cgroup.clone());
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
        let (signal, for_good) = match request {
            Request::Signal(signal) => (signal, signal == SIGKILL || signal == self.stop_signal),
            Request::Stop => (self.stop_signal, true),
            Request::StopBy(signal) => (signal, true),
            Request::Kill => (SIGKILL, true),
        };
        self.pass_on(signal, for_good);
    }

    /// Sends a signal; with `for_good` the container is to stay ended afterwards.
    pub(super) fn pass_on(&self, signal: i32, for_good: bool) {
        let mut now = self.now();
        now.stopped |= for_good;
        match &now.inside {
            Some(inside) => drop(inside.child.signal(signal)),
            None => now.waiting.push(signal),
        }
        if for_good && now.state.phase == Phase::Paused {
            // What is stopped cannot end. A failure leaves it as it is.
            drop(self.go_on(&mut now));
        }
        self.changed.notify_all();
    }

    /// Whether its processes are stopped.
    pub(super) fn is_paused(&self) -> bool {
        self.now().state.phase == Phase::Paused
    }

    /// Stops all processes; the number of this pause.
    pub(super) fn pause(&self, config: &ContainerConfig) -> Result<u64, Error> {
        let parent = config.service.parent()?;
        let mut now = self.now();
        let refused = |message: &str| Error::new(ErrorKind::Usage, message);
        let Some(inside) = now.inside.clone() else {
            return Err(refused("the container does not run just now"));
        };
        if now.state.phase == Phase::Paused {
            return Err(refused("the container is paused already"));
        }
        if inside.spawner.makes_chroots() {
            // Further processes do not come of the first one here, and none may be missed.
            let message = "pause cannot be had in this container, which allows neither mounts nor namespaces";
            return Err(refused(message).help("`galley stop` ends it, and `galley start` begins anew"));
        }
        let failed = |error: galley_sandbox::Error| {
            let help = error.help();
            let failed = Error::new(ErrorKind::Machine, "cannot pause the container").because(error);
            help.into_iter().fold(failed, Error::help)
        };
        let first = inside.child.id().ok_or_else(|| refused("the container has ended"))?;
        if now.freezer.is_none() {
            now.freezer = Some(Freezer::make(now.cgroup.as_ref(), parent.as_ref()).map_err(failed)?);
        }
        let Some(freezer) = &now.freezer else { return Ok(now.pauses) };
        let dir = freezer.dir().to_owned();
        freezer.freeze(first).map_err(failed)?;
        (now.state.phase, now.state.freezer) = (Phase::Paused, Some(dir));
        now.pauses += 1;
        write_state(&self.folder, &now.state)?;
        Ok(now.pauses)
    }

    /// Lets all processes go on.
    pub(super) fn unpause(&self) -> Result<(), Error> {
        let mut now = self.now();
        match now.state.phase {
            Phase::Paused => self.go_on(&mut now),
            _ => Err(Error::new(ErrorKind::Usage, "the container is not paused")),
        }
    }

    /// The same after that pause. Somebody else may have let them go on, and somebody may have stopped them again.
    pub(super) fn unpause_of(&self, pause: u64) -> Result<(), Error> {
        let mut now = self.now();
        let is_it = now.state.phase == Phase::Paused && now.pauses == pause;
        if is_it { self.go_on(&mut now) } else { Ok(()) }
    }

    fn go_on(&self, now: &mut Now) -> Result<(), Error> {
        let thawed = now.freezer.as_ref().map_or(Ok(()), Freezer::thaw);
        thawed.map_err(|error| {
            Error::new(ErrorKind::Machine, "cannot let the container go on").because(error)
        })?;
        now.state.phase = Phase::Running;
        write_state(&self.folder, &now.state)
    }

    /// Gives it other limits, and another policy for its end.
    pub(super) fn change(
        &self,
        config: &ContainerConfig,
        limits: Option<&Limits>,
        restart: Option<Restart>,
    ) -> Result<(), Error> {
        let parent = config.service.parent()?;
        let mut now = self.now();
        if let (Some(limits), Some(inside)) = (limits, now.inside.clone()) {
            now.limit(&inside, limits, parent.as_ref()).map_err(|error| {
                let help = error.help();
                let failed =
                    Error::new(ErrorKind::Usage, "cannot change the limits of the container").because(error);
                help.into_iter().fold(failed, Error::help)
            })?;
            write_state(&self.folder, &now.state)?;
        }
        now.restart = restart.or(now.restart);
        Ok(())
    }

    /// What happens when it ends, when that was changed.
    pub(super) fn restart(&self) -> Option<Restart> {
        self.now().restart
    }

    /// Its processes are gone, and the cgroup in which they were stopped goes too.
    pub(super) fn ended(&self) {
        self.now().freezer = None;
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

impl Now {
    /// Limits what runs. Where it lacks a cgroup for that, it gets one, and is moved there when the limits stand.
    fn limit(
        &mut self,
        inside: &Inside,
        limits: &Limits,
        parent: Option<&CgroupParent>,
    ) -> Result<(), galley_sandbox::Error> {
        let standing = self.cgroup.clone().unwrap_or_default();
        let more = standing.lacking(limits, parent)?;
        let all = standing.with(&more);
        inside.spawner.place(&inside.child, &more)?;
        let new = more.without(&standing);
        let first = inside.child.id();
        let former = first.map(|first| FormerLimits::of(&all, &new, limits, first)).unwrap_or_default();
        let changed = all.change(limits).and_then(|()| self.move_to(&all, inside));
        if changed.is_err() {
            former.restore();
            if let Some(first) = first {
                let stopped = self.freezer.as_ref().filter(|_| self.state.phase == Phase::Paused);
                stopped.into_iter().for_each(|freezer| drop(freezer.freeze(first)));
            }
            // What is left of it goes with the container.
            let _ = inside.spawner.displace(&inside.child, &new);
        }
        changed?;
        self.cgroup = Some(all);
        Ok(())
    }

    /// Moves all processes there; those that are stopped stay so.
    fn move_to(&mut self, plan: &CgroupPlan, inside: &Inside) -> Result<(), galley_sandbox::Error> {
        let Some(first) = inside.child.id() else { return Ok(()) };
        if self.freezer.as_ref().is_some_and(|freezer| freezer.contradicts(plan)) {
            let paused = self.state.phase == Phase::Paused;
            let freezer = paused.then(|| Freezer::make(Some(plan), None)).transpose()?;
            freezer.as_ref().map_or(Ok(()), |freezer| freezer.freeze(first))?;
            plan.gather(first)?;
            // The one that was made for that is empty now, and goes.
            self.state.freezer = freezer.as_ref().map(|freezer| freezer.dir().to_owned());
            self.freezer = freezer;
            return Ok(());
        }
        plan.gather(first)
    }
}
