//! Blobs on their way, as displays show them: `sha256:0123456789ab 12.3MB / 45.6MB 8.1MB/s`.

use std::time::Duration;

use galley_engine::events::{Direction, TransferState};

use super::text;
use crate::human;

/// Hexadecimal digits shown of a digest, as docker shows ids.
const DIGITS: usize = 12;

/// There is no rate before this.
const RATE_MILLISECONDS_MIN: u128 = 100;

/// One blob on its way.
#[derive(Debug)]
pub(super) struct Moving {
    blob: String,
    done: u64,
    total: u64,
    pub(super) state: TransferState,
    started: Duration,
    /// When the last event about it came.
    at: Duration,
}

impl Moving {
    pub(super) const fn new(blob: String, at: Duration) -> Self {
        Self { blob, done: 0, total: 0, state: TransferState::Running, started: at, at }
    }

    /// Whether this is about the blob with this digest.
    pub(super) fn is(&self, blob: &str) -> bool {
        self.blob == blob
    }

    pub(super) fn update(&mut self, done: u64, total: u64, state: TransferState, at: Duration) {
        (self.done, self.total, self.state, self.at) = (done, total, state, at);
    }

    /// Whether nothing more is to come.
    pub(super) fn is_over(&self) -> bool {
        self.state != TransferState::Running
    }

    /// Since it began, until now or until its end.
    pub(super) fn took(&self, now: Duration) -> Duration {
        let end = if self.is_over() { self.at } else { now };
        end.saturating_sub(self.started)
    }

    /// In one line, without the time.
    pub(super) fn describe(&self, now: Duration) -> String {
        let (algorithm, digits) = self.blob.split_once(':').unwrap_or(("", &self.blob));
        let digits: String = digits.chars().take(DIGITS).collect();
        let (done, total) = (human::size(self.done), human::size(self.total));
        let what = match self.state {
            TransferState::Present => format!("{total} already there"),
            TransferState::Mounted => format!("{total} mounted from another repository"),
            TransferState::Done => format!("{total} / {total}"),
            TransferState::Running => match self.rate(now) {
                Some(rate) => format!("{done} / {total} {}/s", human::size(rate)),
                None => format!("{done} / {total}"),
            },
        };
        text::clean(&format!("{algorithm}:{digits} {what}"))
    }

    /// Bytes a second; nothing before there is something to measure.
    fn rate(&self, now: Duration) -> Option<u64> {
        let milliseconds = self.took(now).as_millis();
        if self.done == 0 || milliseconds < RATE_MILLISECONDS_MIN {
            return None;
        }
        u64::try_from(u128::from(self.done) * 1000 / milliseconds).ok()
    }
}

/// How the titles of groups of blobs begin that come to this machine.
pub(super) const FETCHING: &str = "fetching from";

/// What a group of transfers is called.
pub(super) fn title(name: &str, direction: Direction) -> String {
    match direction {
        Direction::Pull => format!("{FETCHING} {name}"),
        Direction::Push => format!("pushing {name}"),
    }
}
