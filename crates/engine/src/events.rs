//! Everything that happens during a build, as one typed stream that every display reads.

use std::time::Duration;

use crossbeam_channel::Sender;
use serde::Serialize;

use crate::plan::StepId;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepInfo {
    /// Its number in the plan.
    pub id: StepId,
    /// As BuildKit names it: `[builder 3/6] RUN go mod download`.
    pub name: String,
    /// `Dockerfile:12:1`.
    pub place: Option<String>,
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
    },
    /// A step is being executed (not only looked up).
    Started {
        /// Which.
        step: StepId,
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
    },
    /// A step's result was found, in the store or in the records of another machine.
    Cached {
        /// Which.
        step: StepId,
        /// Whose record it was, when it was not the store's.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
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
    /// Something the person should know; the build goes on.
    Warning {
        /// The rule that found it, if one did.
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<&'static str>,
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

fn lossy<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// Where events go. Nobody listening is no error.
#[derive(Clone, Debug)]
pub struct Events(Option<Sender<Event>>);

impl Events {
    /// Events go to `sender`.
    #[must_use]
    pub const fn new(sender: Sender<Event>) -> Self {
        Self(Some(sender))
    }

    /// Events go nowhere.
    #[must_use]
    pub const fn silent() -> Self {
        Self(None)
    }

    /// Tells the listener.
    pub fn emit(&self, event: Event) {
        if let Some(sender) = &self.0 {
            // A display that went away must not stop the build.
            drop(sender.send(event));
        }
    }
}
