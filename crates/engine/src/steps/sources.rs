//! What a COPY or ADD copies: of one place what its patterns mean, and what was fetched, in the order written.

use std::sync::Arc;

use galley_oci::Digest;

use super::{
    files::Files,
    filter,
    select::{self, Selected},
};
use crate::{
    Error, Snapshot,
    build::{Builder, Outcome},
    cache::CopyInput,
    contexts::Context,
    plan::{CopyOp, FetchedSource, Source},
    schedule::Done,
};

/// Where a COPY takes its files from.
#[derive(Debug)]
pub(crate) struct Sources {
    named: Named,
    /// One for each of [`CopyOp::fetched`].
    fetched: Vec<Snapshot>,
}

/// The place that patterns are about; of a context it is known already what they mean.
#[derive(Debug)]
enum Named {
    Context { context: Arc<Context>, selected: Vec<Vec<Selected>> },
    Snapshot(Snapshot),
    Nothing,
}

/// All that is copied.
#[derive(Debug)]
pub(crate) struct Selection {
    /// What is copied from.
    pub files: Vec<Files>,
    /// What of it, in order.
    pub items: Vec<Item>,
}

/// Something that is copied.
#[derive(Debug)]
pub(crate) struct Item {
    /// The number of its files.
    pub number: u32,
    /// What of them.
    pub selected: Selected,
    /// Whether it is unpacked when it is an archive.
    pub unpack: bool,
}

impl Sources {
    /// The sources of `operation`, and what of those with patterns counts in its key.
    pub(crate) fn new(
        builder: &Builder<'_>,
        operation: &CopyOp,
        done: &Done<Outcome>,
    ) -> Result<(Self, CopyInput), Error> {
        let snapshot = |source: &FetchedSource| Ok(done.get(source.step.0)?.snapshot.clone());
        let fetched = operation.fetched.iter().map(snapshot).collect::<Result<_, Error>>()?;
        let (named, input) = Named::new(builder, operation, done)?;
        Ok((Self { named, fetched }, input))
    }

    /// All whose files must be at hand.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        let named = match &self.named {
            Named::Snapshot(snapshot) => Some(snapshot),
            Named::Context { .. } | Named::Nothing => None,
        };
        named.into_iter().chain(&self.fetched)
    }

    pub(crate) fn fetched_ids(&self) -> Vec<Digest> {
        self.fetched.iter().map(|snapshot| *snapshot.id()).collect()
    }

    /// The files, and all that is selected of them in the order written.
    pub(crate) fn select(&self, operation: &CopyOp) -> Result<Selection, Error> {
        let (mut files, selected) = self.named.select(operation)?;
        let mut named = selected.into_iter().enumerate().peekable();
        let mut items = Vec::new();
        let item = |selected| Item { number: 0, selected, unpack: operation.unpack };
        for (source, snapshot) in operation.fetched.iter().zip(&self.fetched) {
            while let Some((_, selected)) = named.next_if(|(index, _)| *index < source.after) {
                items.extend(selected.into_iter().map(item));
            }
            let number = u32::try_from(files.len()).unwrap_or(u32::MAX); // ok: a line has fewer words
            files.push(Files::of_snapshot(snapshot)?);
            let name = source.file.clone().unwrap_or_default();
            let filter = filter::without(&operation.excludes)?;
            let selected = Selected { path: name.clone(), name, filter };
            items.push(Item { number, selected, unpack: source.unpack });
        }
        items.extend(named.flat_map(|(_, selected)| selected).map(item));
        Ok(Selection { files, items })
    }
}

impl Named {
    fn new(
        builder: &Builder<'_>,
        operation: &CopyOp,
        done: &Done<Outcome>,
    ) -> Result<(Self, CopyInput), Error> {
        if operation.sources.is_empty() {
            return Ok((Self::Nothing, CopyInput::Nothing));
        }
        match operation.from {
            Source::Step(id) => {
                let snapshot = done.get(id.0)?.snapshot.clone();
                let input = CopyInput::Snapshot(*snapshot.id());
                Ok((Self::Snapshot(snapshot), input))
            }
            Source::Context(id) => {
                let context = builder.contexts.get(id, builder.store, builder.events)?;
                let sources = filter::sources(operation)?;
                let selected = sources.iter().map(|source| context.select(source));
                let selected: Vec<_> = selected.collect::<Result<_, _>>()?;
                let digests = selected.iter().map(|one| select::digest(context.files.stack(), one));
                let input = CopyInput::Selections(digests.collect());
                selected.iter().flatten().try_for_each(Selected::in_time)?;
                Ok((Self::Context { context, selected }, input))
            }
        }
    }

    /// The files, when there are some, and what each source means.
    fn select(&self, operation: &CopyOp) -> Result<(Vec<Files>, Vec<Vec<Selected>>), Error> {
        match self {
            Self::Nothing => Ok((Vec::new(), Vec::new())),
            Self::Context { context, selected } => Ok((vec![context.files.clone()], selected.clone())),
            Self::Snapshot(snapshot) => {
                let files = Files::of_snapshot(snapshot)?;
                let sources = filter::sources(operation)?;
                let selected = sources.iter().map(|source| select::select(files.stack(), source));
                let selected = selected.collect::<Result<_, _>>()?;
                Ok((vec![files], selected))
            }
        }
    }
}
