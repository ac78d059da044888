//! What comparing has cost. Patterns that differ in nothing but classes, such as `*[a-k]*` and `*[a-l]*`, all have to be
//! followed through each path; 100,000 of them and as many files would take days.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many places of patterns one character of a path may be compared with, on average.
pub const STEPS_PER_CHARACTER: u64 = 256;

/// And how many more in all.
pub const STEPS_FREE: u64 = 1 << 28;

/// So many comparisons were not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "comparing its patterns with the paths takes too long: more than {STEPS_PER_CHARACTER} places in them for each character"
)]
pub struct TooSlow;

/// The steps beyond [`STEPS_PER_CHARACTER`], of all that share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Effort(Arc<AtomicU64>);

/// Patterns are the same, whatever they have been compared with.
impl PartialEq for Effort {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Effort {}

impl Effort {
    /// Whether nothing more is to be compared.
    pub(super) fn is_spent(&self) -> bool {
        self.0.load(Relaxed) >= STEPS_FREE
    }

    #[cfg(test)]
    pub(super) fn spent(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// `steps` for the comparison of so many characters; whether it may go on.
    pub(super) fn spend(&self, steps: u64, characters: u64) -> bool {
        let beyond = steps.saturating_sub(characters.saturating_mul(STEPS_PER_CHARACTER));
        // What every comparison writes to would be passed from processor to processor.
        if beyond > 0 {
            self.0.fetch_add(beyond, Relaxed);
        }
        !self.is_spent()
    }
}
