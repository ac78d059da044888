//! From a finished build to an image: layers, config, history, and the times that they carry.

use std::time::Instant;

use galley_oci::{Descriptor, Digest, History, ImageConfig, Platform, Reference, RootFs, Time, TimePolicy};
use galley_store::{Image, ImageLayer, Layer, Store};

use crate::{
    Error, ErrorKind, Event, Events, Fetcher, Held,
    blobs::{self, Packing, Wanted},
    build::Built,
    clock::now,
    events::{LayerInfo, Phase},
    held::Elsewhere,
    images,
    plan::{Plan, Target},
    ports::BaseLayer,
    shared,
    snapshot::in_store,
    steps::files::store_error,
};

/// The time of everything in a reproducible image that names no other: zip and others cannot hold an earlier one.
pub const REPRODUCIBLE_TIME: Time = Time::from_seconds(315_532_800);

/// The comment of history items that BuildKit makes up for layers of a base that its history does not mention.
const UNKNOWN_LAYER_COMMENT: &str = "buildkit.exporter.image.v0";

/// Which times an image gets. All seconds count from 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeOptions {
    /// `SOURCE_DATE_EPOCH`, as in BuildKit: `created` of the image and of its new history.
    pub source_date_epoch: Option<i64>,
    /// `rewrite-timestamp`, as in BuildKit: no file is younger than `SOURCE_DATE_EPOCH`.
    pub rewrite_timestamp: bool,
    /// `--timestamp`, as in Buildah: `created`, new history and files all have this time.
    pub timestamp: Option<i64>,
    /// `--reproducible`: every time in the new layers is `SOURCE_DATE_EPOCH`, else [`REPRODUCIBLE_TIME`].
    pub reproducible: bool,
    /// When the commit of the build context was made: `created` of a reproducible image without `SOURCE_DATE_EPOCH`.
    pub commit_time: Option<i64>,
}

impl TimeOptions {
    /// What becomes of the times of files in new layers.
    #[must_use]
    pub fn policy(&self) -> TimePolicy {
        let epoch = self.source_date_epoch.map(Time::from_seconds);
        match (self.reproducible, self.timestamp, epoch) {
            (true, _, epoch) => TimePolicy::Set(epoch.unwrap_or(REPRODUCIBLE_TIME)),
            (false, Some(timestamp), _) => TimePolicy::Set(Time::from_seconds(timestamp)),
            (false, None, Some(epoch)) if self.rewrite_timestamp => TimePolicy::Clamp(epoch),
            (false, None, _) => TimePolicy::Keep,
        }
    }

    /// `created` of the image and its new history; none means when the layers were made.
    #[must_use]
    pub fn created(&self) -> Option<Time> {
        let seconds = match (self.reproducible, self.timestamp) {
            (true, _) => {
                let fallback = Some(REPRODUCIBLE_TIME.seconds);
                self.source_date_epoch.or(self.commit_time).or(fallback)
            }
            (false, Some(timestamp)) => Some(timestamp),
            (false, None) => self.source_date_epoch,
        };
        seconds.map(Time::from_seconds)
    }
}

/// How an image is put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// Its times. The plan's own `SOURCE_DATE_EPOCH` counts when there is none here.
    pub times: TimeOptions,
    /// Outputs will want the layers compressed like this: done in the same pass that finds the diffIDs.
    pub pack: Option<Packing>,
    /// The image will be kept in the store: its layers' bytes become their own in that pass too.
    pub own: bool,
    /// The config tells which steps made which layers, so that other machines can use the image as a cache.
    pub inline_cache: bool,
}

/// An image that is put together; its layers may be elsewhere still.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// SHA-256 of `config`.
    pub id: Digest,
    /// The config, as the bytes that the id is the digest of.
    pub config: Vec<u8>,
    /// Lowest first, one for each diffID of the config.
    pub layers: Vec<BaseLayer>,
    /// The manifest, as its bytes, when the image came with one.
    pub manifest: Option<Vec<u8>>,
    /// When it came into the store, or was put together.
    pub created: Time,
}

impl Assembled {
    /// An image of the store.
    pub fn of_store(store: &Store, image: &Image) -> Result<Self, Error> {
        let layers = image.layers.iter().map(|layer| {
            let held = in_store(store, &image.id.short(), &layer.layer)?.into();
            Ok(BaseLayer { diff_id: layer.diff_id, times: layer.times, blob: layer.blob.clone(), held })
        });
        Ok(Self {
            id: image.id,
            config: image.config.clone(),
            layers: layers.collect::<Result<_, Error>>()?,
            manifest: image.manifest.clone(),
            created: image.created,
        })
    }

    /// The same with every layer in the store, its bytes its own.
    pub fn settle(&self, fetcher: &Fetcher<'_>) -> Result<Image, Error> {
        fetcher.fetch(self.layers.iter().map(|layer| &layer.held))?;
        let settled = |layer: &BaseLayer| {
            let id = *fetcher.own(&layer.held)?.id();
            let (diff_id, times, blob) = (layer.diff_id, layer.times, layer.blob.clone());
            Ok(ImageLayer { layer: id, diff_id, times, blob })
        };
        let is_own = |layer: &BaseLayer| layer.held.at_hand().is_some_and(Layer::owns_bytes);
        let layers = if self.layers.iter().all(is_own) {
            // Only looked at, which takes less than to start a thread.
            self.layers.iter().map(settled).collect::<Result<_, Error>>()?
        } else {
            blobs::on_all_cores(&self.layers, fetcher.stop, |layer, _| settled(layer))?
        };
        let (config, manifest) = (self.config.clone(), self.manifest.clone());
        Ok(Image { id: self.id, config, layers, manifest, created: self.created })
    }
}

/// The image of one target, by its number in the plan. Nothing is stored yet but what is remembered of its layers.
pub fn assemble(
    fetcher: &Fetcher<'_>,
    plan: &Plan,
    target: usize,
    built: &Built,
    options: &ImageOptions,
) -> Result<Assembled, Error> {
    let unknown = || Error::new(ErrorKind::Internal, format!("the plan has no target {target}"));
    let target = plan.targets.get(target).ok_or_else(unknown)?;
    let mut times = options.times;
    times.source_date_epoch = times.source_date_epoch.or(plan.epoch);
    let new = new_layers(target, built)?;
    let mut layers = target.base.as_ref().map(|base| base.layers.clone()).unwrap_or_default();
    layers.extend(described(fetcher, &new, times.policy(), options)?);
    let mut history = target.base.as_ref().map(|base| base.config.history.clone()).unwrap_or_default();
    mention_unknown_layers(&mut history, layers.len() - new.len());
    history.extend(new_history(target, built, times.created()));
    fill_created(&mut history);
    // Of an image to which nothing was added that is its base's, whatever the options say. As BuildKit.
    let last = history.iter().rev().find_map(|item| item.created.clone());
    let created = last.or_else(|| times.created().map(Time::rfc3339));
    let diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
    let rootfs = RootFs { diff_ids, ..RootFs::default() };
    let mut config = ImageConfig { created, rootfs, history, ..target.config.clone() };
    // What a base says of its own steps is not about this image.
    for key in [shared::KEY, shared::BUILDKIT_KEY] {
        config.extra.shift_remove(key);
    }
    if options.inline_cache {
        let cache = shared::inline(target, built, &layers, times.created());
        config.extra.insert(shared::KEY.to_owned(), cache);
    }
    let config = config.to_bytes();
    let id = Digest::sha256(&config);
    Ok(Assembled { id, config, layers, manifest: None, created: now() })
}

/// Keeps what was made in the store and gives it its names: when a name appears, all it leads to is on disk and depends on
/// nothing outside. A name of several platforms leads to all of them.
pub fn keep(
    fetcher: &Fetcher<'_>,
    made: &[(&Assembled, &Platform)],
    names: &[Reference],
) -> Result<(), Error> {
    let store = fetcher.store;
    let mut images = Vec::new();
    for (image, platform) in made {
        let image = image.settle(fetcher)?;
        store.put_image(&image).map_err(store_error)?;
        images.push((image, (*platform).clone()));
    }
    timed_barrier(fetcher.events, || {
        // The first new name makes the barrier, which then writes back what its file holds, too.
        names.iter().try_for_each(|name| images::name_all(store, name, &images))?;
        store.barrier().map_err(store_error)
    })
}

/// Everything that was written is safe from now on; tells how long that took.
pub fn barrier(store: &Store, events: &Events) -> Result<(), Error> {
    timed_barrier(events, || store.barrier().map_err(store_error))
}

fn timed_barrier(events: &Events, barrier: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let started = Instant::now();
    barrier()?;
    events.emit(Event::Phase { phase: Phase::Barrier, took: started.elapsed() });
    Ok(())
}

/// What displays are told of an image: its layers, with the steps that made them.
#[must_use]
pub fn describe(image: &Assembled, target: &Target, names: &[Reference]) -> Event {
    let steps: Vec<_> = target.history.iter().filter_map(|item| item.step).collect();
    let of_base = image.layers.len().saturating_sub(steps.len());
    let layer = |(number, layer): (usize, &BaseLayer)| LayerInfo {
        diff_id: layer.diff_id.to_string(),
        layer: layer.held.id().map(ToString::to_string),
        step: number.checked_sub(of_base).and_then(|number| steps.get(number).copied()),
    };
    Event::Image {
        id: image.id.to_string(),
        platform: target.platform.to_string(),
        names: names.iter().map(Reference::familiar).collect(),
        layers: image.layers.iter().enumerate().map(layer).collect(),
    }
}

/// The layers that this build added, lowest first.
fn new_layers(target: &Target, built: &Built) -> Result<Vec<Held>, Error> {
    let steps = target.history.iter().filter_map(|item| item.step);
    let layers = steps.map(|step| {
        let layer = built.step(step).and_then(|outcome| outcome.layer.clone());
        layer.ok_or_else(|| Error::new(ErrorKind::Internal, format!("step {} made no layer", step.0)))
    });
    layers.collect()
}

/// The layers as an image lists them: their diffIDs are found, and their blobs made when they will be wanted. A layer
/// that is elsewhere stays there, unless its archive has other times; one that has come keeps the archive it came in.
fn described(
    fetcher: &Fetcher<'_>,
    layers: &[Held],
    times: TimePolicy,
    options: &ImageOptions,
) -> Result<Vec<BaseLayer>, Error> {
    // Looked at once: what others fetch meanwhile must not change which layers are made.
    let places: Vec<Option<&Elsewhere>> =
        layers.iter().map(|held| usable(fetcher.store, held, times)).collect();
    let missing = layers.iter().zip(&places).filter(|(_, place)| place.is_none()).map(|(held, _)| held);
    let missing: Vec<&Held> = missing.collect();
    fetcher.fetch(missing.iter().copied())?;
    let wanted =
        missing.iter().map(|held| Ok(Wanted { layer: held.layer()?.clone(), times, own: options.own }));
    let wanted: Vec<_> = wanted.collect::<Result<_, Error>>()?;
    let made = match options.pack {
        None => blobs::diff_ids(fetcher, &wanted)?,
        Some(packing) => {
            let packed = blobs::pack_all(fetcher, &wanted, packing)?;
            packed.into_iter().map(|layer| layer.diff_id).collect()
        }
    };
    let mut made = made.into_iter();
    let described = layers.iter().zip(&places).map(|(held, place)| {
        let lost = || Error::new(ErrorKind::Internal, "a layer was not described");
        let (diff_id, blob) = match place {
            Some(place) => (place.diff_id, Some(place.blob.clone())),
            None => (made.next().ok_or_else(lost)?, None),
        };
        Ok(BaseLayer { diff_id, times, blob, held: held.clone() })
    });
    described.collect()
}

/// The archive that tells the diffID of a layer with these times: one that stays where it is, or that has come.
fn usable<'h>(store: &Store, held: &'h Held, times: TimePolicy) -> Option<&'h Elsewhere> {
    let has_come = |blob: &Descriptor| store.blob_size(&blob.digest) == Some(blob.size);
    let mut places = held.places().iter().filter(|place| place.times == times);
    places.find(|place| held.at_hand().is_none() || has_come(&place.blob))
}

/// A base with more layers than its history tells of gets items that say so: configs must agree with themselves.
fn mention_unknown_layers(history: &mut Vec<History>, layers: usize) {
    let mentioned = history.iter().filter(|item| !item.empty_layer).count();
    for _ in mentioned..layers {
        history.push(History { comment: UNKNOWN_LAYER_COMMENT.to_owned(), ..History::default() });
    }
}

fn new_history(target: &Target, built: &Built, created: Option<Time>) -> Vec<History> {
    let made = |step| built.step(step).map(|outcome| outcome.created);
    let items = target.history.iter().map(|item| {
        let created = created.or_else(|| item.step.and_then(made));
        History {
            created: created.map(Time::rfc3339),
            created_by: item.created_by.clone(),
            comment: item.comment.clone(),
            empty_layer: item.step.is_none(),
            ..History::default()
        }
    });
    items.collect()
}

/// Gives items without a time that of the layer before; the first ones that of the first new layer. As BuildKit.
fn fill_created(history: &mut [History]) {
    let first_without = history.iter().position(|item| item.created.is_none());
    let Some(first_without) = first_without else { return };
    let (before, after) = history.split_at(first_without);
    let next = after.iter().find_map(|item| item.created.clone());
    let mut last = next.or_else(|| before.last().and_then(|item| item.created.clone()));
    for item in &mut history[first_without..] {
        match &item.created {
            Some(created) => last = Some(created.clone()),
            None => item.created.clone_from(&last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(times: &[Option<&str>]) -> Vec<History> {
        let item = |time: &Option<&str>| History { created: time.map(str::to_owned), ..History::default() };
        times.iter().map(item).collect()
    }

    fn filled(times: &[Option<&str>]) -> Vec<Option<String>> {
        let mut history = history(times);
        fill_created(&mut history);
        history.into_iter().map(|item| item.created).collect()
    }

    #[test]
    fn items_without_a_layer_take_a_neighbours_time() {
        let some = |times: &[&str]| times.iter().map(|time| Some((*time).to_owned())).collect::<Vec<_>>();
        assert_eq!(
            filled(&[Some("base"), None, Some("1"), None, Some("2"), None]),
            some(&["base", "1", "1", "1", "2", "2"])
        );
        assert_eq!(filled(&[Some("base"), None, None]), some(&["base", "base", "base"]));
        assert_eq!(filled(&[None]), [None]);
    }

    #[test]
    fn the_options_decide_the_times() {
        let epoch = TimeOptions { source_date_epoch: Some(7), ..TimeOptions::default() };
        let seven = Time::from_seconds(7);
        assert_eq!((epoch.policy(), epoch.created()), (TimePolicy::Keep, Some(seven)));
        let clamped = TimeOptions { rewrite_timestamp: true, ..epoch };
        assert_eq!(clamped.policy(), TimePolicy::Clamp(seven));
        let reproducible = TimeOptions { reproducible: true, commit_time: Some(9), ..TimeOptions::default() };
        assert_eq!(reproducible.policy(), TimePolicy::Set(REPRODUCIBLE_TIME));
        assert_eq!(reproducible.created(), Some(Time::from_seconds(9)));
        let both = TimeOptions { source_date_epoch: Some(7), ..reproducible };
        assert_eq!((both.policy(), both.created()), (TimePolicy::Set(seven), Some(seven)));
        let stamped = TimeOptions { timestamp: Some(5), ..epoch };
        let five = Time::from_seconds(5);
        assert_eq!((stamped.policy(), stamped.created()), (TimePolicy::Set(five), Some(five)));
    }

    #[test]
    fn layers_that_the_base_does_not_mention_are_mentioned() {
        let mut items = history(&[Some("1")]);
        mention_unknown_layers(&mut items, 3);
        assert_eq!(items.iter().filter(|item| item.comment == UNKNOWN_LAYER_COMMENT).count(), 2);
    }
}
