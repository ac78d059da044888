//! From a finished build to a cache of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use galley_oci::{Descriptor, Digest, Manifest, Time, TimePolicy, media_type};
use serde_json::Value;

use super::document::{ARTIFACT, BlobEntry, CONFIG, Document, LayerEntry, RecordEntry};
use crate::{
    Error, ErrorKind, Fetcher, Held,
    blobs::{self, PackedLayer, Packing, Wanted},
    build::{Built, Outcome},
    export::{PackedBlob, PackedImage},
    plan::{Plan, StepId, Target},
    ports::BaseLayer,
};

/// How much of a build goes into a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// Files of the steps that are in the resulting image. Of all others only their names: they are not run again
    /// either, as long as nobody needs their files.
    #[default]
    Min,
    /// Files of all steps.
    Max,
}

/// How a cache is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct CacheOptions {
    /// Of which steps the files go along.
    pub extent: Extent,
    /// For layers that are in no cache yet.
    pub packing: Packing,
    /// What becomes of times in the image: its layers are there in this form too, so that it can be put together
    /// without a look at them.
    pub times: TimePolicy,
}

/// The cache of a build, for all its platforms. Layers that came from a cache and were not needed stay where they are;
/// nothing is fetched.
pub fn pack(
    fetcher: &Fetcher<'_>,
    plan: &Plan,
    built: &Built,
    options: &CacheOptions,
) -> Result<PackedImage, Error> {
    let result: Vec<StepId> = plan.targets.iter().flat_map(steps_of).collect();
    let wishes = wishes(built, &result, options)?;
    let wanted: Vec<Wanted> = wishes.iter().filter_map(Wish::to_pack).collect();
    let made = blobs::pack_all(fetcher, &wanted, options.packing)?;
    let mut made = made.into_iter();
    let mut pieces = Pieces::default();
    let mut places = BTreeMap::new();
    for wish in &wishes {
        let entry = match &wish.from {
            From::Place(index) => pieces.elsewhere(fetcher, wish, *index),
            From::Store => {
                let lost = || Error::new(ErrorKind::Internal, "a layer was not packed");
                Some(pieces.made(&made.next().ok_or_else(lost)?, wish.times, options.packing))
            }
        };
        places.entry(wish.layer).or_insert_with(Vec::new).extend(entry);
    }
    let records = records(built, None);
    let document = document(&records, |layer| places.remove(layer).unwrap_or_default());
    Ok(packed(&document, pieces.blobs, newest(&records)))
}

/// The same document for the config of an image whose layers are `layers`, the last ones those of the steps of
/// `target`. `created` stands for the time at which steps were made, when the image is to name no other.
pub(crate) fn inline(target: &Target, built: &Built, layers: &[BaseLayer], created: Option<Time>) -> Value {
    let steps = steps_of(target);
    let first = layers.len().saturating_sub(steps.len());
    let mut places: HashMap<Digest, Vec<BlobEntry>> = HashMap::new();
    for (index, layer) in layers.iter().enumerate().skip(first) {
        let Some(id) = layer.held.id() else { continue };
        // One archive is enough; a step that changes nothing makes the layer of another one again.
        places.entry(*id).or_insert_with(|| {
            vec![BlobEntry { blob: index, diff_id: layer.diff_id, times: layer.times.into() }]
        });
    }
    let document = document(&records(built, created), |layer| places.remove(layer).unwrap_or_default());
    serde_json::to_value(document).unwrap_or_default()
}

/// The steps whose layers the image has on top of its base, lowest first.
fn steps_of(target: &Target) -> Vec<StepId> {
    target.history.iter().filter_map(|item| item.step).collect()
}

/// An archive that is to be in the cache.
struct Wish<'a> {
    layer: Digest,
    held: &'a Held,
    times: TimePolicy,
    from: From,
}

/// Where an archive comes from.
enum From {
    /// It is made.
    Store,
    /// It is somewhere already: one of the layer's places.
    Place(usize),
}

impl Wish<'_> {
    fn to_pack(&self) -> Option<Wanted> {
        match self.from {
            From::Store => {
                Some(Wanted { layer: self.held.at_hand()?.clone(), times: self.times, own: false })
            }
            From::Place(_) => None,
        }
    }
}

/// What is there, in the plan's order; each layer once.
fn wishes<'a>(built: &'a Built, result: &[StepId], options: &CacheOptions) -> Result<Vec<Wish<'a>>, Error> {
    let of_result: HashSet<&Digest> =
        result.iter().filter_map(|step| built.step(*step)?.layer.as_ref()?.id()).collect();
    let mut seen = HashSet::new();
    let mut wishes = Vec::new();
    for (layer, outcome) in steps(built) {
        let Some(held) = &outcome.layer else { continue };
        let in_result = of_result.contains(&layer);
        if !seen.insert(layer) || !(in_result || options.extent == Extent::Max) {
            continue;
        }
        let mut known = HashSet::new();
        for (index, place) in held.places().iter().enumerate() {
            known.insert(policy_key(place.times));
            wishes.push(Wish { layer, held, times: place.times, from: From::Place(index) });
        }
        let policies = if in_result { vec![TimePolicy::Keep, options.times] } else { vec![TimePolicy::Keep] };
        for times in policies {
            if held.at_hand().is_some() && known.insert(policy_key(times)) {
                wishes.push(Wish { layer, held, times, from: From::Store });
            }
        }
    }
    Ok(wishes)
}

fn policy_key(times: TimePolicy) -> (u8, Time) {
    match times {
        TimePolicy::Keep => (0, Time::default()),
        TimePolicy::Set(time) => (1, time),
        TimePolicy::Clamp(time) => (2, time),
    }
}

/// All steps that made a layer, with its id.
fn steps(built: &Built) -> impl Iterator<Item = (Digest, &Outcome)> {
    built.steps.iter().filter_map(|outcome| Some((*outcome.layer.as_ref()?.id()?, outcome)))
}

/// What is remembered: sorted, so that the same build is always the same cache.
fn records(built: &Built, created: Option<Time>) -> BTreeMap<Digest, (Digest, Time)> {
    let record = |(layer, outcome): (Digest, &Outcome)| {
        Some((outcome.key?, (layer, created.unwrap_or(outcome.created))))
    };
    steps(built).filter_map(record).collect()
}

fn newest(records: &BTreeMap<Digest, (Digest, Time)>) -> Time {
    records.values().map(|(_, created)| *created).max().unwrap_or_default()
}

fn document(
    records: &BTreeMap<Digest, (Digest, Time)>,
    mut places: impl FnMut(&Digest) -> Vec<BlobEntry>,
) -> Document {
    let mut document = Document::default();
    let mut known = HashMap::new();
    for (key, (layer, created)) in records {
        let index = *known.entry(*layer).or_insert_with(|| {
            document.layers.push(LayerEntry { layer: *layer, blobs: places(layer) });
            document.layers.len() - 1
        });
        document.records.push(RecordEntry { key: *key, layer: index, created: created.rfc3339() });
    }
    document
}

/// The blobs of a cache, each once.
#[derive(Default)]
struct Pieces {
    blobs: Vec<PackedBlob>,
    known: HashMap<Digest, usize>,
}

impl Pieces {
    fn add(&mut self, blob: PackedBlob) -> usize {
        *self.known.entry(blob.descriptor.digest).or_insert_with(|| {
            self.blobs.push(blob);
            self.blobs.len() - 1
        })
    }

    fn made(&mut self, layer: &PackedLayer, times: TimePolicy, packing: Packing) -> BlobEntry {
        let media_type = media_type::oci_layer(packing.compression);
        let descriptor = Descriptor::new(media_type, layer.digest, layer.size);
        let blob = self.add(PackedBlob { descriptor, elsewhere: None, known_in: Vec::new() });
        BlobEntry { blob, diff_id: layer.diff_id, times: times.into() }
    }

    /// An archive that came with a record: the store has it, or whoever promised it.
    fn elsewhere(&mut self, fetcher: &Fetcher<'_>, wish: &Wish<'_>, index: usize) -> Option<BlobEntry> {
        let place = wish.held.places().get(index)?;
        let compression = media_type::layer_compression(&place.blob.media_type)?;
        let descriptor =
            Descriptor::new(media_type::oci_layer(compression), place.blob.digest, place.blob.size);
        let here = fetcher.store.blob_size(&descriptor.digest) == Some(descriptor.size);
        let elsewhere = (!here).then(|| place.source.clone());
        let blob = self.add(PackedBlob { descriptor, elsewhere, known_in: vec![place.source.clone()] });
        Some(BlobEntry { blob, diff_id: place.diff_id, times: wish.times.into() })
    }
}

fn packed(document: &Document, layers: Vec<PackedBlob>, created: Time) -> PackedImage {
    let config = document.to_config();
    let config_descriptor = Descriptor::of(CONFIG, &config);
    let descriptors = layers.iter().map(|layer| layer.descriptor.clone()).collect();
    let mut manifest = Manifest::new(config_descriptor.clone(), descriptors);
    manifest.artifact_type = Some(ARTIFACT.to_owned());
    let manifest = manifest.to_bytes();
    let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, &manifest);
    descriptor.artifact_type = Some(ARTIFACT.to_owned());
    PackedImage { manifest, descriptor, config_descriptor, config, layers, created }
}
