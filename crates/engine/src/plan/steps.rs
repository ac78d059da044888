//! The steps of a plan while it grows: equal operations on equal parents become one step.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{Operation, Step, StepId};
use crate::error::Place;

/// A step before it has a number.
#[derive(Debug)]
pub(super) struct NewStep {
    pub(super) parent: Option<StepId>,
    pub(super) operation: Operation,
    pub(super) name: String,
    pub(super) place: Option<Place>,
    pub(super) stage: String,
    pub(super) no_cache: bool,
}

/// Steps, found by what they do.
#[derive(Debug, Default)]
pub(super) struct Steps {
    steps: Vec<Step>,
    by_hash: HashMap<u64, Vec<StepId>>,
}

impl Steps {
    /// The number of an equal step that is there already, else of this one as a new step. The first one's name stays.
    pub(super) fn add(&mut self, new: NewStep) -> StepId {
        let hash = hash_of(&new);
        let same = |id: &StepId| self.steps.get(id.0).is_some_and(|step| is_same(step, &new));
        if let Some(known) = self.by_hash.get(&hash).and_then(|ids| ids.iter().copied().find(|id| same(id))) {
            return known;
        }
        let id = StepId(self.steps.len());
        let NewStep { parent, operation, name, place, stage, no_cache } = new;
        self.steps.push(Step { id, parent, operation, name, place, stage, no_cache });
        self.by_hash.entry(hash).or_default().push(id);
        id
    }

    /// All of them, in order.
    pub(super) fn finish(self) -> Vec<Step> {
        self.steps
    }
}

fn hash_of(step: &NewStep) -> u64 {
    let mut hasher = DefaultHasher::new();
    step.parent.hash(&mut hasher);
    match &step.operation {
        Operation::Base(base) => base.id.to_string().hash(&mut hasher),
        // What differs between steps; the variables, which are many, are compared only.
        Operation::Run(run) => (&run.arguments, &run.working_directory, &run.mounts).hash(&mut hasher),
        Operation::Copy(copy) => copy.hash(&mut hasher),
        Operation::Workdir(workdir) => workdir.hash(&mut hasher),
        Operation::Fetch(address) => address.hash(&mut hasher),
    }
    hasher.finish()
}

fn is_same(step: &Step, new: &NewStep) -> bool {
    let same_operation = match (&step.operation, &new.operation) {
        // An image's id is the digest of its config, which names all layers.
        (Operation::Base(one), Operation::Base(other)) => one.id == other.id,
        (Operation::Run(one), Operation::Run(other)) => one == other,
        (Operation::Copy(one), Operation::Copy(other)) => one == other,
        (Operation::Workdir(one), Operation::Workdir(other)) => one == other,
        (Operation::Fetch(one), Operation::Fetch(other)) => one == other,
        _ => false,
    };
    step.parent == new.parent && step.no_cache == new.no_cache && same_operation
}
