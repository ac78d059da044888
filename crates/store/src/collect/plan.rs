//! What a collection removes: decided on the inventory alone, without touching a file.
//!
//! An *object* is what has bytes: a layer, a blob, an image's document, an index, a log, a cache mount. It is kept by names,
//! containers and leases, over images and over layers that refer to it; its time of use is that of the youngest thing that
//! leads to it. Records and exports lead to objects and go with them. So a record goes only when that frees something, and
//! what stays never leads to what went.

use std::collections::{BTreeMap, BTreeSet};

use galley_oci::{Digest, Time};

use super::inventory::Inventory;

/// Blobs up to this size stay unless documents are asked for too: what names meant, for builds that ask no registry.
pub(crate) const DOCUMENT_BYTES_MAX: u64 = 64 * 1024;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The document of an image without a name.
    Image,
    /// Files that a step made, or that an archive held.
    Layer,
    /// An archive or a document.
    Blob,
    /// A cache mount.
    Mount,
    /// The index of a build context.
    Context,
    /// What a step printed that is not remembered.
    Log,
}

/// Something that a collection may remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub id: Digest,
    /// How much it takes.
    pub bytes: u64,
    /// When it, or what leads to it, was last used; none when nothing leads to it.
    pub used: Option<Time>,
    /// When it was made, where that is known.
    pub created: Option<Time>,
    /// Whether a name, a container or a living process needs it.
    pub kept: bool,
    /// Whether a living process uses it.
    pub in_use: bool,
    /// How many records or exports lead to it.
    pub leads: usize,
    /// For cache mounts: the id.
    pub text: String,
}

/// How much may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Everything that something leads to.
    Reachable,
    /// So many bytes of what could go.
    Cache(u64),
    /// So many bytes in all; but so many of what could go stay in any case.
    Total {
        /// In all.
        limit: u64,
        /// Of what could go.
        reserved: u64,
    },
}

/// What a collection does.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How much may stay.
    pub keep: Keep,
    /// What was used later stays.
    pub unused_since: Option<Time>,
    /// Images without a name may go. Otherwise they keep what they need.
    pub images: bool,
    /// Everything may go that can be made or fetched again: also what registries and other addresses said, and what is
    /// remembered of steps whose layers stay.
    pub all: bool,
    /// Only these kinds; all when empty.
    pub kinds: Vec<Kind>,
    /// Only ids that begin like this.
    pub id: Option<String>,
    /// These go in any case, unless something that stays needs them.
    pub given_up: BTreeSet<Digest>,
}

impl Policy {
    /// Removes what nothing leads to.
    #[must_use]
    pub const fn new(keep: Keep) -> Self {
        Self {
            keep,
            unused_since: None,
            images: false,
            all: false,
            kinds: Vec::new(),
            id: None,
            given_up: BTreeSet::new(),
        }
    }

    /// Whether `object` is among what may go, whatever keeps it.
    #[must_use]
    pub fn wants(&self, object: &Object) -> bool {
        let kind = self.kinds.is_empty() || self.kinds.contains(&object.kind);
        let id = self.id.as_ref().is_none_or(|prefix| object.id.hex().starts_with(prefix));
        let old = self.unused_since.is_none_or(|since| object.used.is_none_or(|used| used < since));
        let document = object.kind == Kind::Blob && object.bytes <= DOCUMENT_BYTES_MAX;
        kind && id && old && (self.all || !document)
    }
}

/// What is to go, in this order: what leads to something before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The objects.
    pub objects: Vec<Object>,
    /// Records that lead to a layer which goes, or which is gone; with their logs.
    pub records: BTreeSet<Digest>,
    /// Exports that lead to a blob which goes, or which is gone.
    pub exports: BTreeSet<Digest>,
}

/// Decides.
#[must_use]
pub fn plan(inventory: &Inventory, policy: &Policy) -> Plan {
    let graph = Graph::new(inventory, policy.images);
    let mut objects = graph.objects();
    objects.sort_by_cached_key(|object| order(inventory, object));
    let free: u64 = objects.iter().filter(|object| !object.kept).map(|object| object.bytes).sum();
    let mut excess = match policy.keep {
        Keep::Reachable => 0,
        Keep::Cache(keep) => free.saturating_sub(keep),
        Keep::Total { limit, reserved } => {
            inventory.bytes().saturating_sub(limit).min(free.saturating_sub(reserved))
        }
    };
    let everything = matches!(policy.keep, Keep::Cache(0));
    let mut plan = Plan::default();
    let mut gone: BTreeSet<(Kind, Digest)> = BTreeSet::new();
    for object in objects.into_iter().filter(|object| !object.kept && policy.wants(object)) {
        let stays = object.used.is_some() && !policy.given_up.contains(&object.id) && excess == 0;
        if (stays && !everything) || graph.is_held(&object, &gone) {
            continue;
        }
        excess = excess.saturating_sub(object.bytes);
        gone.insert((object.kind, object.id));
        plan.objects.push(object);
    }
    plan.follow(inventory, &gone);
    if everything && policy.all && policy.kinds.is_empty() && policy.id.is_none() {
        plan.forget(inventory, policy.unused_since);
    }
    plan
}

impl Plan {
    /// Shortens the plan to about `bytes`; says whether something was left out.
    pub(super) fn cut(&mut self, inventory: &Inventory, bytes: u64) -> bool {
        let mut sum = 0_u64;
        let fits = self.objects.iter().take_while(|object| {
            let before = sum;
            sum = sum.saturating_add(object.bytes);
            before < bytes
        });
        let count = fits.count();
        if count == self.objects.len() {
            return false;
        }
        self.objects.truncate(count);
        let gone = self.objects.iter().map(|object| (object.kind, object.id)).collect();
        (self.records, self.exports) = Default::default();
        self.follow(inventory, &gone);
        true
    }

    /// All that is remembered of steps goes, also of those whose layers stay.
    fn forget(&mut self, inventory: &Inventory, unused_since: Option<Time>) {
        let old = |used: Time| unused_since.is_none_or(|since| used < since);
        self.records.extend(inventory.records.iter().filter(|(_, row)| old(row.used)).map(|(key, _)| *key));
        self.exports.extend(inventory.exports.iter().filter(|(_, row)| old(row.used)).map(|(key, _)| *key));
    }

    /// Records and exports go with what they lead to. A record of a layer that is not there leads nowhere.
    fn follow(&mut self, inventory: &Inventory, gone: &BTreeSet<(Kind, Digest)>) {
        let lost = |kind, id: &Digest, there: bool| !there || gone.contains(&(kind, *id));
        let records = inventory.records.iter().filter(|(_, row)| {
            let layer = &row.what.layer;
            lost(Kind::Layer, layer, inventory.layers.contains_key(layer))
        });
        self.records.extend(records.map(|(key, _)| *key));
        let exports = inventory.exports.iter().filter(|(_, row)| {
            row.what.as_ref().is_some_and(|blob| lost(Kind::Blob, blob, inventory.blobs.contains_key(blob)))
        });
        self.exports.extend(exports.map(|(key, _)| *key));
    }
}

/// Least recently used first, what nothing leads to before everything; of one time, what leads before what is led to.
fn order(inventory: &Inventory, object: &Object) -> (Option<Time>, u8, Digest) {
    let refers = inventory.layers.get(&object.id).is_some_and(|row| !row.what.is_empty());
    let rank = match object.kind {
        Kind::Image => 0,
        Kind::Layer if refers => 1,
        _ => 2,
    };
    (object.used, rank, object.id)
}

/// What leads to what.
struct Graph<'a> {
    inventory: &'a Inventory,
    /// Whether images without a name may go.
    images: bool,
    kept: BTreeSet<(Kind, Digest)>,
    used: BTreeMap<(Kind, Digest), Time>,
    leads: BTreeMap<(Kind, Digest), (usize, Option<Time>)>,
    /// What must go before: images and layers that lead to it.
    holders: BTreeMap<(Kind, Digest), Vec<(Kind, Digest)>>,
}

impl<'a> Graph<'a> {
    fn new(inventory: &'a Inventory, images: bool) -> Self {
        let mut graph = Self {
            inventory,
            images,
            kept: BTreeSet::new(),
            used: BTreeMap::new(),
            leads: BTreeMap::new(),
            holders: BTreeMap::new(),
        };
        graph.hold();
        graph.lead();
        graph.keep();
        graph.age();
        graph
    }

    /// Edges between objects.
    fn hold(&mut self) {
        for (id, image) in &self.inventory.images {
            let layers = image.what.layers.iter().map(|layer| (Kind::Layer, *layer));
            for held in layers.chain(image.what.blobs.iter().map(|blob| (Kind::Blob, *blob))) {
                self.holders.entry(held).or_default().push((Kind::Image, *id));
            }
        }
        for (id, layer) in &self.inventory.layers {
            for below in layer.what.iter().filter(|below| *below != id) {
                self.holders.entry((Kind::Layer, *below)).or_default().push((Kind::Layer, *id));
            }
        }
    }

    /// Edges from records and exports.
    fn lead(&mut self) {
        for record in self.inventory.records.values() {
            let lead = self.leads.entry((Kind::Layer, record.what.layer)).or_default();
            *lead = (lead.0 + 1, lead.1.max(Some(record.what.created)));
            later(&mut self.used, (Kind::Layer, record.what.layer), record.used);
        }
        for export in self.inventory.exports.values() {
            let Some(blob) = export.what else { continue };
            let lead = self.leads.entry((Kind::Blob, blob)).or_default();
            *lead = (lead.0 + 1, lead.1.max(Some(export.used)));
            later(&mut self.used, (Kind::Blob, blob), export.used);
        }
    }

    /// What names, containers and leases keep, and all that this leads to.
    fn keep(&mut self) {
        let mut todo: Vec<(Kind, Digest)> = Vec::new();
        let rooted = |id: &Digest| {
            let roots = [&self.inventory.tagged, &self.inventory.contained];
            roots.iter().any(|roots| roots.contains(id)) || !self.images || self.is_leased(id)
        };
        todo.extend(self.inventory.images.keys().filter(|id| rooted(id)).map(|id| (Kind::Image, *id)));
        todo.extend(
            self.inventory.layers.keys().filter(|id| self.is_leased(id)).map(|id| (Kind::Layer, *id)),
        );
        todo.extend(self.inventory.blobs.keys().filter(|id| self.is_leased(id)).map(|id| (Kind::Blob, *id)));
        while let Some(node) = todo.pop() {
            if self.kept.insert(node) {
                todo.extend(self.below(node));
            }
        }
    }

    /// Times of use go down to what is led to.
    fn age(&mut self) {
        let inventory = self.inventory;
        for (id, image) in &inventory.images {
            // Steps that lead to its topmost layer are builds of it.
            let built = image.what.layers.last().and_then(|top| self.used.get(&(Kind::Layer, *top)));
            let used = built.map_or(image.used, |built| image.used.max(*built));
            later(&mut self.used, (Kind::Image, *id), used);
        }
        let mut todo: Vec<(Kind, Digest)> = self.used.keys().copied().collect();
        while let Some(node) = todo.pop() {
            let Some(used) = self.used.get(&node).copied() else { continue };
            for below in self.below(node) {
                if later(&mut self.used, below, used) {
                    todo.push(below);
                }
            }
        }
    }

    fn below(&self, (kind, id): (Kind, Digest)) -> Vec<(Kind, Digest)> {
        match kind {
            Kind::Image => {
                let Some(image) = self.inventory.images.get(&id) else { return Vec::new() };
                let layers = image.what.layers.iter().map(|layer| (Kind::Layer, *layer));
                layers.chain(image.what.blobs.iter().map(|blob| (Kind::Blob, *blob))).collect()
            }
            Kind::Layer => {
                let row = self.inventory.layers.get(&id);
                row.into_iter().flat_map(|row| &row.what).map(|below| (Kind::Layer, *below)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether something that stays leads to it.
    fn is_held(&self, object: &Object, gone: &BTreeSet<(Kind, Digest)>) -> bool {
        let there = |(kind, id): &(Kind, Digest)| match kind {
            Kind::Image => self.inventory.images.contains_key(id),
            _ => self.inventory.layers.contains_key(id),
        };
        let holders = self.holders.get(&(object.kind, object.id));
        holders.into_iter().flatten().any(|holder| there(holder) && !gone.contains(holder))
    }

    fn is_leased(&self, id: &Digest) -> bool {
        self.inventory.leased.contains(id.bytes())
    }

    fn objects(&self) -> Vec<Object> {
        let inventory = self.inventory;
        let mut objects = Vec::new();
        let mut add = |kind, id: &Digest, bytes, own: Option<Time>, text: &str| {
            let used = self.used.get(&(kind, *id)).copied().max(own);
            let (leads, created) = self.leads.get(&(kind, *id)).copied().unwrap_or_default();
            let (kept, in_use) = (self.kept.contains(&(kind, *id)), self.is_leased(id));
            objects.push(Object {
                kind,
                id: *id,
                bytes,
                used,
                created,
                kept,
                in_use,
                leads,
                text: text.to_owned(),
            });
        };
        inventory.images.iter().for_each(|(id, row)| add(Kind::Image, id, row.bytes, Some(row.used), ""));
        inventory.layers.iter().for_each(|(id, row)| add(Kind::Layer, id, row.bytes, None, ""));
        // A blob that nothing leads to may be what a base came in: it has a time of its own.
        inventory.blobs.iter().for_each(|(id, row)| add(Kind::Blob, id, row.bytes, Some(row.used), ""));
        inventory
            .mounts
            .iter()
            .for_each(|(id, row)| add(Kind::Mount, id, row.bytes, Some(row.used), &row.what));
        inventory.contexts.iter().for_each(|(id, row)| add(Kind::Context, id, row.bytes, Some(row.used), ""));
        let logged: BTreeSet<Digest> =
            inventory.records.values().filter_map(|record| record.what.log).collect();
        let orphans = inventory.logs.iter().filter(|(key, _)| !logged.contains(*key));
        orphans.for_each(|(id, row)| add(Kind::Log, id, row.bytes, Some(row.used), ""));
        objects
    }
}

/// All objects of a store, as `system df` counts them: nothing that an image keeps could go.
#[must_use]
pub fn objects(inventory: &Inventory) -> Vec<Object> {
    Graph::new(inventory, false).objects()
}

fn later<K: Ord>(times: &mut BTreeMap<K, Time>, key: K, time: Time) -> bool {
    let known = times.entry(key).or_insert(Time { seconds: i64::MIN, nanoseconds: 0 });
    let is_later = *known < time;
    if is_later {
        *known = time;
    }
    is_later
}
