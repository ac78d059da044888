//! Layers: the tree against its digests, the bytes against the tree, in whatever form they are.

use std::{cmp::Ordering, path::Path};

use galley_oci::{Digest, Entry, Kind, Tree, tree::compare_paths};

use super::{Check, Severity, Thing};
use crate::{
    Layer, ScanOptions, StoreError,
    error::{Absent, At},
    origins::path_of,
    packed::Packed,
};

/// Differences that are told of one layer.
const DIFFERENCES_MAX: usize = 3;

/// What is wrong with a layer.
enum Problem {
    Damaged(String),
    Ignored,
}

impl Check<'_> {
    pub(super) fn layer(&self, id: &Digest, path: &Path) -> Result<(), StoreError> {
        let Some(Problem::Damaged(_)) = self.layer_problem(id)? else {
            return match self.layer_is_ignored(id)? {
                Some(problem) => self.found(Thing::Layer, path, Severity::Leftover, problem),
                None => Ok(()),
            };
        };
        // Somebody may just have given it other bytes: once more, while nobody can.
        let _lock = self.store.lock_key(id)?;
        match self.layer_problem(id)? {
            Some(Problem::Damaged(problem)) => self.damaged(Thing::Layer, path, problem),
            Some(Problem::Ignored) | None => Ok(()),
        }
    }

    fn layer_is_ignored(&self, id: &Digest) -> Result<Option<&'static str>, StoreError> {
        let loaded = Layer::load(self.store.layer_path(id), id)?;
        Ok(loaded.and_then(|(_, stamp)| self.unvouched(&stamp)))
    }

    fn layer_problem(&self, id: &Digest) -> Result<Option<Problem>, StoreError> {
        let folder = self.store.layer_path(id);
        if rustix::fs::lstat(&folder).absent().at("examine", &folder)?.is_none() {
            return Ok(None);
        }
        let Some((layer, stamp)) = Layer::load(folder, id)? else {
            return Ok(Some(Problem::Damaged("its info cannot be understood".to_owned())));
        };
        if self.unvouched(&stamp).is_some() {
            return Ok(Some(Problem::Ignored));
        }
        let tree = match layer.tree() {
            Ok(tree) => tree,
            Err(error) => return problem_or(error),
        };
        if tree.layer_id() != *id {
            let problem = format!("its tree is that of layer {}", tree.layer_id());
            return Ok(Some(Problem::Damaged(problem)));
        }
        match self.bytes_problem(&layer, &tree) {
            Ok(problem) => Ok(problem.map(Problem::Damaged)),
            Err(error) => problem_or(error),
        }
    }

    fn bytes_problem(&self, layer: &Layer, tree: &Tree) -> Result<Option<String>, StoreError> {
        if layer.is_packed() {
            let path = layer.packed_path();
            let scanned = Packed::open(&path)?.scan(&path)?;
            self.hashed(tree.bytes_of_files());
            let problem = differences(tree, &scanned, false);
            if problem.is_some() || !layer.has_diff() {
                return Ok(problem.map(|problem| format!("packed: {problem}")));
            }
        }
        if layer.has_diff() {
            let scanned = self.store.scan(&layer.diff(), &ScanOptions::default())?;
            self.hashed(tree.bytes_of_files());
            // In a user namespace, what the kernel refuses is not on disk.
            let lenient = self.store.in_user_namespace();
            if self.store.dialect().sees_opaque() {
                return Ok(differences(tree, &scanned, lenient));
            }
            return Ok(differences(&without_opaque(tree), &without_opaque(&scanned), lenient));
        }
        let Some(references) = layer.references()? else { return Ok(None) };
        for &(index, number, from) in &references.files {
            let Some(entry) = tree.entries().get(index as usize) else {
                return Ok(Some(format!("it refers for entry {index}, which it does not have")));
            };
            let holder = references.layers.get(number as usize);
            if let Some(problem) = holder.map_or(Ok(None), |holder| self.reference(entry, holder, from))? {
                return Ok(Some(problem));
            }
        }
        Ok(None)
    }

    /// Whether another layer has the bytes of `entry` as its entry `from`.
    fn reference(&self, entry: &Entry, holder: &Digest, from: u32) -> Result<Option<String>, StoreError> {
        let path = || path_of(&entry.path).display().to_string();
        let Some((layer, _)) = Layer::load(self.store.layer_path(holder), holder)? else {
            return Ok(Some(format!("the bytes of {} are in layer {holder}, which is lost", path())));
        };
        let tree = layer.tree()?;
        let found = tree.entries().get(from as usize).map(|entry| &entry.kind);
        let same = match (&entry.kind, found) {
            (Kind::File { digest: wanted, .. }, Some(Kind::File { digest, .. })) => wanted == digest,
            _ => false,
        };
        Ok((!same).then(|| format!("layer {holder} does not have the bytes of {}", path())))
    }
}

/// What there is to compare for who cannot see which directories are opaque.
fn without_opaque(tree: &Tree) -> Tree {
    let entries = tree.entries().iter().cloned().map(|mut entry| {
        if let Kind::Directory { opaque } = &mut entry.kind {
            *opaque = false;
        }
        entry
    });
    Tree::from_entries(entries.collect())
}

/// What is damaged is a finding; what the kernel refuses is not.
fn problem_or(error: StoreError) -> Result<Option<Problem>, StoreError> {
    match error {
        StoreError::Io { .. } if error.is_machines() => Err(error),
        StoreError::Damaged { reason, what, .. } => Ok(Some(Problem::Damaged(format!("{what}: {reason}")))),
        other => {
            let cause = std::error::Error::source(&other).map(|cause| format!(": {cause}"));
            Ok(Some(Problem::Damaged(format!("{other}{}", cause.unwrap_or_default()))))
        }
    }
}

/// The first few differences between what should be there and what is.
fn differences(wanted: &Tree, found: &Tree, lenient: bool) -> Option<String> {
    let (mut wanted, mut found) = (wanted.entries().iter().peekable(), found.entries().iter().peekable());
    let mut all = Vec::new();
    loop {
        let order = match (wanted.peek(), found.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => compare_paths(&one.path, &other.path),
        };
        let difference = match order {
            Ordering::Less => wanted.next().map(|entry| (entry, "is missing")),
            Ordering::Greater => found.next().map(|entry| (entry, "should not be there")),
            Ordering::Equal => match (wanted.next(), found.next()) {
                (Some(one), Some(other)) => differs(one, other, lenient).map(|what| (one, what)),
                _ => None,
            },
        };
        all.extend(difference.map(|(entry, what)| format!("/{} {what}", path_of(&entry.path).display())));
    }
    let more = all.len().saturating_sub(DIFFERENCES_MAX);
    all.truncate(DIFFERENCES_MAX);
    let text = all.join("; ");
    match (all.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(text),
        (false, more) => Some(format!("{text}; and {more} more")),
    }
}

fn differs(wanted: &Entry, found: &Entry, lenient: bool) -> Option<&'static str> {
    let (one, other) = (&wanted.meta, &found.meta);
    let is_kind = matches!((&wanted.kind, &found.kind), (Kind::File { .. }, Kind::File { .. }));
    if wanted.kind != found.kind {
        return Some(if is_kind { "has other content" } else { "is something else" });
    }
    // A whiteout says nothing but that it is one.
    if wanted.kind == Kind::Whiteout {
        return None;
    }
    let link = matches!(wanted.kind, Kind::Symlink { .. });
    if (one.uid, one.gid) != (other.uid, other.gid) {
        return Some("has another owner");
    }
    if one.mode != other.mode && !link {
        return Some("has another mode");
    }
    if one.mtime != other.mtime {
        return Some("has another time");
    }
    let kept = |name: &[u8], value: &[u8]| {
        let found = other.xattrs.iter().flat_map(|all| all.iter()).find(|(known, _)| **known == *name);
        found.map_or(lenient, |(_, found)| **found == *value)
    };
    let all = one.xattrs.iter().flat_map(|all| all.iter()).all(|(name, value)| kept(name, value));
    let count = |all: Option<usize>| all.unwrap_or_default();
    let more =
        count(other.xattrs.as_ref().map(|all| all.len())) > count(one.xattrs.as_ref().map(|all| all.len()));
    (!all || more).then_some("has other attributes")
}
