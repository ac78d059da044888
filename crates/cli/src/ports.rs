//! What the engine asks from outside: base images, from tags and ids of the local store and from OCI layouts on disk.

use galley_engine::{
    Error, ErrorKind, images, import,
    ports::{BaseImage, ImageSource, LayoutReference},
};
use galley_oci::{Platform, Reference};
use galley_store::{Image, Store};

/// The images of one store.
#[derive(Debug)]
pub(crate) struct StoreImages<'a> {
    pub(crate) store: &'a Store,
    /// Layouts may be brought into the store; outside of the user namespace only what is there already is found.
    pub(crate) may_write: bool,
}

impl ImageSource for StoreImages<'_> {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        let Some(image) = images::lookup(self.store, &reference.canonical())? else { return Ok(None) };
        let base = base(&reference.familiar(), image)?;
        let own = Platform {
            variant: base.config.variant.clone(),
            ..Platform::new(&base.config.os, &base.config.architecture)
        };
        if platform.rank(&own).is_none() {
            let message = format!("the image {} is for {own}, not for {platform}", reference.familiar());
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        Ok(Some(base))
    }

    fn layout(&self, layout: &LayoutReference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        let selector = match (&layout.digest, &layout.tag) {
            (Some(digest), _) => import::Selector::Digest(*digest),
            (None, Some(tag)) => import::Selector::Tag(tag.clone()),
            (None, None) => import::Selector::Any,
        };
        let image = import::import_layout(self.store, &layout.path, &selector, platform, self.may_write)?;
        base(&layout.to_string(), image).map(Some)
    }

    fn suggest(&self, name: &str) -> Vec<String> {
        let tags = self.store.tags().unwrap_or_default();
        let last =
            |name: &str| name.rsplit('/').next().unwrap_or(name).split(':').next().unwrap_or(name).to_owned();
        let wanted = last(name);
        tags.iter().map(|(tag, _)| tag.familiar()).filter(|tag| last(tag) == wanted).collect()
    }
}

fn base(name: &str, image: Image) -> Result<BaseImage, Error> {
    let config = images::config(&image)?;
    Ok(BaseImage { name: name.to_owned(), id: image.id, config, layers: image.layers })
}
