//! What the engine asks from outside: base images, from tags and ids of the local store and from OCI layouts on disk.

use galley_engine::{
    Error, ErrorKind, images, import,
    ports::{BaseImage, ImageSource, LayoutReference},
};
use galley_oci::{Platform, Reference};
use galley_store::Store;

/// The images of one store.
#[derive(Debug)]
pub(crate) struct StoreImages<'a> {
    pub(crate) store: &'a Store,
}

impl ImageSource for StoreImages<'_> {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        let Some(image) = images::lookup(self.store, &reference.canonical())? else { return Ok(None) };
        let base = BaseImage::of_store(self.store, &reference.familiar(), image)?;
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
