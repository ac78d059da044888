//! Merging sorted lists of entries.

use std::{collections::HashMap, num::NonZeroU32};

use super::{Found, replaces};
use crate::tree::{Entry, Kind, Tree, compare_paths, gallop, is_within};

/// An entry that may be a whiteout.
pub(super) type Node<'a> = Found<'a>;

/// Merges parts, lowest first, and drops whiteouts.
pub(super) fn merge_all<'a>(parts: impl Iterator<Item = Vec<Node<'a>>>) -> Vec<Found<'a>> {
    let mut merged = parts.reduce(|lower, upper| merge(&lower, &upper)).unwrap_or_default();
    merged.retain(|node| !matches!(node.entry.kind, Kind::Whiteout));
    merged
}

/// Lays `upper` over `lower`. Takes runs of `lower` as a whole, so a small upper layer costs a copy and few comparisons.
fn merge<'a>(lower: &[Node<'a>], upper: &[Node<'a>]) -> Vec<Node<'a>> {
    let mut merged = Vec::with_capacity(lower.len() + upper.len());
    let mut rest = lower;
    for node in upper {
        let path = &node.entry.path;
        let before = gallop(rest, |lower| compare_paths(&lower.entry.path, path).is_lt());
        merged.extend_from_slice(&rest[..before]);
        rest = &rest[before..];
        let hidden = if replaces(&node.entry.kind) {
            gallop(rest, |lower| is_within(&lower.entry.path, path))
        } else {
            usize::from(rest.first().is_some_and(|lower| lower.entry.path == *path))
        };
        rest = &rest[hidden..];
        merged.push(*node);
    }
    merged.extend_from_slice(rest);
    merged
}

/// A tree of merged entries. Hard-link groups of different layers stay apart.
pub(super) fn flatten(found: &[Found<'_>]) -> Tree {
    let mut groups = HashMap::new();
    let entries = found.iter().map(|found| {
        let mut entry: Entry = found.entry.clone();
        if let Kind::File { links: Some(group), .. } = &mut entry.kind {
            let next = u32::try_from(groups.len()).unwrap_or(u32::MAX - 1).saturating_add(1);
            let number = groups.entry((found.layer, *group)).or_insert(next);
            *group = NonZeroU32::new(*number).unwrap_or(*group);
        }
        if let Kind::Directory { opaque } = &mut entry.kind {
            *opaque = false;
        }
        entry
    });
    Tree::from_sorted(entries.collect())
}
