//! The events of one build, kept in bounds: what programs write without end, and transfers that tell how far they are.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::Duration,
};

use galley_engine::{
    Event, Stamped,
    events::{Direction, TransferState},
    plan::StepId,
};

/// Bytes kept of the beginning of what a step writes.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Bytes kept of its end.
const TAIL_BYTES_MAX: usize = 64 << 10;
/// Bytes of all steps together, above which only ends are kept, and short ones.
const LOGS_BYTES_MAX: usize = 4 << 20;
/// Bytes kept of the end then.
const SHORT_TAIL_BYTES_MAX: usize = 2 << 10;

/// All that happened.
#[derive(Debug, Default)]
pub(crate) struct Story {
    /// In the order in which it happened.
    pub(crate) events: Vec<Stamped>,
    /// When it was over.
    pub(crate) took: Duration,
    logs: BTreeMap<StepId, Log>,
    log_bytes: usize,
    running: HashSet<(String, String, bool)>,
}

/// What a step writes.
#[derive(Debug, Default)]
struct Log {
    head: usize,
    tail: VecDeque<Stamped>,
    tail_bytes: usize,
    skipped: u64,
}

impl Story {
    /// Takes in one event.
    pub(crate) fn add(&mut self, stamped: Stamped) {
        match &stamped.event {
            Event::Log { .. } => self.log(stamped),
            Event::Transfer { name, blob, direction, state, .. } => {
                let key = (name.clone(), blob.clone(), *direction == Direction::Pull);
                // Of those that go on the beginning is enough.
                let news = match state {
                    TransferState::Running => self.running.insert(key),
                    _ => {
                        self.running.remove(&key);
                        true
                    }
                };
                if news {
                    self.events.push(stamped);
                }
            }
            _ => self.events.push(stamped),
        }
    }

    fn log(&mut self, mut stamped: Stamped) {
        let Event::Log { step, bytes, .. } = &mut stamped.event else { return };
        let log = self.logs.entry(*step).or_default();
        self.log_bytes += bytes.len();
        let full = self.log_bytes > LOGS_BYTES_MAX;
        let room = if log.tail.is_empty() && !full { HEAD_BYTES_MAX.saturating_sub(log.head) } else { 0 };
        if bytes.len() <= room {
            log.head += bytes.len();
            self.events.push(stamped);
            return;
        }
        // What comes in one piece is beginning and end too.
        let rest = bytes.split_off(whole_lines(bytes, room));
        let head = std::mem::replace(bytes, rest);
        log.tail_bytes += bytes.len();
        if !head.is_empty() {
            log.head += head.len();
            let mut first = stamped.clone();
            if let Event::Log { bytes, .. } = &mut first.event {
                *bytes = head;
            }
            self.events.push(first);
        }
        log.tail.push_back(stamped);
        let max = if full { SHORT_TAIL_BYTES_MAX } else { TAIL_BYTES_MAX };
        while log.tail_bytes > max && log.tail.len() > 1 {
            if let Some(Stamped { event: Event::Log { bytes, .. }, .. }) = log.tail.pop_front() {
                log.tail_bytes -= bytes.len();
                self.log_bytes -= bytes.len();
                log.skipped += bytes.len() as u64;
            }
        }
    }

    /// That was all.
    pub(crate) fn end(&mut self, took: Duration) {
        self.took = took;
        for (_, log) in std::mem::take(&mut self.logs) {
            let mut skipped = Some(log.skipped).filter(|skipped| *skipped > 0);
            for mut stamped in log.tail {
                if let Event::Log { skipped: before, .. } = &mut stamped.event {
                    *before = skipped.take();
                }
                self.events.push(stamped);
            }
        }
        self.events.sort_by_key(|stamped| stamped.at);
    }

    /// Whether anything was done that was not known before.
    pub(crate) fn is_news(&self) -> bool {
        let news = |stamped: &Stamped| matches!(stamped.event, Event::Started { .. } | Event::Failed { .. });
        self.events.iter().any(news)
    }
}

/// How many bytes whole lines take within the first `room`.
fn whole_lines(bytes: &[u8], room: usize) -> usize {
    let part = bytes.get(..room).unwrap_or(bytes);
    part.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1)
}
