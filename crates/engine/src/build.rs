//! Executing a plan: look up what is known, make the rest, each thing once.
//!
//! For each step: its key ([`cache`]) from the operation and the ids of its inputs; a record under that key names the
//! layer it made before; else the step is executed under a lock on the key, so that of all threads and processes that
//! want it one does it and the others find it. A snapshot is known by the layers it is made of, so a step that is run
//! again and makes the same layer leaves every key after it as it was: everything after it is still cached.

mod ahead;
mod written;

use std::{
    collections::HashSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use galley_oci::{Digest, Kind, Time, TimePolicy};
use galley_store::{KeyLock, Layer, Record, Store};

use crate::{
    Cancel, Error, ErrorKind, Event, Events, Fetcher, Held, Snapshot,
    cache::Key,
    clock::now,
    contexts::Contexts,
    events::{StepInfo, StepKind},
    plan::{Operation, Plan, Source, Step, StepId, Target},
    ports::{Ports, RecordSource, Remotes, Runner, Secrets},
    remote::{Address, Remote},
    schedule::{self, Done},
    ssh::SshAgents,
    steps::{files::store_error, mounts, work::Work},
    why::Past,
};

use ahead::Ahead;
use written::Written;

pub use crate::steps::run::StepFailure;

/// How often something that somebody else has locked is asked for again.
pub(crate) const LOCK_POLL: Duration = Duration::from_millis(20);

/// What a build may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Execute what is not known.
    #[default]
    Execute,
    /// Only look up; the first step that has to be executed is an error of kind [`ErrorKind::NeedsExecution`].
    LookupOnly,
}

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct BuildRequest<'a> {
    /// The steps.
    pub plan: &'a Plan,
    /// Whether steps may be executed.
    pub mode: Mode,
    /// How many steps run at once, see [`schedule::DEFAULT_JOBS`].
    pub jobs: usize,
    /// What is built, whatever it looks like now: the last build of the same tells why steps are executed.
    pub subject: Option<Digest>,
    /// The images will be kept in the store, and this becomes of their times: what is new may be made ready for that while it
    /// is read.
    pub kept: Option<TimePolicy>,
}

/// How a step's result came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is a base image.
    Base,
    /// It was in the store, or in the records of another machine.
    Cached,
    /// The step was executed.
    Executed,
}

/// A finished step.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the stage looks like now.
    pub snapshot: Snapshot,
    /// What this step added; none for a base.
    pub layer: Option<Held>,
    /// Under which key it is remembered; none for a base.
    pub key: Option<Key>,
    /// When that layer was made.
    pub created: Time,
    /// How.
    pub way: Way,
}

/// How much was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Run steps that were executed.
    pub runs: usize,
    /// Steps that only move files (COPY, ADD, WORKDIR) that were executed.
    pub copies: usize,
    /// Steps that were found, here or in the records of another machine.
    pub hits: usize,
}

/// A finished build.
#[derive(Clone, Debug)]
pub struct Built {
    /// One outcome for each step of the plan, in its order.
    pub steps: Vec<Outcome>,
    /// One snapshot for each target of the plan, in its order.
    pub targets: Vec<Snapshot>,
    /// How much was done.
    pub counts: Counts,
}

impl Built {
    /// The outcome of a step.
    #[must_use]
    pub fn step(&self, id: StepId) -> Option<&Outcome> {
        self.steps.get(id.0)
    }
}

/// Makes everything in the plan.
pub fn build(
    request: &BuildRequest<'_>,
    ports: &Ports<'_>,
    events: &Events,
    cancel: &Cancel,
) -> Result<Built, Error> {
    let plan = request.plan;
    events.emit(Event::Planned { steps: plan.steps.iter().map(info).collect() });
    let mut builder = Builder::new(request, ports, events);
    let needs: Vec<Vec<usize>> = plan.steps.iter().map(needs).collect();
    builder.ahead = ahead::of(&plan.steps, &needs);
    builder.followed = ahead::followed(&builder.ahead, &needs);
    let steps = schedule::run(&needs, request.jobs.max(1), cancel, &|item, done, stop| {
        builder.step(&plan.steps[item], done, stop)
    })?;
    builder.written.write_back(ports.store);
    let target = |step: Option<StepId>| match step {
        None => Ok(Snapshot::empty()),
        Some(id) => steps
            .get(id.0)
            .map(|outcome: &Outcome| outcome.snapshot.clone())
            .ok_or_else(|| Error::new(ErrorKind::Internal, format!("the plan has no step {}", id.0))),
    };
    let targets = plan.targets.iter().map(|wanted| target(wanted.step)).collect::<Result<_, _>>()?;
    Ok(Built { counts: builder.counts(), steps, targets })
}

fn info(step: &Step) -> StepInfo {
    let kind = match step.operation {
        Operation::Base(_) => StepKind::Base,
        Operation::Run(_) => StepKind::Run,
        Operation::Copy(_) => StepKind::Copy,
        Operation::Workdir(_) => StepKind::Workdir,
        Operation::Fetch(_) => StepKind::Fetch,
    };
    StepInfo {
        id: step.id,
        name: step.name.clone(),
        place: step.place.as_ref().map(ToString::to_string),
        kind,
        stage: step.stage.clone(),
        needs: needs(step).into_iter().map(StepId).collect(),
    }
}

/// The steps that `step` waits for.
fn needs(step: &Step) -> Vec<usize> {
    let mut needs: Vec<usize> = step.parent.iter().map(|id| id.0).collect();
    needs.extend(sources(&step.operation).into_iter().filter_map(|source| match source {
        Source::Step(id) => Some(id.0),
        Source::Context(_) => None,
    }));
    needs.sort_unstable();
    needs.dedup();
    needs
}

/// Where an operation takes files from.
fn sources(operation: &Operation) -> Vec<Source> {
    match operation {
        Operation::Base(_) | Operation::Workdir(_) | Operation::Fetch(_) => Vec::new(),
        Operation::Copy(copy) => {
            let named = Some(copy.from).filter(|_| !copy.sources.is_empty());
            named.into_iter().chain(copy.fetched.iter().map(|source| Source::Step(source.step))).collect()
        }
        Operation::Run(run) => {
            run.mounts.iter().filter_map(mounts::source).map(|(source, _)| source).collect()
        }
    }
}

/// What all steps of one build share.
#[derive(Debug)]
pub(crate) struct Builder<'a> {
    pub(crate) store: &'a Store,
    pub(crate) runner: Port<'a, dyn Runner + 'a>,
    records: Port<'a, dyn RecordSource + 'a>,
    remotes: Remotes<'a>,
    pub(crate) secrets: &'a Secrets,
    pub(crate) ssh: &'a SshAgents,
    pub(crate) events: &'a Events,
    pub(crate) contexts: Contexts<'a>,
    /// Cache mounts that this build has emptied: once is enough.
    pub(crate) emptied: Mutex<HashSet<String>>,
    /// The time of new directories that have none of their own, when the build says so.
    pub(crate) epoch: Option<Time>,
    mode: Mode,
    pub(crate) past: Past<'a>,
    kept: Option<TimePolicy>,
    plan: &'a Plan,
    /// By step.
    ahead: Vec<Ahead>,
    /// By step, whether something runs after it.
    followed: Vec<bool>,
    /// Keys that this build executed: good enough even for a step whose records are to be skipped.
    made: Mutex<HashSet<Key>>,
    written: Written,
    runs: AtomicUsize,
    copies: AtomicUsize,
    hits: AtomicUsize,
}

/// Something from outside, which need not be printable.
#[derive(Clone, Copy)]
pub(crate) struct Port<'a, T: ?Sized>(pub(crate) &'a T);

impl<T: ?Sized> std::fmt::Debug for Port<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::any::type_name::<T>())
    }
}

impl<'a> Builder<'a> {
    fn new(request: &BuildRequest<'a>, ports: &Ports<'a>, events: &'a Events) -> Self {
        Self {
            store: ports.store,
            runner: Port(ports.runner),
            records: Port(ports.records),
            remotes: ports.remotes,
            secrets: ports.secrets,
            ssh: ports.ssh,
            events,
            contexts: Contexts::new(request.plan),
            emptied: Mutex::default(),
            epoch: request.plan.epoch.map(Time::from_seconds),
            mode: request.mode,
            past: Past::new(ports.store, request.plan, request.subject),
            kept: request.kept,
            plan: request.plan,
            ahead: Vec::new(),
            followed: Vec::new(),
            made: Mutex::default(),
            written: Written::default(),
            runs: AtomicUsize::new(0),
            copies: AtomicUsize::new(0),
            hits: AtomicUsize::new(0),
        }
    }

    fn counts(&self) -> Counts {
        let load = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        Counts { runs: load(&self.runs), copies: load(&self.copies), hits: load(&self.hits) }
    }

    fn step(&self, step: &Step, done: &Done<Outcome>, stop: &Cancel) -> Result<Outcome, Error> {
        self.outcome(step, done, stop).map_err(|error| {
            let error = match &step.place {
                Some(place) => error.at(place),
                None => error,
            };
            let starts_over = matches!(error.kind, ErrorKind::NeedsExecution | ErrorKind::CacheLost);
            if !starts_over && error.kind != ErrorKind::Cancelled {
                self.events.emit(Event::Failed { step: step.id, message: error.message.clone() });
            }
            error
        })
    }

    fn outcome(&self, step: &Step, done: &Done<Outcome>, stop: &Cancel) -> Result<Outcome, Error> {
        if let Operation::Base(image) = &step.operation {
            let snapshot = Snapshot::of_base(&image.layers);
            let (from, key, layer) = (None, None, None);
            self.events.emit(Event::Cached { step: step.id, from, key, layer, looked: Duration::ZERO });
            let (layer, key, created) = (None, None, Time::default());
            return Ok(Outcome { snapshot, layer, key, created, way: Way::Base });
        }
        if let Operation::Fetch(address) = &step.operation {
            return self.fetch(step, address, stop);
        }
        let parent = match step.parent {
            Some(id) => done.get(id.0)?.snapshot.clone(),
            None => Snapshot::empty(),
        };
        let began = Instant::now();
        let work = Work::prepare(self, step, parent, done)?;
        let (layer, created, way) = self.obtain(step, &work, began, stop)?;
        let snapshot = work.parent.with(layer.clone())?;
        Ok(Outcome { snapshot, layer: Some(layer), key: Some(work.key), created, way })
    }

    /// What an address means now: whether it still is what the store has, somebody else has to say.
    fn fetch(&self, step: &Step, address: &Address, stop: &Cancel) -> Result<Outcome, Error> {
        let started = Instant::now();
        let began = || {
            let (key, why, looked) = (None, None, started.elapsed());
            self.events.emit(Event::Started { step: step.id, key, why, looked });
        };
        let (store, secrets) = (self.store, self.secrets);
        let remote = Remote { store, remotes: self.remotes, secrets, stop, began: &began };
        let found = remote.obtain(address, self.mode == Mode::Execute)?;
        let way = if found.fetched {
            self.copies.fetch_add(1, Ordering::SeqCst);
            self.finished(step, started.elapsed(), &found.layer);
            Way::Executed
        } else {
            self.cached(step, &found.key, Some(found.layer.id()), None, started);
            Way::Cached
        };
        let snapshot = Snapshot::empty().with(found.layer.clone())?;
        let layer = Some(found.layer.into());
        Ok(Outcome { snapshot, layer, key: Some(found.key), created: found.created, way })
    }

    /// What becomes of the times in the archive of the layer that `step` makes, when that is wanted of an image that will be
    /// kept.
    pub(crate) fn kept(&self, step: &Step) -> Option<TimePolicy> {
        let in_image = |target: &Target| target.history.iter().any(|item| item.step == Some(step.id));
        self.kept.filter(|_| self.mode == Mode::Execute && self.plan.targets.iter().any(in_image))
    }

    /// Whether a process will run on what this step leaves.
    pub(crate) fn is_followed(&self, step: &Step) -> bool {
        self.followed.get(step.id.0).copied().unwrap_or_default()
    }

    /// The layer of a step: from the store, or made.
    fn obtain(
        &self,
        step: &Step,
        work: &Work<'_>,
        began: Instant,
        stop: &Cancel,
    ) -> Result<(Held, Time, Way), Error> {
        if let Some(found) = self.look_up(step, work, began, stop)? {
            return Ok(found);
        }
        if self.mode == Mode::LookupOnly {
            return Err(Error::new(ErrorKind::NeedsExecution, format!("{} has to be executed", step.name)));
        }
        match self.ahead.get(step.id.0).copied().unwrap_or_default() {
            Ahead::Nothing => {}
            ahead => self.runner.0.prepare(ahead == Ahead::WithNetwork),
        }
        let _lock = lock(self.store, &work.key, stop)?;
        if let Some(found) = self.look_up(step, work, began, stop)? {
            return Ok(found);
        }
        let (layer, created, way) = self.execute(step, work, began, stop)?;
        Ok((layer.into(), created, way))
    }

    fn look_up(
        &self,
        step: &Step,
        work: &Work<'_>,
        began: Instant,
        stop: &Cancel,
    ) -> Result<Option<(Held, Time, Way)>, Error> {
        if step.no_cache && !self.made.lock().unwrap_or_else(PoisonError::into_inner).contains(&work.key) {
            return Ok(None);
        }
        let found = match self.look_up_here(step, work, stop)? {
            Some((layer, created)) => Some((Held::from(layer), created, None)),
            None => self.look_up_elsewhere(work)?,
        };
        let Some((layer, created, from)) = found else { return Ok(None) };
        self.cached(step, &work.key, layer.id(), from, began);
        Ok(Some((layer, created, Way::Cached)))
    }

    /// Counts and tells that a step was found under `key`.
    fn cached(&self, step: &Step, key: &Key, layer: Option<&Digest>, from: Option<String>, began: Instant) {
        self.hits.fetch_add(1, Ordering::SeqCst);
        let (key, layer) = (Some(key.to_string()), layer.map(ToString::to_string));
        self.events.emit(Event::Cached { step: step.id, from, key, layer, looked: began.elapsed() });
    }

    /// Tells that a step was executed, and what came out.
    fn finished(&self, step: &Step, took: Duration, layer: &Layer) {
        // A tree that was just made is at hand.
        let tree = layer.tree().unwrap_or_default();
        let sizes = tree.entries().iter().filter_map(|entry| match entry.kind {
            Kind::File { size, .. } => Some(size),
            _ => None,
        });
        let (files, bytes) =
            sizes.fold((0, 0_u64), |(files, bytes), size| (files + 1, bytes.saturating_add(size)));
        let layer = Some(layer.id().to_string());
        self.events.emit(Event::Finished { step: step.id, took, layer, files, bytes });
    }

    /// What this store remembers.
    fn look_up_here(
        &self,
        step: &Step,
        work: &Work<'_>,
        stop: &Cancel,
    ) -> Result<Option<(Layer, Time)>, Error> {
        let Some(record) = self.store.record(&work.key).map_err(store_error)? else { return Ok(None) };
        let Some(mut layer) = self.store.layer(&record.layer).map_err(store_error)? else { return Ok(None) };
        if !self.store.has_bytes(&layer) {
            // Known, but its files were in a context or a stage of an earlier process: say again where they are.
            if !work.is_cheap() {
                return Ok(None);
            }
            layer = work.execute(self, step, stop)?;
        }
        Ok(Some((layer, record.created)))
    }

    /// What other machines remember. Their files stay where they are until something needs them.
    fn look_up_elsewhere(&self, work: &Work<'_>) -> Result<Option<(Held, Time, Option<String>)>, Error> {
        let Some(record) = self.records.0.record(&work.key) else { return Ok(None) };
        let held = Held::recorded(work.key, record.layer, record.places);
        held.look(self.store)?;
        Ok(Some((held, record.created, Some(record.from.to_string()))))
    }

    fn execute(
        &self,
        step: &Step,
        work: &Work<'_>,
        began: Instant,
        stop: &Cancel,
    ) -> Result<(Layer, Time, Way), Error> {
        let (key, parts) = (Some(work.key.to_string()), work.parts());
        let why = Some(self.past.why(step, &work.key, &parts));
        self.events.emit(Event::Started { step: step.id, key, why, looked: began.elapsed() });
        let counter = if matches!(step.operation, Operation::Run(_)) { &self.runs } else { &self.copies };
        counter.fetch_add(1, Ordering::SeqCst);
        let started = Instant::now();
        let layer = work.execute(self, step, stop)?;
        if matches!(step.operation, Operation::Run(_)) {
            self.written.add(&layer);
            // Who runs on it has better use for the disk.
            if !self.is_followed(step) {
                self.written.write_back(self.store);
            }
        }
        let (took, created) = (started.elapsed(), now());
        let record = Record {
            layer: *layer.id(),
            created,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            log: work.log(),
            made_of: Some(parts.to_text()),
            boot: None,
        };
        self.store.put_record(&work.key, &record).map_err(store_error)?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(work.key);
        self.finished(step, took, &layer);
        Ok((layer, created, Way::Executed))
    }

    /// Brings what a step needs into the store.
    pub(crate) fn fetcher<'b>(&'b self, stop: &'b Cancel) -> Fetcher<'b> {
        let may_write = self.mode == Mode::Execute;
        Fetcher { store: self.store, may_write, events: self.events, stop, records: self.records.0 }
    }
}

/// Waits until nobody else makes what `key` names; a thrown switch ends the wait.
pub(crate) fn lock(store: &Store, key: &Key, stop: &Cancel) -> Result<KeyLock, Error> {
    loop {
        if let Some(lock) = store.try_lock_key(key).map_err(store_error)? {
            return Ok(lock);
        }
        if stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
        }
        std::thread::sleep(LOCK_POLL);
    }
}

#[cfg(test)]
mod tests;
