//! What the engine asks from outside: base images, from tags and ids of the local store, from OCI layouts on disk, from
//! registries.

use galley_engine::{
    Cancel, Error, ErrorKind, images, import,
    ports::{BaseImage, ImageSource, LayoutReference},
};
use galley_oci::{Digest, Platform, Reference};
use galley_store::Store;

use crate::{
    context::Context,
    registry::{Ask, Registries, RemoteImages},
};

/// The images of one store, and those of registries.
#[derive(Debug)]
pub(crate) struct StoreImages<'a> {
    store: &'a Store,
    remote: RemoteImages<'a>,
    ask: Ask,
}

impl<'a> StoreImages<'a> {
    /// Those that a command works with, until `stop`.
    pub(crate) fn new(store: &'a Store, context: &Context, ask: Ask, stop: &Cancel) -> Self {
        let registries = Registries::new(context, stop).offline(ask == Ask::Never);
        Self { store, remote: RemoteImages { store, registries, since: context.started }, ask }
    }

    /// Where registries are asked.
    pub(crate) const fn registries(&self) -> &Registries {
        &self.remote.registries
    }

    /// The digest that a name has at its registry now; none when it has none, or may not be asked.
    pub(crate) fn digest(&self, reference: &Reference) -> Result<Option<Digest>, Error> {
        if self.ask == Ask::Never {
            return Ok(None);
        }
        Ok(self.remote.first(reference)?.map(|(descriptor, _)| descriptor.digest))
    }

    /// The image of a registry alone.
    pub(crate) fn of_registry(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<BaseImage>, Error> {
        Ok(self.remote.find(reference, platform)?.map(|found| found.base))
    }

    /// The id of the image that a name has in the store.
    pub(crate) fn local_id(&self, reference: &Reference) -> Result<Option<Digest>, Error> {
        Ok(images::lookup(self.store, &reference.canonical())?.map(|image| image.id))
    }

    /// The image of the store alone.
    pub(crate) fn of_store(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<BaseImage>, Error> {
        Ok(self.local(reference, platform)?.filter(|local| platform.rank(&platform_of(local)).is_some()))
    }

    /// What the store has under a name: for `platform`, or for another one when there is nothing else.
    fn local(&self, reference: &Reference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        let name = reference.canonical();
        let image = match images::lookup_for(self.store, &name, Some(platform)) {
            Err(error) if error.kind == ErrorKind::NotFound => images::lookup(self.store, &name)?,
            found => found?,
        };
        image.map(|image| BaseImage::of_store(self.store, &reference.familiar(), image)).transpose()
    }
}

impl ImageSource for StoreImages<'_> {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        let local = match self.ask {
            Ask::Always => None,
            Ask::Missing | Ask::Never => self.local(reference, platform)?,
        };
        let local = match local {
            Some(local) if platform.rank(&platform_of(&local)).is_some() => return Ok(Some(local)),
            other => other,
        };
        let remote = self.remote.find(reference, platform).map_err(|error| match &local {
            Some(local) => {
                let own = platform_of(local);
                error.help(format!("the local store has it for {own} alone; --offline takes that"))
            }
            None => self.advise(error, reference),
        })?;
        match (remote, local) {
            (Some(found), _) => Ok(Some(found.base)),
            // Its files can be copied, and its programs may run under emulation; the plan warns.
            (None, local @ Some(_)) => Ok(local),
            (None, None) => Ok(None),
        }
    }

    fn is_slow(&self, reference: &Reference) -> bool {
        let here = self.ask != Ask::Always && self.store.resolve(reference).is_ok_and(|id| id.is_some());
        !here && self.remote.would_ask(reference)
    }

    fn looked_in(&self, reference: &Reference) -> String {
        match self.ask {
            Ask::Missing => format!("in the local store and at the registry {}", reference.registry),
            Ask::Always => format!("at the registry {} (--pull)", reference.registry),
            Ask::Never => "in the local store (--offline: no registry was asked)".to_owned(),
        }
    }

    fn layout(&self, layout: &LayoutReference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        let selector = match (&layout.digest, &layout.tag) {
            (Some(digest), _) => import::Selector::Digest(*digest),
            (None, Some(tag)) => import::Selector::Tag(tag.clone()),
            (None, None) => import::Selector::Any,
        };
        let image = import::Layout::open(&layout.path)?.image(self.store, &selector, platform)?;
        Ok(Some(BaseImage { name: layout.to_string(), ..image }))
    }

    fn suggest(&self, name: &str) -> Vec<String> {
        let tags = self.store.tags().unwrap_or_default();
        let last =
            |name: &str| name.rsplit('/').next().unwrap_or(name).split(':').next().unwrap_or(name).to_owned();
        let wanted = last(name);
        tags.iter().map(|(tag, _)| tag.familiar()).filter(|tag| last(tag) == wanted).collect()
    }
}

impl StoreImages<'_> {
    /// A name that was typed wrong makes a registry refuse; the right one may be here.
    fn advise(&self, error: Error, reference: &Reference) -> Error {
        let similar = match error.kind {
            ErrorKind::Registry => self.suggest(&reference.familiar()),
            _ => Vec::new(),
        };
        if similar.is_empty() {
            error
        } else {
            error.help(format!("the local store has {}", similar.join(", ")))
        }
    }
}

/// Which machine an image is for.
fn platform_of(image: &BaseImage) -> Platform {
    let config = &image.config;
    Platform { variant: config.variant.clone(), ..Platform::new(&config.os, &config.architecture) }
}
