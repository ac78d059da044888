//! What is known of a build from its events: the model behind every display.

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use galley_engine::{Event, events::Direction, plan::StepId};

use super::{
    text,
    transfers::{self, Moving},
};
use crate::human;

/// Lines kept of each step, for the terminal and for the report of a failure.
const TAIL_LINES_MAX: usize = 32;
/// A line that never ends is shown in pieces of this size.
const LINE_BYTES_MAX: usize = 16 << 10;

/// How far something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Waiting,
    Running,
    /// In the store, or said to be elsewhere by somebody's records.
    Cached(Option<String>),
    Done(Duration),
    Failed(String),
}

/// A step, a context that was read, an output, or blobs on their way: what BuildKit calls a vertex.
#[derive(Debug)]
pub(super) struct Work {
    /// Counted from one in the order in which things began; 0 before.
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) status: Status,
    pub(super) started: Duration,
    /// Complete lines of its output with their time since the start of the step.
    pub(super) tail: VecDeque<(Duration, String)>,
    /// Lines that fell out of the tail.
    pub(super) skipped: usize,
    /// The line that has no end yet.
    partial: Vec<u8>,
    /// Lines completed by the last event.
    pub(super) fresh: Vec<(Duration, String)>,
    /// Blobs on their way, in the order in which they began.
    pub(super) transfers: Vec<Moving>,
    /// Index of the one that the last event was about.
    pub(super) moved: usize,
}

/// The last output of a step that failed.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) name: String,
    pub(crate) lines: Vec<(Duration, String)>,
    pub(crate) skipped: usize,
}

/// A warning with its place and hint.
#[derive(Clone, Debug)]
pub(super) struct Warned {
    pub(super) rule: Option<Cow<'static, str>>,
    pub(super) message: String,
    pub(super) place: Option<String>,
    pub(super) help: Option<String>,
}

impl Warned {
    fn new(rule: Option<Cow<'static, str>>, message: &str, place: Option<&str>, help: Option<&str>) -> Self {
        Self {
            rule,
            message: text::clean(message),
            place: place.map(text::clean),
            help: help.map(text::clean),
        }
    }
}

/// Everything known.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) work: Vec<Work>,
    pub(super) warnings: Vec<Warned>,
    steps: BTreeMap<StepId, usize>,
    outputs: BTreeMap<String, usize>,
    transfers: BTreeMap<String, usize>,
    numbers: usize,
    /// It is a build.
    planned: bool,
    /// Index of what the last event was about.
    pub(super) current: Option<usize>,
}

impl State {
    /// Takes in one event.
    pub(super) fn apply(&mut self, event: &Event, at: Duration) {
        self.current = match event {
            Event::Planned { steps } => {
                self.planned = true;
                // A build that starts over, since a cache had lost files, has the same plan.
                for step in steps {
                    if !self.steps.contains_key(&step.id) {
                        let index = self.add(step.name.clone());
                        self.steps.insert(step.id, index);
                    }
                }
                None
            }
            Event::Context { name, files, bytes, .. } => {
                let size = human::size(*bytes);
                let what =
                    if name == "." { "build context".to_owned() } else { format!("build context {name}") };
                let noun = if *files == 1 { "file" } else { "files" };
                let name = format!("[context] read {what}: {files} {noun}, {size}");
                if self.work.iter().any(|known| known.name == name) {
                    None
                } else {
                    let index = self.add(name);
                    self.begin(index, at);
                    self.end(index, Status::Done(Duration::ZERO))
                }
            }
            Event::Started { step, .. } => self.step(*step).and_then(|index| {
                self.restart(index, at);
                self.begin(index, at)
            }),
            Event::Log { step, bytes, .. } => self.step(*step).and_then(|index| self.log(index, bytes, at)),
            Event::Cached { step, from, .. } => self.step(*step).and_then(|index| {
                let status = Status::Cached(from.as_deref().map(text::clean));
                let told = self.work.get(index).is_some_and(|work| work.status == status);
                self.begin(index, at).filter(|_| !told).and_then(|index| self.end(index, status))
            }),
            Event::Finished { step, took, .. } => {
                self.step(*step).and_then(|index| self.end(index, Status::Done(*took)))
            }
            Event::Failed { step, message } => self.step(*step).and_then(|index| {
                self.begin(index, at);
                self.end(index, Status::Failed(text::clean(message)))
            }),
            Event::Transfer { name, blob, direction, done, total, state } => {
                let index = self.transfers(name, *direction, at);
                if let Some(moving) = self.moved(index, blob, at) {
                    moving.update(*done, *total, *state, at);
                }
                self.rest(index, at)
            }
            Event::Exporting { what } => {
                let index = self.add(what.clone());
                self.outputs.insert(what.clone(), index);
                self.begin(index, at)
            }
            Event::Exported { what, took } => {
                self.outputs.get(what).copied().and_then(|index| self.end(index, Status::Done(*took)))
            }
            Event::Warning { rule, message, place, help } => {
                self.warnings.push(Warned::new(rule.clone(), message, place.as_deref(), help.as_deref()));
                None
            }
            Event::Phase { .. } | Event::Image { .. } => None,
        };
    }

    /// What rules found, as docker ends a build.
    pub(super) fn findings(&self) -> String {
        let named =
            |warned: &'_ Warned| Some((warned.rule.clone()?, warned.message.clone(), warned.place.clone()));
        let found: Vec<_> = self.warnings.iter().filter_map(named).collect();
        let what = match found.len() {
            0 => return String::new(),
            1 => "1 warning found".to_owned(),
            count => format!("{count} warnings found"),
        };
        let line = |(rule, message, place): &(Cow<'static, str>, String, Option<String>)| {
            let place = place.as_ref().map_or_else(String::new, |place| format!(" ({place})"));
            format!(" - {rule}: {message}{place}\n")
        };
        let lines: String = found.iter().map(line).collect();
        format!("\n {what} (galley build --check tells more):\n{lines}")
    }

    /// What the last event was about.
    pub(super) fn current(&self) -> Option<&Work> {
        self.current.and_then(|index| self.work.get(index))
    }

    /// What this is all about, in a word.
    pub(super) fn doing(&self) -> &'static str {
        let fetching = self.transfers.keys().any(|title| title.starts_with(transfers::FETCHING));
        match (self.planned, fetching) {
            (true, _) => "Building",
            (false, true) => "Pulling",
            (false, false) => "Pushing",
        }
    }

    /// How much is done.
    pub(super) fn done(&self) -> usize {
        let over = |work: &&Work| matches!(work.status, Status::Cached(_) | Status::Done(_));
        self.work.iter().filter(over).count()
    }

    /// The last output of the first step that failed, when it wrote anything.
    pub(super) fn into_failed(self) -> Option<Tail> {
        let failed = self.work.into_iter().find(|work| matches!(work.status, Status::Failed(_)))?;
        if failed.tail.is_empty() {
            return None;
        }
        Some(Tail { name: failed.name, lines: failed.tail.into(), skipped: failed.skipped })
    }

    fn step(&self, step: StepId) -> Option<usize> {
        self.steps.get(&step).copied()
    }

    fn add(&mut self, name: String) -> usize {
        self.work.push(Work {
            number: 0,
            name: text::clean(&name),
            status: Status::Waiting,
            started: Duration::ZERO,
            tail: VecDeque::new(),
            skipped: 0,
            partial: Vec::new(),
            fresh: Vec::new(),
            transfers: Vec::new(),
            moved: 0,
        });
        self.work.len() - 1
    }

    /// The group of transfers from or to `name`: the output that they belong to, or a group of their own.
    fn transfers(&mut self, name: &str, direction: Direction, at: Duration) -> usize {
        let title = transfers::title(name, direction);
        if let Some(index) = self.outputs.get(&title) {
            return *index;
        }
        if let Some(index) = self.transfers.get(&title) {
            return *index;
        }
        let index = self.add(title.clone());
        self.transfers.insert(title, index);
        self.begin(index, at);
        index
    }

    /// The transfer of `blob` in a group, which begins when it was over or never was.
    fn moved(&mut self, index: usize, blob: &str, at: Duration) -> Option<&mut Moving> {
        let work = self.work.get_mut(index)?;
        let known = work.transfers.iter().position(|moving| moving.is(blob));
        work.moved = known.unwrap_or_else(|| {
            work.transfers.push(Moving::new(blob.to_owned(), at));
            work.transfers.len() - 1
        });
        work.transfers.get_mut(work.moved)
    }

    /// A group is done while none of its transfers goes on; more may follow.
    fn rest(&mut self, index: usize, at: Duration) -> Option<usize> {
        if !self.transfers.values().any(|group| *group == index) {
            // The output says itself when it is done.
            return Some(index);
        }
        let work = self.work.get_mut(index)?;
        let over = work.transfers.iter().all(Moving::is_over);
        work.status = if over { Status::Done(at.saturating_sub(work.started)) } else { Status::Running };
        Some(index)
    }

    /// What was found is made after all.
    fn restart(&mut self, index: usize, at: Duration) {
        if let Some(work) = self.work.get_mut(index).filter(|work| matches!(work.status, Status::Cached(_))) {
            work.started = at;
            work.status = Status::Running;
        }
    }

    fn begin(&mut self, index: usize, at: Duration) -> Option<usize> {
        let work = self.work.get_mut(index)?;
        if work.number == 0 {
            self.numbers += 1;
            work.number = self.numbers;
            work.started = at;
            work.status = Status::Running;
        }
        Some(index)
    }

    fn end(&mut self, index: usize, status: Status) -> Option<usize> {
        let work = self.work.get_mut(index)?;
        work.fresh.clear();
        work.flush();
        work.status = status;
        Some(index)
    }

    fn log(&mut self, index: usize, bytes: &[u8], at: Duration) -> Option<usize> {
        let work = self.work.get_mut(index)?;
        work.fresh.clear();
        let at = at.saturating_sub(work.started);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            work.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || work.partial.len() >= LINE_BYTES_MAX {
                work.line(at);
            }
        }
        Some(index)
    }
}

impl Work {
    /// The transfer that the last event was about.
    pub(super) fn moving(&self) -> Option<&Moving> {
        self.transfers.get(self.moved)
    }

    /// Completes the line that has no end yet.
    fn line(&mut self, at: Duration) {
        let bytes = std::mem::take(&mut self.partial);
        let line = String::from_utf8_lossy(&bytes);
        let line = text::clean(text::settled(line.trim_end_matches('\n')));
        self.fresh.push((at, line.clone()));
        self.tail.push_back((at, line));
        if self.tail.len() > TAIL_LINES_MAX {
            self.tail.pop_front();
            self.skipped += 1;
        }
    }

    fn flush(&mut self) {
        if !self.partial.is_empty() {
            let at = self.tail.back().map_or(Duration::ZERO, |(at, _)| *at);
            self.line(at);
        }
    }
}
