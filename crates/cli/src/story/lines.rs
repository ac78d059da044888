//! Builds as text: a line about the whole, then the lines of `--progress=rawjson`, as docs/rawjson.md has them.

use std::time::Duration;

use galley_engine::{Event, Stamped, why::PastStep};
use serde::Serialize;
use serde_json::Value;

use super::{Model, Story, Way};
use crate::display::rawjson;

/// No build takes longer, whatever its log says: ten years.
const TIME_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What there is to say about a build as a whole. The first line of a remembered one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Head {
    /// `galley 0.1.0`.
    pub(crate) program: String,
    /// When it began: seconds and nanoseconds since 1970.
    pub(crate) began: (i64, u32),
    /// How long it took, in seconds.
    pub(crate) took: f64,
    /// The Dockerfile, as it was given.
    pub(crate) dockerfile: String,
    /// The context, as it was given.
    pub(crate) context: String,
    /// The stage that was asked for.
    pub(crate) target: Option<String>,
    /// Names of the result.
    pub(crate) names: Vec<String>,
    /// Why it failed, in one line.
    pub(crate) error: Option<String>,
    /// How many steps were executed.
    pub(crate) executed: usize,
    /// How many were found.
    pub(crate) cached: usize,
    /// The steps with their keys, for the build after this one.
    pub(crate) steps: Vec<PastStep>,
}

impl Head {
    /// The same with what the events tell.
    pub(crate) fn completed(mut self, model: &Model) -> Self {
        let count = |wanted: fn(&Way) -> bool| model.steps.iter().filter(|step| wanted(&step.way)).count();
        self.executed = count(|way| matches!(way, Way::Executed | Way::Failed(_)));
        self.cached = count(|way| matches!(way, Way::Cached(_)));
        self.took = model.took.as_secs_f64();
        let steps = model.steps.iter();
        let steps = steps.map(|step| PastStep { name: step.info.name.clone(), key: step.key.clone() });
        self.steps = steps.collect();
        self
    }

    /// How long it took.
    pub(crate) fn duration(&self) -> Duration {
        Duration::try_from_secs_f64(self.took).unwrap_or_default().min(TIME_MAX)
    }
}

/// The text of a build.
pub(crate) fn write(head: &Head, story: &Story) -> Vec<u8> {
    let mut text = line(serde_json::to_value(head).unwrap_or_default()); // ok: numbers, strings and lists
    for stamped in &story.events {
        let event = serde_json::to_value(&stamped.event).unwrap_or_default(); // ok: string keys
        text.push_str(&line(rawjson::stamped(event, stamped.at)));
    }
    text.into_bytes()
}

fn line(value: Value) -> String {
    format!("{value}\n")
}

/// The first line of a remembered build.
pub(crate) fn read_head(line: &[u8]) -> Option<Head> {
    serde_json::from_slice(line).ok().map(|value| head(&value))
}

fn head(value: &Value) -> Head {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    let number = |name: &str| {
        let number = value.get(name).and_then(Value::as_u64).unwrap_or_default();
        usize::try_from(number).unwrap_or_default()
    };
    let names = value.get("names").and_then(Value::as_array).into_iter().flatten();
    let began = |index: usize| value.get("began")?.get(index)?.as_i64();
    Head {
        program: text("program").unwrap_or_default(),
        began: (
            began(0).unwrap_or_default(),
            began(1).and_then(|number| u32::try_from(number).ok()).unwrap_or_default(),
        ),
        took: value.get("took").and_then(Value::as_f64).unwrap_or_default(),
        dockerfile: text("dockerfile").unwrap_or_default(),
        context: text("context").unwrap_or_default(),
        target: text("target"),
        names: names.filter_map(|name| name.as_str().map(ToOwned::to_owned)).collect(),
        error: text("error"),
        executed: number("executed"),
        cached: number("cached"),
        steps: PastStep::all(value),
    }
}

/// What `text` tells: a remembered build, or the log of one. Lines that are no event are left out; none if there is no event.
pub(crate) fn read(text: &[u8]) -> Option<(Head, Story)> {
    let (mut head, mut story) = (Head::default(), Story::default());
    let mut took = Duration::ZERO;
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let Ok(value) = serde_json::from_slice::<Value>(line) else { continue };
        let at = value.get("at").and_then(Value::as_f64).unwrap_or_default();
        let at = Duration::try_from_secs_f64(at).map_or(took, |at| at.min(TIME_MAX));
        match value.get("event").and_then(Value::as_str) {
            None if number == 0 => head = self::head(&value),
            Some("log-start") => {
                head.program = value.get("program").and_then(Value::as_str).unwrap_or_default().to_owned();
            }
            Some("log-end") => took = at,
            _ => {
                let Some(event) = Event::from_json(&value) else { continue };
                took = took.max(at);
                story.add(Stamped { at, event });
            }
        }
    }
    story.end(took.max(head.duration()));
    if story.events.is_empty() { None } else { Some((head, story)) }
}
