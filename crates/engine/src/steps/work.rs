//! One step with its inputs at hand: its key, and how it is executed.

use std::sync::{Mutex, PoisonError};

use galley_oci::Digest;
use galley_store::{Layer, Origins};

use super::{
    archive,
    copy::{self, Manner},
    draft::Draft,
    files::{Files, store_error},
    first_read::FirstRead,
    mounts::{self, MountInput},
    run,
    sources::{Item, Selection, Sources},
    users::{Accounts, owner_number},
    workdir,
};
use crate::{
    Cancel, Error, ErrorKind, Event, Snapshot,
    build::{Builder, Outcome},
    cache::{self, CopyInput, Key},
    clock::now,
    plan::{CopyOp, Operation, RunOp, Source, Step, WorkdirOp},
    schedule::Done,
    why::Parts,
};

/// A step that can be looked up and executed.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub key: Key,
    pub parent: Snapshot,
    /// What the step sees of the stage: the parent, but nothing with `--link`.
    below: Snapshot,
    what: What<'a>,
}

#[derive(Debug)]
enum What<'a> {
    Run {
        operation: &'a RunOp,
        inputs: Vec<Option<MountInput>>,
        digests: Vec<Digest>,
    },
    /// The files, and what each source means among them when that is known already.
    Copy {
        operation: &'a CopyOp,
        from: Sources,
        input: CopyInput,
        /// Its layer, when that was made in the pass that found the key.
        first_read: Mutex<Option<Box<FirstRead>>>,
    },
    Workdir {
        operation: &'a WorkdirOp,
    },
}

impl<'a> Work<'a> {
    pub(crate) fn prepare(
        builder: &Builder<'_>,
        step: &'a Step,
        parent: Snapshot,
        done: &Done<Outcome>,
    ) -> Result<Self, Error> {
        let linked = matches!(&step.operation, Operation::Copy(operation) if operation.link);
        let below = if linked { Snapshot::empty() } else { parent.clone() };
        let id = *below.id();
        let (key, what) = match &step.operation {
            Operation::Base(_) | Operation::Fetch(_) => {
                let message = format!("{} was taken for a step on something", step.name);
                return Err(Error::new(ErrorKind::Internal, message));
            }
            Operation::Run(operation) => {
                let inputs = mount_inputs(builder, operation, done)?;
                let digests = mount_digests(operation, &inputs)?;
                (cache::run(&id, operation, &digests), What::Run { operation, inputs, digests })
            }
            Operation::Copy(operation) => {
                let first_read = Mutex::new(FirstRead::new(builder, step, operation, &below).map(Box::new));
                let (from, input) = Sources::new(builder, operation, done)?;
                let key = cache::copy(&id, operation, &input, &from.fetched_ids());
                (key, What::Copy { operation, from, input, first_read })
            }
            Operation::Workdir(operation) => (cache::workdir(&id, operation), What::Workdir { operation }),
        };
        Ok(Self { key, parent, below, what })
    }

    /// Whether executing it moves no bytes, runs nothing and needs no rights.
    pub(crate) fn is_cheap(&self) -> bool {
        match &self.what {
            What::Run { .. } => false,
            What::Copy { operation, .. } => {
                !operation.unpack && !operation.fetched.iter().any(|source| source.unpack)
            }
            What::Workdir { .. } => true,
        }
    }

    /// What is in its key, with names for people.
    pub(crate) fn parts(&self) -> Parts {
        let below = self.below.id();
        match &self.what {
            What::Run { operation, digests, .. } => Parts::of_run(below, operation, digests),
            What::Copy { operation, from, input, .. } => {
                let (selections, copied): (&[Digest], _) = match input {
                    CopyInput::Selections(digests) => (digests, None),
                    CopyInput::Snapshot(id) => (&[], Some(*id)),
                    CopyInput::Nothing => (&[], None),
                };
                let copied: Vec<Digest> = copied.into_iter().chain(from.fetched_ids()).collect();
                Parts::of_copy(below, operation, selections, &copied)
            }
            What::Workdir { operation } => Parts::of_workdir(below, operation),
        }
    }

    /// The log of a run step, relative to the store.
    pub(crate) fn log(&self) -> Option<String> {
        matches!(self.what, What::Run { .. }).then(|| run::log_name(&self.key))
    }

    pub(crate) fn execute(&self, builder: &Builder<'_>, step: &Step, stop: &Cancel) -> Result<Layer, Error> {
        builder.fetcher(stop).fetch(self.snapshots().flat_map(Snapshot::held))?;
        match &self.what {
            What::Run { operation, inputs, .. } => run::execute(builder, step, self, operation, inputs, stop),
            What::Copy { operation, from, first_read, .. } => {
                let first_read = first_read.lock().unwrap_or_else(PoisonError::into_inner).take();
                self.copy(builder, step, operation, from, first_read)
            }
            What::Workdir { operation } => self.workdir(builder, step, operation),
        }
    }

    /// All whose files it looks at.
    fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        let copied = match &self.what {
            What::Copy { from, .. } => Some(from.snapshots()),
            _ => None,
        };
        let inputs: &[Option<MountInput>] = match &self.what {
            What::Run { inputs, .. } => inputs,
            _ => &[],
        };
        let mounted = inputs.iter().flatten().filter_map(|input| match input {
            MountInput::Snapshot(snapshot) => Some(snapshot),
            MountInput::Context(_) => None,
        });
        std::iter::once(&self.below).chain(copied.into_iter().flatten()).chain(mounted)
    }

    fn workdir(&self, builder: &Builder<'_>, step: &Step, operation: &WorkdirOp) -> Result<Layer, Error> {
        let files = Files::of_snapshot(&self.parent)?;
        let user = Some(operation.user.as_str()).filter(|user| !user.is_empty());
        let owner = owner(builder, step, &files, user)?;
        let time = builder.epoch.unwrap_or_else(now);
        let layer = workdir::make(files.stack(), &operation.path, owner.unwrap_or_default(), time)?;
        builder.store.commit_origins(layer, Origins::new()).map_err(store_error)
    }

    fn copy(
        &self,
        builder: &Builder<'_>,
        step: &Step,
        operation: &CopyOp,
        from: &Sources,
        first_read: Option<Box<FirstRead>>,
    ) -> Result<Layer, Error> {
        let below = Files::of_snapshot(&self.below)?;
        let owner = owner(builder, step, &below, operation.chown.as_deref())?;
        let mode = operation.chmod.as_ref().map(|chmod| &chmod.mode);
        let now = first_read.as_ref().map_or_else(now, |first_read| first_read.now);
        let manner = Manner { destination: &operation.destination, owner, mode, now };
        let mut draft = Draft::new(below.stack());
        // Unpacked archives are there until their files are the layer's own.
        let mut unpacked = Vec::new();
        let Selection { files, items } = from.select(operation)?;
        let copied = items.len() + operation.inline.len();
        for Item { number, selected, unpack } in &items {
            let Some(from) = files.get(*number as usize) else { continue };
            let archive = if *unpack { archive::open(builder.store, from, selected)? } else { None };
            match archive {
                Some(archive) => unpacked.push(archive.unpack(builder.store, &mut draft, &manner)?),
                None => copy::copy(&mut draft, (*number, from), selected, &manner)?,
            }
        }
        for file in &operation.inline {
            copy::write_inline(&mut draft, file, &manner)?;
        }
        let (mut tree, origins) = draft.finish(&files);
        if copied == 1
            && let Some(archive) = unpacked.pop()
        {
            match archive.commit(builder.store, tree)? {
                Ok(layer) => return Ok(layer),
                Err((archive, same)) => {
                    unpacked.push(archive);
                    tree = same;
                }
            }
        }
        if let Some(first_read) = first_read {
            match first_read.commit(builder.store, tree)? {
                Ok(layer) => return Ok(layer),
                Err(same) => tree = same,
            }
        }
        let layer = builder.store.commit_origins(tree, origins).map_err(store_error)?;
        if !unpacked.is_empty() {
            builder.store.own_bytes(&layer).map_err(store_error)?;
        }
        Ok(layer)
    }
}

/// The numbers of `user[:group]` by the files of the destination; nothing there is read for numbers.
fn owner(
    builder: &Builder<'_>,
    step: &Step,
    below: &Files,
    spec: Option<&str>,
) -> Result<Option<(u32, u32)>, Error> {
    let Some(spec) = spec else { return Ok(None) };
    if spec.splitn(2, ':').all(|part| owner_number(part).is_some()) {
        return Ok(Some(Accounts::default().owner(spec)));
    }
    if below.stack().layers().is_empty() {
        let message = format!("nobody is called {spec:?} in an empty image: there is no /etc/passwd");
        let help = "write numbers, as in --chown=1000:1000 or USER 1000";
        return Err(Error::new(ErrorKind::Input, message).label("a name").help(help));
    }
    let accounts = Accounts::read(builder.store, below)?;
    if let Some(name) = accounts.unknown(spec) {
        // As in Docker, which does not even say so.
        builder.events.emit(Event::Warning {
            rule: None,
            message: format!(
                "{name:?} is not known in the image and counts for nothing: without it, root owns new files"
            ),
            place: step.place.as_ref().map(ToString::to_string),
            help: Some("create it in an earlier RUN, or write numbers".to_owned()),
        });
    }
    Ok(Some(accounts.owner(spec)))
}

/// For each mount the files it shows, when they are of a stage, an image or a context.
fn mount_inputs(
    builder: &Builder<'_>,
    operation: &RunOp,
    done: &Done<Outcome>,
) -> Result<Vec<Option<MountInput>>, Error> {
    let input = |source: Source| match source {
        Source::Step(id) => Ok(MountInput::Snapshot(done.get(id.0)?.snapshot.clone())),
        Source::Context(id) => {
            let context = builder.contexts.get(id, builder.store, builder.events)?;
            Ok(MountInput::Context(context))
        }
    };
    let inputs = operation
        .mounts
        .iter()
        .map(|mount| mounts::source(mount).map(|(source, _)| input(source)).transpose());
    inputs.collect()
}

fn mount_digests(operation: &RunOp, inputs: &[Option<MountInput>]) -> Result<Vec<Digest>, Error> {
    let mounts = operation.mounts.iter().zip(inputs);
    let shown = mounts.filter_map(|(mount, input)| Some((mounts::source(mount)?.1, input.as_ref()?)));
    shown.map(|(path, input)| input.digest(path)).collect()
}
