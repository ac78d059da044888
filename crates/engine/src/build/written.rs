//! Getting what steps wrote to the disk while the image is put together.

use galley_oci::{Entry, Kind};
use galley_store::Store;

use super::{Outcome, Way};
use crate::plan::{Operation, Plan};

/// For less a second write-back costs more than it saves.
const EARLY_BYTES_MIN: u64 = 1 << 20;

/// Begins with it when there is enough, so that the barrier at the end finds little left to wait for.
pub(super) fn write_back(store: &Store, plan: &Plan, outcomes: &[Outcome]) {
    if written(plan, outcomes) >= EARLY_BYTES_MIN {
        store.begin_barrier();
    }
}

/// How many bytes processes have written into layers of this build.
fn written(plan: &Plan, outcomes: &[Outcome]) -> u64 {
    let runs = plan.steps.iter().zip(outcomes).filter(|(step, outcome)| {
        matches!(step.operation, Operation::Run(_)) && outcome.way == Way::Executed
    });
    let trees = runs.filter_map(|(_, outcome)| outcome.layer.as_ref()?.at_hand()?.tree().ok());
    trees.map(|tree| tree.entries().iter().map(size).sum::<u64>()).sum()
}

const fn size(entry: &Entry) -> u64 {
    match entry.kind {
        Kind::File { size, .. } => size,
        _ => 0,
    }
}
