//! Getting what steps wrote to the disk while what comes after them is done.

use std::sync::atomic::{AtomicU64, Ordering};

use galley_oci::{Entry, Kind};
use galley_store::{Layer, Store};

/// For less a second write-back costs more than it saves.
const EARLY_BYTES_MIN: u64 = 1 << 20;

/// How many bytes processes have written into layers of a build that nobody has asked to be written back.
#[derive(Debug, Default)]
pub(super) struct Written(AtomicU64);

impl Written {
    /// Processes have made `layer`.
    pub(super) fn add(&self, layer: &Layer) {
        // A tree that was just made is at hand.
        let tree = layer.tree().unwrap_or_default();
        self.0.fetch_add(tree.entries().iter().map(size).sum(), Ordering::Relaxed);
    }

    /// Begins with it when there is enough, so that the barrier at the end finds little left to wait for.
    pub(super) fn write_back(&self, store: &Store) {
        if self.take() {
            store.begin_barrier();
        }
    }

    /// Whether there is enough, which then counts as written back.
    fn take(&self) -> bool {
        let enough = |bytes| (bytes >= EARLY_BYTES_MIN).then_some(0);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).is_ok()
    }
}

const fn size(entry: &Entry) -> u64 {
    match entry.kind {
        Kind::File { size, .. } => size,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_left_to_the_barrier_and_nothing_is_asked_for_twice() {
        let written = Written::default();
        written.0.fetch_add(EARLY_BYTES_MIN - 1, Ordering::Relaxed);
        assert!(!written.take());
        written.0.fetch_add(1, Ordering::Relaxed);
        assert_eq!([written.take(), written.take()], [true, false]);
    }
}
