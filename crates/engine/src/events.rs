//! Everything that happens during a build, as one typed stream that every display reads.

mod parse;

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;
use serde::Serialize;
use serde_json::Value;

use crate::{plan::StepId, why::Why};

/// Which of a process's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A step as displays know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepInfo {
    /// Its number in the plan.
    pub id: StepId,
    /// As BuildKit names it: `[builder 3/6] RUN go mod download`.
    pub name: String,
    /// `Dockerfile:12:1`.
    pub place: Option<String>,
    /// What it does.
    pub kind: StepKind,
    /// The stage's lower-cased name, or its number; empty for images and files that stages name.
    pub stage: String,
    /// The steps that it waits for.
    pub needs: Vec<StepId>,
}

/// What a step does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// A base image.
    Base,
    /// RUN.
    #[default]
    Run,
    /// COPY and ADD.
    Copy,
    /// WORKDIR.
    Workdir,
    /// Files of a URL or a git repository.
    Fetch,
}

/// A layer of an image, with the step that made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LayerInfo {
    /// SHA-256 of its archive.
    pub diff_id: String,
    /// Its id in the store, when it is there.
    pub layer: Option<String>,
    /// Which step; none for those of a base.
    pub step: Option<StepId>,
}

/// A part of a build that is no step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// From the Dockerfile to steps, with what bases are.
    Plan,
    /// Everything written goes to the disk.
    Barrier,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The plan is known: these steps will be looked up or executed, in no particular order.
    Planned {
        /// All of them.
        steps: Vec<StepInfo>,
    },
    /// The build context was read.
    Context {
        /// `.` or the name given with --build-context.
        name: String,
        /// Files kept.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// How long the walk took.
        #[serde(serialize_with = "seconds")]
        took: Duration,
    },
    /// Something that is no step was done.
    Phase {
        /// What.
        phase: Phase,
        /// How long it took.
        #[serde(serialize_with = "seconds")]
        took: Duration,
    },
    /// A step is being executed (not only looked up).
    Started {
        /// Which.
        step: StepId,
        /// Its key, when it is known before.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// Why nothing was found.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<Why>,
        /// How long was looked for it.
        #[serde(serialize_with = "seconds")]
        looked: Duration,
    },
    /// A step's process wrote something.
    Log {
        /// Which.
        step: StepId,
        /// Where to.
        stream: Stream,
        /// What, as it came.
        #[serde(serialize_with = "lossy")]
        bytes: Vec<u8>,
        /// How many bytes before these are left out: never of a build that goes on, but of one that is remembered.
        #[serde(skip_serializing_if = "Option::is_none")]
        skipped: Option<u64>,
    },
    /// A step's result was found, in the store or in the records of another machine.
    Cached {
        /// Which.
        step: StepId,
        /// Whose record it was, when it was not the store's.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// Its key; none for a base.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The layer that it made; none for a base.
        #[serde(skip_serializing_if = "Option::is_none")]
        layer: Option<String>,
        /// How long was looked for it.
        #[serde(serialize_with = "seconds")]
        looked: Duration,
    },
    /// Bytes are on their way. Told when it begins, a few times a second, and when it is over.
    Transfer {
        /// To which image or cache they belong: `docker.io/library/golang:1.22`.
        name: String,
        /// The blob's digest.
        blob: String,
        /// In or out.
        direction: Direction,
        /// Bytes that have passed.
        done: u64,
        /// Of how many.
        total: u64,
        /// How it stands.
        state: TransferState,
    },
    /// A step was executed.
    Finished {
        /// Which.
        step: StepId,
        /// How long it took.
        #[serde(serialize_with = "seconds")]
        took: Duration,
        /// The layer that it made.
        #[serde(skip_serializing_if = "Option::is_none")]
        layer: Option<String>,
        /// Files in that layer.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A step failed.
    Failed {
        /// Which.
        step: StepId,
        /// In one line.
        message: String,
    },
    /// An output is being written.
    Exporting {
        /// `exporting to oci archive out.tar`.
        what: String,
    },
    /// An output was written.
    Exported {
        /// As in [`Event::Exporting`].
        what: String,
        /// How long it took.
        #[serde(serialize_with = "seconds")]
        took: Duration,
    },
    /// An image was put together.
    Image {
        /// Its id: SHA-256 of its config.
        id: String,
        /// For which machines.
        platform: String,
        /// Its names.
        names: Vec<String>,
        /// Lowest first.
        layers: Vec<LayerInfo>,
    },
    /// Something the person should know; the build goes on.
    Warning {
        /// The rule that found it, if one did.
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<Cow<'static, str>>,
        /// Lower case, no full stop.
        message: String,
        /// `Dockerfile:12:1`.
        place: Option<String>,
        /// What to do.
        help: Option<String>,
    },
}

/// Where bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To this machine.
    Pull,
    /// Away from it.
    Push,
}

/// How a transfer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferState {
    /// Bytes flow.
    Running,
    /// All have passed and were what they should be.
    Done,
    /// The other side had it already.
    Present,
    /// The registry took it from another repository.
    Mounted,
}

impl Event {
    /// What was written as this JSON; none when nothing that is known was.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        parse::event(value)
    }
}

fn lossy<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// An event and when it happened, counted from the beginning of what is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamped {
    /// Since the beginning.
    pub at: Duration,
    /// What.
    pub event: Event,
}

/// Where events go. Nobody listening is no error.
#[derive(Clone, Debug)]
pub struct Events(Option<(Sender<Stamped>, Instant)>);

impl Events {
    /// Events go to `sender`, with times since `start`.
    #[must_use]
    pub const fn new(sender: Sender<Stamped>, start: Instant) -> Self {
        Self(Some((sender, start)))
    }

    /// Events go nowhere.
    #[must_use]
    pub const fn silent() -> Self {
        Self(None)
    }

    /// Tells the listener.
    pub fn emit(&self, event: Event) {
        if let Some((sender, start)) = &self.0 {
            // A display that went away must not stop the build.
            drop(sender.send(Stamped { at: start.elapsed(), event }));
        }
    }
}
