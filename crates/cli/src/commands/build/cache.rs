//! `--cache-from` and `--cache-to`: what other machines know, before the build; what this one knows, after it.

use std::error::Error as _;

use galley_engine::{
    Cancel, Error, ErrorKind, Event, Events, Fetcher,
    build::Built,
    export::PackedImage,
    import::Layout,
    plan::Plan,
    shared::{self, Cache, CacheOptions, Caches},
};
use galley_oci::{Descriptor, Platform, TimePolicy};

use super::{BuildArgs, outputs::timed};
use crate::{
    args::{
        cache::{CacheFrom, CacheSource, CacheTarget, CacheTo},
        truth,
    },
    registry::{self, Registries, RemoteImages},
};

/// docker's older way to say `--cache-to type=inline`.
const INLINE_ARGUMENT: &str = "BUILDKIT_INLINE_CACHE";

/// Reads the caches. One that is not there or not usable is no reason not to build, but it is said.
pub(super) fn import(
    given: &[Option<CacheFrom>],
    remote: &RemoteImages<'_>,
    platforms: &[&Platform],
    events: &Events,
) -> Result<Caches, Error> {
    let mut caches = Vec::new();
    for from in given.iter().flatten() {
        // Under one name there may be an image, with its cache, for each platform; one of them is of use already.
        let (mut found, mut missing) = (false, None);
        for platform in platforms {
            match open(from, remote, platform) {
                Ok(cache) => {
                    found = true;
                    caches.push(cache);
                }
                Err(error) if error.kind == ErrorKind::Cancelled => return Err(error),
                Err(error) => missing = missing.or(Some(error)),
            }
        }
        if let Some(error) = missing.filter(|_| !found) {
            warn(events, &format!("the cache {} is not used", from.text), &error);
        }
    }
    Ok(Caches::new(caches))
}

fn open(from: &CacheFrom, remote: &RemoteImages<'_>, platform: &Platform) -> Result<Cache, Error> {
    match &from.place {
        CacheSource::Local { path, .. } if !path.exists() => {
            Err(Error::new(ErrorKind::NotFound, "there is no such folder"))
        }
        CacheSource::Local { path, selector } => {
            Cache::in_layout(&from.text, &Layout::open(path)?, selector, platform)
        }
        CacheSource::Registry(reference) => {
            let missing = || {
                let why = match remote.registries.is_offline() {
                    true => "--offline forbids to ask for it",
                    false => "there is nothing of that name",
                };
                Error::new(ErrorKind::NotFound, why)
            };
            let first = remote.first(reference)?.ok_or_else(missing)?;
            let manifest = |wanted: &Descriptor| remote.document(reference, wanted);
            let config = |wanted: &Descriptor| remote.config(reference, wanted);
            let source = remote.registries.blobs(reference);
            Cache::open(&from.text, first, platform, &manifest, &config, source)
        }
    }
}

/// Says why something is done without, in one line.
pub(super) fn warn(events: &Events, what: &str, error: &Error) {
    let mut message = format!("{what}: {}", error.message);
    let mut cause = error.source();
    while let Some(why) = cause {
        let why_text = why.to_string();
        if !message.contains(&why_text) {
            message += &format!(": {why_text}");
        }
        cause = why.source();
    }
    let help = error.help.first().cloned();
    events.emit(Event::Warning { rule: None, message, place: None, help });
}

/// The build begins anew. That a cache has only the names of a step's files is how it was written (`mode=min`); that it
/// lost them is worth a word.
pub(super) fn start_over(events: &Events, error: &Error, stop: &Cancel) -> Result<(), Error> {
    if stop.is_cancelled() {
        return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
    }
    if error.source.is_some() {
        warn(events, "a cache does not have what it promised, the step is built here", error);
    }
    Ok(())
}

/// Whether the image is to carry its cache in its config.
pub(super) fn is_inline(arguments: &BuildArgs) -> bool {
    let asked = |argument: &String| match argument.split_once('=') {
        Some((name, value)) => name == INLINE_ARGUMENT && truth(value) == Some(true),
        None => false,
    };
    arguments.cache_to.iter().flatten().any(|to| to.place == CacheTarget::Inline)
        || arguments.build_arg.iter().any(asked)
}

/// Whether a cache is written outside of the image: that needs files.
pub(super) fn is_written(arguments: &BuildArgs) -> bool {
    arguments.cache_to.iter().flatten().any(|to| to.place != CacheTarget::Inline)
}

/// What caches are written from.
pub(super) struct Export<'a> {
    pub(super) fetcher: &'a Fetcher<'a>,
    pub(super) plan: &'a Plan,
    pub(super) built: &'a Built,
    /// Of the image.
    pub(super) times: TimePolicy,
    pub(super) registries: &'a Registries,
    /// Whether there is an image, which may carry the cache.
    pub(super) image: bool,
}

impl Export<'_> {
    /// Writes every cache that is asked for.
    pub(super) fn all(&self, given: &[Option<CacheTo>]) -> Result<(), Error> {
        for to in given.iter().flatten() {
            let (place, name) = match &to.place {
                CacheTarget::Inline if self.image => continue,
                CacheTarget::Inline => {
                    let why = Error::new(ErrorKind::Usage, "this build makes no image");
                    warn(self.fetcher.events, "no cache was written into the image", &why);
                    continue;
                }
                CacheTarget::Local(folder) => ("folder", folder.path.display().to_string()),
                CacheTarget::Registry(reference) => ("registry", reference.familiar()),
            };
            let what = format!("exporting cache to {place} {name}");
            timed(self.fetcher.events, what, || self.forgiving(to, &name))?;
        }
        Ok(())
    }

    fn forgiving(&self, to: &CacheTo, name: &str) -> Result<(), Error> {
        match self.one(to) {
            Err(error)
                if to.ignore_error && !matches!(error.kind, ErrorKind::Cancelled | ErrorKind::CacheLost) =>
            {
                warn(self.fetcher.events, &format!("no cache was written to {name}"), &error);
                Ok(())
            }
            other => other,
        }
    }

    fn one(&self, to: &CacheTo) -> Result<(), Error> {
        let options = CacheOptions { extent: to.extent, packing: to.packing, times: self.times };
        let cache: PackedImage = shared::pack(self.fetcher, self.plan, self.built, &options)?;
        match &to.place {
            CacheTarget::Inline => Ok(()),
            CacheTarget::Local(folder) => shared::write(self.fetcher, &cache, folder),
            CacheTarget::Registry(reference) => {
                registry::push_image(self.registries, self.fetcher, &cache, reference, &[]).map(drop)
            }
        }
    }
}
