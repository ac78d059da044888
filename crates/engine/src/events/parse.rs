//! Events from the JSON that they are written as. By hand: what serde makes for this is a hundred kilobytes of program.

use std::time::Duration;

use serde_json::Value;

use super::{Direction, Event, LayerInfo, Phase, StepInfo, StepKind, Stream, TransferState};
use crate::{plan::StepId, why::Why};

/// The event that `value` tells of; none when it is none that is known, or lacks something that is always there.
pub(super) fn event(value: &Value) -> Option<Event> {
    let object = Fields(value);
    let took = object.time("took");
    Some(match value.get("event")?.as_str()? {
        "planned" => Event::Planned { steps: object.list("steps").iter().map(step_info).collect() },
        "context" => {
            let (files, bytes) = (object.number("files"), object.number("bytes"));
            Event::Context { name: object.text("name")?, files, bytes, took }
        }
        "phase" => {
            let phase = match object.word("phase") {
                "plan" => Phase::Plan,
                "barrier" => Phase::Barrier,
                _ => return None,
            };
            Event::Phase { phase, took }
        }
        "image" => Event::Image {
            id: object.text("id")?,
            platform: object.text("platform")?,
            names: object.texts("names"),
            layers: object.list("layers").iter().map(layer_info).collect(),
        },
        "transfer" => transfer(&object)?,
        "exporting" => Event::Exporting { what: object.text("what")? },
        "exported" => Event::Exported { what: object.text("what")?, took },
        "warning" => Event::Warning {
            rule: object.text("rule").map(Into::into),
            message: object.text("message")?,
            place: object.text("place"),
            help: object.text("help"),
        },
        kind => of_step(kind, &object)?,
    })
}

fn of_step(kind: &str, object: &Fields<'_>) -> Option<Event> {
    let (step, key, layer, looked) =
        (object.id("step")?, object.text("key"), object.text("layer"), object.time("looked"));
    Some(match kind {
        "started" => Event::Started { step, key, why: object.0.get("why").and_then(why), looked },
        "log" => {
            let stream = if object.word("stream") == "stderr" { Stream::Stderr } else { Stream::Stdout };
            let skipped = object.0.get("skipped").and_then(Value::as_u64);
            Event::Log { step, stream, bytes: object.text("bytes")?.into_bytes(), skipped }
        }
        "cached" => Event::Cached { step, from: object.text("from"), key, layer, looked },
        "finished" => {
            let (files, bytes) = (object.number("files"), object.number("bytes"));
            Event::Finished { step, took: object.time("took"), layer, files, bytes }
        }
        "failed" => Event::Failed { step, message: object.text("message")? },
        _ => return None,
    })
}

fn transfer(object: &Fields<'_>) -> Option<Event> {
    let direction = match object.word("direction") {
        "pull" => Direction::Pull,
        "push" => Direction::Push,
        _ => return None,
    };
    let state = match object.word("state") {
        "running" => TransferState::Running,
        "done" => TransferState::Done,
        "present" => TransferState::Present,
        "mounted" => TransferState::Mounted,
        _ => return None,
    };
    let (done, total) = (object.number("done"), object.number("total"));
    Some(Event::Transfer {
        name: object.text("name")?,
        blob: object.text("blob")?,
        direction,
        done,
        total,
        state,
    })
}

fn step_info(value: &Value) -> StepInfo {
    let object = Fields(value);
    let kind = match object.word("kind") {
        "base" => StepKind::Base,
        "copy" => StepKind::Copy,
        "workdir" => StepKind::Workdir,
        "fetch" => StepKind::Fetch,
        _ => StepKind::Run,
    };
    StepInfo {
        id: object.id("id").unwrap_or_default(),
        name: object.text("name").unwrap_or_default(),
        place: object.text("place"),
        kind,
        stage: object.text("stage").unwrap_or_default(),
        needs: object.list("needs").iter().filter_map(id).collect(),
    }
}

fn layer_info(value: &Value) -> LayerInfo {
    let object = Fields(value);
    let diff_id = object.text("diff_id").unwrap_or_default();
    LayerInfo { diff_id, layer: object.text("layer"), step: object.id("step") }
}

fn why(value: &Value) -> Option<Why> {
    let object = Fields(value);
    Some(match object.word("reason") {
        "no-cache" => Why::NoCache,
        "first" => Why::First,
        "new" => Why::New,
        "gone" => Why::Gone,
        "unknown" => Why::Unknown,
        "changed" => {
            let (parts, before, layer) = (object.texts("parts"), object.text("before"), object.text("layer"));
            Why::Changed { parts, before, layer }
        }
        _ => return None,
    })
}

fn id(value: &Value) -> Option<StepId> {
    value.as_u64().and_then(|number| usize::try_from(number).ok()).map(StepId)
}

/// An object whose fields need not be there.
struct Fields<'a>(&'a Value);

impl Fields<'_> {
    fn word(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name)?.as_str().map(ToOwned::to_owned)
    }

    fn number(&self, name: &str) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    fn id(&self, name: &str) -> Option<StepId> {
        self.0.get(name).and_then(id)
    }

    fn time(&self, name: &str) -> Duration {
        let seconds = self.0.get(name).and_then(Value::as_f64).unwrap_or_default();
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    fn list(&self, name: &str) -> &[Value] {
        self.0.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn texts(&self, name: &str) -> Vec<String> {
        self.list(name).iter().filter_map(|text| text.as_str().map(ToOwned::to_owned)).collect()
    }
}
