//! A build as a whole: its steps with their times and results, and what went on beside them.

use std::{collections::BTreeMap, time::Duration};

use galley_engine::{
    Event,
    events::{Direction, LayerInfo, Phase, StepInfo, StepKind, TransferState},
    plan::StepId,
    why::Why,
};

use super::Story;

/// From when to when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: Duration,
    pub(crate) end: Duration,
}

impl Span {
    const fn at(at: Duration) -> Self {
        Self { start: at, end: at }
    }

    /// That ended at `end` after `took`.
    const fn before(end: Duration, took: Duration) -> Self {
        Self { start: end.saturating_sub(took), end }
    }

    pub(crate) const fn took(&self) -> Duration {
        self.end.saturating_sub(self.start)
    }
}

/// How a step's result came about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    /// The build was over before it was its turn.
    #[default]
    Waiting,
    /// A base image.
    Base,
    /// It was found, in the store or in the cache of that name.
    Cached(Option<String>),
    /// It was executed.
    Executed,
    /// It was being executed when the build was over.
    Cut,
    /// It failed, in one line.
    Failed(String),
}

/// What a step wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogText {
    /// As it came, with gaps of so many bytes.
    pub(crate) pieces: Vec<(Option<u64>, Vec<u8>)>,
}

/// A step.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepView {
    pub(crate) info: StepInfo,
    /// The numbers (in the model) of the steps that it waited for.
    pub(crate) needs: Vec<usize>,
    pub(crate) way: Way,
    pub(crate) why: Option<Why>,
    /// The time until it was known whether it has to be executed.
    pub(crate) looked: Option<Span>,
    /// The time of its execution.
    pub(crate) ran: Option<Span>,
    pub(crate) key: Option<String>,
    pub(crate) layer: Option<String>,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) log: LogText,
    /// Of things that went on at once each has a row of its own.
    pub(crate) row: usize,
}

impl StepView {
    /// From the first look to the end.
    pub(crate) fn span(&self) -> Option<Span> {
        let (first, last) = (self.looked.or(self.ran)?, self.ran.or(self.looked)?);
        Some(Span { start: first.start, end: last.end })
    }

    /// How long it was executed.
    pub(crate) fn took(&self) -> Duration {
        self.ran.map_or(Duration::ZERO, |span| span.took())
    }
}

/// A context that was read.
#[derive(Clone, Debug)]
pub(crate) struct ContextView {
    pub(crate) name: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) span: Span,
}

/// A blob on its way.
#[derive(Clone, Debug)]
pub(crate) struct TransferView {
    pub(crate) name: String,
    pub(crate) blob: String,
    pub(crate) direction: Direction,
    pub(crate) bytes: u64,
    pub(crate) state: TransferState,
    pub(crate) span: Span,
    pub(crate) row: usize,
}

/// An output, or a part of the build that is no step.
#[derive(Clone, Debug)]
pub(crate) struct OtherView {
    pub(crate) name: String,
    pub(crate) span: Span,
}

/// An image that was put together.
#[derive(Clone, Debug)]
pub(crate) struct ImageView {
    pub(crate) id: String,
    pub(crate) platform: String,
    pub(crate) names: Vec<String>,
    pub(crate) layers: Vec<LayerInfo>,
}

/// A warning.
#[derive(Clone, Debug)]
pub(crate) struct WarningView {
    pub(crate) rule: Option<String>,
    pub(crate) message: String,
    pub(crate) place: Option<String>,
    pub(crate) help: Option<String>,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) took: Duration,
    pub(crate) steps: Vec<StepView>,
    pub(crate) contexts: Vec<ContextView>,
    pub(crate) transfers: Vec<TransferView>,
    pub(crate) others: Vec<OtherView>,
    pub(crate) images: Vec<ImageView>,
    pub(crate) warnings: Vec<WarningView>,
    numbers: BTreeMap<StepId, usize>,
}

impl Model {
    /// What the events tell.
    pub(crate) fn new(story: &Story) -> Self {
        let mut model = Self { took: story.took, ..Self::default() };
        for stamped in &story.events {
            model.apply(&stamped.event, stamped.at);
        }
        model.end();
        model
    }

    /// The step with this number in the plan.
    pub(crate) fn number(&self, id: StepId) -> Option<usize> {
        self.numbers.get(&id).copied()
    }

    fn apply(&mut self, event: &Event, at: Duration) {
        match event {
            Event::Planned { steps } => self.plan(steps),
            Event::Context { name, files, bytes, took } => {
                let span = Span::before(at, *took);
                let (name, files, bytes) = (name.clone(), *files, *bytes);
                self.contexts.push(ContextView { name, files, bytes, span });
            }
            Event::Phase { phase, took } => {
                let name = match phase {
                    Phase::Plan => "plan",
                    Phase::Barrier => "write to disk",
                };
                self.others.push(OtherView { name: name.to_owned(), span: Span::before(at, *took) });
            }
            Event::Exporting { what } => {
                self.others.push(OtherView { name: what.clone(), span: Span::at(at) });
            }
            Event::Exported { what, .. } => {
                let begun = self.others.iter_mut().rev().find(|other| other.name == *what);
                if let Some(begun) = begun {
                    begun.span.end = at;
                }
            }
            Event::Transfer { .. } => self.transfer(event, at),
            Event::Image { id, platform, names, layers } => {
                let (id, platform) = (id.clone(), platform.clone());
                // A build that starts over tells of its images again.
                self.images.retain(|known| known.platform != platform);
                self.images.push(ImageView { id, platform, names: names.clone(), layers: layers.clone() });
            }
            Event::Warning { rule, message, place, help } => self.warnings.push(WarningView {
                rule: rule.as_ref().map(ToString::to_string),
                message: message.clone(),
                place: place.clone(),
                help: help.clone(),
            }),
            _ => self.step_event(event, at),
        }
    }

    fn step_event(&mut self, event: &Event, at: Duration) {
        let id = match event {
            Event::Started { step, .. }
            | Event::Log { step, .. }
            | Event::Cached { step, .. }
            | Event::Finished { step, .. }
            | Event::Failed { step, .. } => *step,
            _ => return,
        };
        if let Some(step) = self.number(id).and_then(|number| self.steps.get_mut(number)) {
            step.apply(event, at);
        }
    }

    /// A build that starts over, since a cache had lost files, has the same plan, and what follows counts.
    fn plan(&mut self, steps: &[StepInfo]) {
        self.steps.clear();
        self.numbers.clear();
        for info in steps {
            let number = self.steps.len();
            let mut needs: Vec<usize> = info.needs.iter().filter_map(|id| self.number(*id)).collect();
            needs.sort_unstable();
            needs.dedup();
            self.numbers.insert(info.id, number);
            self.steps.push(StepView { info: info.clone(), needs, ..StepView::default() });
        }
    }

    fn transfer(&mut self, event: &Event, at: Duration) {
        let Event::Transfer { name, blob, direction, done, total, state } = event else { return };
        let same = |known: &TransferView| {
            known.state == TransferState::Running
                && (&known.name, &known.blob, &known.direction) == (name, blob, direction)
        };
        let index = match self.transfers.iter().rposition(same) {
            Some(index) => index,
            None => {
                let (name, blob, direction) = (name.clone(), blob.clone(), *direction);
                let (span, state) = (Span::at(at), *state);
                self.transfers.push(TransferView { name, blob, direction, bytes: 0, state, span, row: 0 });
                self.transfers.len() - 1
            }
        };
        if let Some(known) = self.transfers.get_mut(index) {
            (known.state, known.span.end) = (*state, at);
            known.bytes = if *state == TransferState::Done { *total } else { *done };
        }
    }

    /// What has no end ends with the build; rows.
    fn end(&mut self) {
        let took = self.took;
        for step in &mut self.steps {
            if let (Way::Cut, Some(ran)) = (&step.way, &mut step.ran) {
                ran.end = took;
            }
        }
        let spans: Vec<_> = self.steps.iter().map(StepView::span).collect();
        for (step, row) in self.steps.iter_mut().zip(rows(&spans)) {
            step.row = row;
        }
        let spans: Vec<_> = self.transfers.iter().map(|transfer| Some(transfer.span)).collect();
        for (transfer, row) in self.transfers.iter_mut().zip(rows(&spans)) {
            transfer.row = row;
        }
    }
}

impl StepView {
    fn apply(&mut self, event: &Event, at: Duration) {
        match event {
            Event::Started { key, why, looked, .. } => {
                self.way = Way::Cut;
                self.looked = Some(Span::before(at, *looked));
                self.ran = Some(Span::at(at));
                (self.key, self.why) = (key.clone().or(self.key.take()), why.clone());
            }
            Event::Log { bytes, skipped, .. } => self.log.pieces.push((*skipped, bytes.clone())),
            Event::Cached { from, key, layer, looked, .. } => {
                let is_base = self.info.kind == StepKind::Base;
                self.way = if is_base { Way::Base } else { Way::Cached(from.clone()) };
                self.looked = Some(Span::before(at, *looked));
                (self.key, self.layer) = (key.clone(), layer.clone());
            }
            Event::Finished { layer, files, bytes, .. } => {
                self.way = Way::Executed;
                (self.layer, self.files, self.bytes) = (layer.clone(), *files, *bytes);
                self.until(at);
            }
            Event::Failed { message, .. } => {
                self.way = Way::Failed(message.clone());
                self.until(at);
            }
            _ => {}
        }
    }

    fn until(&mut self, at: Duration) {
        self.ran.get_or_insert(Span::at(at)).end = at;
    }
}

/// For each span the first row that is free when it begins.
fn rows(spans: &[Option<Span>]) -> Vec<usize> {
    let mut order: Vec<(Span, usize)> =
        spans.iter().enumerate().filter_map(|(number, span)| Some(((*span)?, number))).collect();
    order.sort_by_key(|(span, number)| (span.start, *number));
    let mut ends: Vec<Duration> = Vec::new();
    let mut rows = vec![0; spans.len()];
    for (span, number) in order {
        let free = ends.iter().position(|end| *end <= span.start);
        let row = free.unwrap_or_else(|| {
            ends.push(Duration::ZERO);
            ends.len() - 1
        });
        ends[row] = span.end;
        rows[number] = row;
    }
    rows
}
