//! `--trace`: a build in the trace event format of Chromium, which chrome://tracing and ui.perfetto.dev read.

use std::time::Duration;

use galley_engine::{
    events::{Direction, StepKind},
    why::Why,
};
use serde_json::{Value, json};

use super::{Head, Model, Span, StepView, Way};

/// The one process.
const PROCESS: u64 = 1;
/// Rows of what is no step.
const BUILD_ROW: u64 = 1;
const CONTEXT_ROW: u64 = 2;
/// The first row of steps, and of transfers.
const STEP_ROWS: u64 = 100;
const TRANSFER_ROWS: u64 = 10_000;

/// The whole file.
pub(crate) fn trace(head: &Head, model: &Model) -> String {
    let mut trace = Trace { events: Vec::new() };
    trace.names(head, model);
    for other in &model.others {
        trace.slice(BUILD_ROW, "build", &other.name, other.span, json!({}));
    }
    for context in &model.contexts {
        let arguments = json!({ "files": context.files, "bytes": context.bytes });
        let name = format!("read the build context {}", context.name);
        trace.slice(CONTEXT_ROW, "context", &name, context.span, arguments);
    }
    model.steps.iter().for_each(|step| trace.step(step));
    trace.flows(model);
    for transfer in &model.transfers {
        let what = if transfer.direction == Direction::Pull { "fetch" } else { "push" };
        let arguments = json!({ "blob": transfer.blob, "bytes": transfer.bytes, "state": transfer.state });
        let name = format!("{what} {}", transfer.name);
        trace.slice(TRANSFER_ROWS + transfer.row as u64, "transfer", &name, transfer.span, arguments);
    }
    trace.counters(model);
    let trace = json!({
        "traceEvents": trace.events,
        "displayTimeUnit": "ms",
        "otherData": { "program": head.program, "began": head.began.0, "dockerfile": head.dockerfile },
    });
    format!("{trace}\n")
}

struct Trace {
    events: Vec<Value>,
}

impl Trace {
    fn slice(&mut self, row: u64, category: &str, name: &str, span: Span, arguments: Value) {
        self.events.push(json!({
            "ph": "X", "pid": PROCESS, "tid": row, "cat": category, "name": name,
            "ts": micros(span.start), "dur": micros(span.took()), "args": arguments,
        }));
    }

    fn name(&mut self, row: u64, name: &str) {
        for (what, arguments) in
            [("thread_name", json!({ "name": name })), ("thread_sort_index", json!({ "sort_index": row }))]
        {
            self.events.push(
                json!({ "ph": "M", "pid": PROCESS, "tid": row, "name": what, "args": arguments, "ts": 0 }),
            );
        }
    }

    fn names(&mut self, head: &Head, model: &Model) {
        let what = [&head.names[..], std::slice::from_ref(&head.dockerfile)].concat().join(", ");
        let arguments = json!({ "name": format!("galley build {what}") });
        self.events
            .push(json!({ "ph": "M", "pid": PROCESS, "name": "process_name", "args": arguments, "ts": 0 }));
        self.name(BUILD_ROW, "build");
        self.name(CONTEXT_ROW, "contexts");
        let rows = |last: Option<usize>| last.map_or(0, |last| last as u64 + 1);
        for row in 0..rows(model.steps.iter().map(|step| step.row).max()) {
            self.name(STEP_ROWS + row, &format!("steps {}", row + 1));
        }
        for row in 0..rows(model.transfers.iter().map(|transfer| transfer.row).max()) {
            self.name(TRANSFER_ROWS + row, &format!("transfers {}", row + 1));
        }
    }

    fn step(&mut self, step: &StepView) {
        let row = row(step);
        let arguments = arguments(step);
        if let Some(looked) = step.looked {
            let (category, name) = match &step.way {
                Way::Base | Way::Cached(_) => ("cached", step.info.name.clone()),
                _ => ("look-up", format!("look for {}", step.info.name)),
            };
            self.slice(row, category, &name, looked, arguments.clone());
        }
        if let Some(ran) = step.ran {
            let category = match (&step.way, step.info.kind) {
                (Way::Failed(_), _) => "failed",
                (_, StepKind::Run) => "run",
                (_, StepKind::Fetch) => "fetch",
                _ => "copy",
            };
            self.slice(row, category, &step.info.name, ran, arguments);
        }
    }

    /// An arrow from each step to those that waited for it.
    fn flows(&mut self, model: &Model) {
        let mut id = 0_u64;
        for step in &model.steps {
            let Some(to) = step.span() else { continue };
            for need in step.needs.iter().filter_map(|need| model.steps.get(*need)) {
                let Some(from) = need.span() else { continue };
                id += 1;
                // An arrow belongs to the slice that its end is in.
                let out = micros(from.end).saturating_sub(1).max(micros(from.start));
                let flow = |phase: &str, tid: u64, at: u64| json!({ "ph": phase, "pid": PROCESS, "tid": tid, "ts": at, "id": id, "cat": "needs", "name": "needs" });
                self.events.push(flow("s", row(need), out));
                let mut end = flow("f", row(step), micros(to.start).max(out));
                end["bp"] = json!("e");
                self.events.push(end);
            }
        }
    }

    /// How many steps are executed at once, and how many bytes have passed.
    fn counters(&mut self, model: &Model) {
        let ran: Vec<Span> = model.steps.iter().filter_map(|step| step.ran).collect();
        let mut changes: Vec<(Duration, i64)> =
            ran.iter().flat_map(|span| [(span.start, 1), (span.end, -1)]).collect();
        changes.sort_unstable();
        let mut running = 0;
        for (at, change) in changes {
            running += change;
            self.counter("steps running", at, "steps", running.max(0).unsigned_abs());
        }
        for (direction, name) in [(Direction::Pull, "bytes fetched"), (Direction::Push, "bytes pushed")] {
            let mut passed: Vec<_> =
                model.transfers.iter().filter(|one| one.direction == direction).collect();
            passed.sort_by_key(|one| one.span.end);
            let mut sum = 0_u64;
            for transfer in passed {
                sum = sum.saturating_add(transfer.bytes);
                self.counter(name, transfer.span.end, "bytes", sum);
            }
        }
    }

    fn counter(&mut self, name: &str, at: Duration, what: &str, value: u64) {
        self.events.push(
            json!({ "ph": "C", "pid": PROCESS, "name": name, "ts": micros(at), "args": { what: value } }),
        );
    }
}

fn row(step: &StepView) -> u64 {
    STEP_ROWS + step.row as u64
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn arguments(step: &StepView) -> Value {
    let mut arguments = json!({ "step": step.info.id, "stage": step.info.stage });
    let mut add = |name: &str, value: Value| arguments[name] = value;
    if let Some(place) = &step.info.place {
        add("place", json!(place));
    }
    if let Some(key) = &step.key {
        add("key", json!(key));
    }
    if let Some(layer) = &step.layer {
        add("layer", json!(layer));
    }
    if let Some(why) = &step.why {
        add("why", json!(why));
        if let Why::Changed { parts, .. } = why {
            add("changed", json!(parts.join(", ")));
        }
    }
    match &step.way {
        Way::Executed => {
            add("files", json!(step.files));
            add("bytes", json!(step.bytes));
        }
        Way::Cached(Some(from)) => add("from", json!(from)),
        Way::Failed(message) => add("error", json!(message)),
        _ => {}
    }
    arguments
}
