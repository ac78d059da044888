//! One form for what means the same, so that equal trees have equal digests.

use std::{collections::HashMap, num::NonZeroU32};

use super::{Entry, Kind, Meta, Xattrs};

const SYMLINK_MODE: u16 = 0o777;
const MODE_BITS: u16 = 0o7777;

pub(super) fn normalise(entries: &mut [Entry]) {
    for entry in &mut *entries {
        match entry.kind {
            Kind::Whiteout => entry.meta = Meta::new(0),
            Kind::Symlink { .. } => entry.meta.mode = SYMLINK_MODE,
            _ => entry.meta.mode &= MODE_BITS,
        }
        normalise_xattrs(&mut entry.meta.xattrs);
    }
    number_links(entries);
}

/// Whether all entries are as [`normalise`] leaves them, looked at in their order.
#[derive(Default)]
pub(super) struct Normal {
    /// How many names each group of hard links has, from one.
    groups: Vec<u32>,
    odd: bool,
}

impl Normal {
    pub(super) fn look_at(&mut self, meta: &Meta, kind: &Kind) {
        let normal = match kind {
            Kind::Whiteout => *meta == Meta::new(0),
            Kind::Symlink { .. } => meta.mode == SYMLINK_MODE,
            Kind::File { links: Some(group), .. } => meta.mode <= MODE_BITS && self.counts(*group),
            _ => meta.mode <= MODE_BITS,
        };
        self.odd |= !normal || !meta.xattrs.as_deref().is_none_or(are_normal);
    }

    /// Counts a name of `group`, which must have been there before or be the next one.
    fn counts(&mut self, group: NonZeroU32) -> bool {
        let index = group.get() as usize - 1;
        if index == self.groups.len() {
            self.groups.push(0);
        }
        self.groups.get_mut(index).map(|names| *names = names.saturating_add(1)).is_some()
    }

    pub(super) fn is_kept(&self) -> bool {
        !self.odd && self.groups.iter().all(|&names| names > 1)
    }
}

fn are_normal(xattrs: &Xattrs) -> bool {
    !xattrs.is_empty() && xattrs.is_sorted_by(|a, b| a.0 < b.0)
}

/// Sorted by name, the last of a name wins, none instead of empty.
fn normalise_xattrs(xattrs: &mut Option<Box<Xattrs>>) {
    let Some(list) = xattrs else { return };
    if !list.is_sorted_by(|a, b| a.0 < b.0) {
        list.sort_by(|a, b| a.0.cmp(&b.0));
        list.reverse();
        list.dedup_by(|earlier, later| earlier.0 == later.0);
        list.reverse();
    }
    if list.is_empty() {
        *xattrs = None;
    }
}

/// Numbers hard-link groups from one in the order of their first paths; a group of one is no group.
fn number_links(entries: &mut [Entry]) {
    let mut groups: HashMap<NonZeroU32, (usize, Option<NonZeroU32>)> = HashMap::new();
    for group in entries.iter().filter_map(links) {
        groups.entry(group).or_default().0 += 1;
    }
    let mut last = 0;
    for entry in entries {
        let Kind::File { links: Some(group), .. } = &entry.kind else { continue };
        let number = groups.get_mut(group).and_then(|(names, number)| {
            if *names > 1 && number.is_none() {
                last += 1;
                *number = NonZeroU32::new(last);
            }
            *number
        });
        if let Kind::File { links, .. } = &mut entry.kind {
            *links = number;
        }
    }
}

fn links(entry: &Entry) -> Option<NonZeroU32> {
    match entry.kind {
        Kind::File { links, .. } => links,
        _ => None,
    }
}
