//! The critical path: the chain of steps that the build took as long as it did for.

use std::time::Duration;

use super::{Model, StepView, Way};

/// Steps by their numbers in the model, the first one first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CriticalPath {
    pub(crate) steps: Vec<usize>,
    /// How long they were executed, together.
    pub(crate) took: Duration,
}

impl CriticalPath {
    /// From the step that was over last, always to the one that it waited for longest.
    pub(crate) fn new(model: &Model) -> Self {
        let end = |number: usize| model.steps.get(number).and_then(StepView::span).map(|span| span.end);
        let executed = |step: &StepView| matches!(step.way, Way::Executed | Way::Cut | Way::Failed(_));
        let all = (0..model.steps.len()).filter(|number| executed(&model.steps[*number]));
        let mut next = all.max_by_key(|number| end(*number));
        let mut steps = Vec::new();
        while let Some(number) = next {
            steps.push(number);
            // Needs have lower numbers, so this ends.
            let needs = model.steps[number].needs.iter().copied();
            next = needs.filter(|need| end(*need).is_some()).max_by_key(|need| end(*need));
        }
        steps.reverse();
        let took = steps.iter().map(|number| model.steps[*number].took()).sum();
        Self { steps, took }
    }

    /// Whether a step is on it.
    pub(crate) fn has(&self, number: usize) -> bool {
        self.steps.contains(&number)
    }
}
