//! One pass over files that nobody has read: what a COPY copies becomes a layer while its key is found.
//!
//! The key of a COPY has the content of what it copies in it, and the layer is made of the same bytes. Where a cold build
//! copies much that is new in its context, both are had from one pass: the layer is laid out with all that is known of it
//! (only the digests are missing, and they are in no archive), its packed file is written, and on another thread the
//! digests of the files and the diffID are found. When then the key is known already, or when the layer turns out to be another one
//! than was expected, what was written is thrown away: it was a temporary file, and nobody has seen it.

use std::{collections::HashMap, num::NonZeroU32};

use galley_oci::{Digest, Entry, Kind, LayerSink, Time, TimePolicy, Tree};
use galley_store::{Layer, Origin, Origins, Owning, Store};

use super::{
    copy::{self, Manner},
    draft::Draft,
    files::{Files, store_error},
    filter,
    users::{Accounts, owner_number},
};
use crate::{
    Error, Snapshot, blobs,
    build::Builder,
    clock::now,
    contexts::Context,
    plan::{CopyOp, Source, Step},
};

/// A layer that was made before anybody knew whether it was needed.
#[derive(Debug)]
pub(crate) struct FirstRead {
    /// The time of what has none of its own in it.
    pub now: Time,
    tree: Tree,
    owning: Owning,
    diff_id: Digest,
    times: TimePolicy,
}

impl FirstRead {
    /// Reads the context that `operation` copies from, and makes the layer that it will be on `below`; none when that has no
    /// use, or when something is in the way: then nothing has happened, or the context was only read.
    pub(crate) fn new(
        builder: &Builder<'_>,
        step: &Step,
        operation: &CopyOp,
        below: &Snapshot,
    ) -> Option<Self> {
        let Source::Context(id) = operation.from else { return None };
        let times = builder.kept(step)?;
        if operation.sources.is_empty() || operation.unpack || !operation.fetched.is_empty() {
            return None;
        }
        let owner = match &operation.chown {
            None => None,
            // Names are looked up where the step is made, which has something to say about them.
            Some(spec) if spec.splitn(2, ':').any(|part| owner_number(part).is_none()) => return None,
            Some(spec) => Some(Accounts::default().owner(spec)),
        };
        let mode = operation.chmod.as_ref().map(|chmod| &chmod.mode);
        let manner = Manner { destination: &operation.destination, owner, mode, now: now() };
        builder.contexts.read_with(id, builder.store, builder.events, |context| {
            // What the last build had is more often found than made anew.
            let below = Files::of_snapshot(below).ok().filter(|_| !builder.past.knows(step))?;
            let (tree, origins) = lay_out(context, operation, &below, &manner)?;
            let places = places(&tree, &origins, context);
            let (tree, owning, diff_id) = read(builder.store, tree, origins, times)?;
            let digest = |(index, place): (usize, usize)| match tree.entries()[index].kind {
                // Nobody has looked into an empty one.
                Kind::File { size: 1.., digest, .. } => Some((place, digest)),
                _ => None,
            };
            let digests: HashMap<_, _> = places.into_iter().filter_map(digest).collect();
            Some((Self { now: manner.now, tree, owning, diff_id, times }, digests))
        })
    }

    /// Makes it the layer of the step, if that is `tree`; else, both come back to be thrown away and made otherwise.
    pub(crate) fn commit(self, store: &Store, tree: Tree) -> Result<Result<Layer, Tree>, Error> {
        if self.tree != tree {
            return Ok(Err(tree));
        }
        match store.commit_read(tree, self.owning).map_err(store_error)? {
            Err(tree) => Ok(Err(tree)),
            Ok((layer, same)) => {
                if same {
                    blobs::remember(store, &layer, self.times, self.diff_id)?;
                }
                Ok(Ok(layer))
            }
        }
    }
}

/// What the layer will look like, as far as that is known.
fn lay_out(
    context: &Context,
    operation: &CopyOp,
    below: &Files,
    manner: &Manner<'_>,
) -> Option<(Tree, Origins)> {
    let mut draft = Draft::new(below.stack());
    for source in filter::sources(operation).ok()? {
        for selected in context.select(&source).ok()? {
            copy::copy(&mut draft, (0, &context.files), &selected, manner).ok()?;
        }
    }
    for file in &operation.inline {
        copy::write_inline(&mut draft, file, manner).ok()?;
    }
    Some(draft.finish(std::slice::from_ref(&context.files)))
}

/// Which files of the layer are which of the context.
fn places(tree: &Tree, origins: &Origins, context: &Context) -> Vec<(usize, usize)> {
    let place = |entry: &Entry| match origins.get(&entry.path)? {
        Origin::Path(path) => Some(context.place(path)?),
        _ => None,
    };
    let entries = tree.entries().iter().enumerate();
    entries.filter_map(|(index, entry)| Some((index, place(entry)?))).collect()
}

/// The one pass. Whatever goes wrong, somebody will meet it again who can say more about it.
fn read(store: &Store, tree: Tree, origins: Origins, times: TimePolicy) -> Option<(Tree, Owning, Digest)> {
    let mut owning = store.begin_unread(&tree, origins).ok()??;
    let mut sink = LayerSink::diff_id().ok()?;
    sink.write_layer(&tree, times, &mut owning).ok()?;
    let (made, _) = sink.finish().ok()?;
    let tree = known(tree, made.contents)?;
    Some((tree, owning, made.diff_id))
}

/// `tree` with the digests that were found. None when a file that was known is not what it was.
fn known(tree: Tree, found: Vec<(usize, [u8; 32])>) -> Option<Tree> {
    let mut entries = tree.into_entries();
    let mut groups: HashMap<NonZeroU32, [u8; 32]> = HashMap::new();
    for (index, read) in found {
        let Kind::File { digest, links, .. } = &mut entries.get_mut(index)?.kind else { return None };
        if *digest != UNREAD && *digest != read {
            return None;
        }
        *digest = read;
        groups.extend(links.map(|group| (group, read)));
    }
    for entry in &mut entries {
        match &mut entry.kind {
            Kind::File { size: 0, digest, .. } => *digest = *Digest::blake3(b"").bytes(),
            Kind::File { digest, links: Some(group), .. } => {
                *digest = groups.get(group).copied().unwrap_or(*digest);
            }
            _ => {}
        }
    }
    Some(Tree::from_entries(entries))
}

/// What stands for a digest that is not known.
const UNREAD: [u8; 32] = [0; 32];
