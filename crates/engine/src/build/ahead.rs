//! What has to run once a step turns out not to be known: it can be got ready while the step is still executed.

use crate::plan::{Network, Operation, Step};

/// What has to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ahead {
    #[default]
    Nothing,
    Processes,
    WithNetwork,
}

/// For each step what it runs, or any step that needs it. What follows a new layer has hardly ever run before.
pub(super) fn of(steps: &[Step], needs: &[Vec<usize>]) -> Vec<Ahead> {
    let mut ahead: Vec<Ahead> = steps.iter().map(own).collect();
    for (item, needed) in needs.iter().enumerate().rev() {
        let after = ahead[item];
        for &need in needed {
            ahead[need] = ahead[need].max(after);
        }
    }
    ahead
}

/// For each step whether something runs after it that needs it. `ahead` is what [`of`] gives.
pub(super) fn followed(ahead: &[Ahead], needs: &[Vec<usize>]) -> Vec<bool> {
    let mut followed = vec![false; ahead.len()];
    for (after, needed) in ahead.iter().zip(needs) {
        for &need in needed {
            followed[need] |= *after != Ahead::Nothing;
        }
    }
    followed
}

const fn own(step: &Step) -> Ahead {
    match &step.operation {
        Operation::Run(run) if matches!(run.network, Network::Default) => Ahead::WithNetwork,
        Operation::Run(_) => Ahead::Processes,
        _ => Ahead::Nothing,
    }
}
