//! Images of the store: found by name or id, listed, described, tagged, removed.

mod descendants;
mod digests;
mod history;
mod inspect;
mod list;
mod platforms;
mod remove;

use galley_oci::{ImageConfig, Reference, Time};
use galley_store::{Image, Store, StoreError};

pub use self::descendants::with_descendants;
pub use self::digests::repo_digest;
pub use self::history::{HistoryLine, history};
pub use self::inspect::inspect;
pub(crate) use self::list::size;
pub use self::list::{ImageSummary, Size, list};
pub use self::platforms::{all, find_for, lookup_for, platform_of};
pub(crate) use self::platforms::{name_all, pick};
pub use self::remove::{Removed, remove};
use crate::{Error, ErrorKind};

/// The image that `name` means: a tag, `name@digest`, an id or the first digits of one.
pub fn find(store: &Store, name: &str) -> Result<Image, Error> {
    lookup(store, name)?.ok_or_else(|| no_such_image(store, name))
}

/// As [`find`]; none is no error.
pub fn lookup(store: &Store, name: &str) -> Result<Option<Image>, Error> {
    let by_name = match name.parse::<Reference>() {
        Ok(reference) => {
            let reference = reference.with_default_tag();
            let id = store.resolve(&reference).map_err(unreadable)?;
            id.or_else(|| digests::image_of(store, reference.digest.as_ref()?))
        }
        Err(_) => None,
    };
    let id = match by_name {
        Some(id) => Some(id),
        None => store.image_by_prefix(name).map_err(|error| {
            Error::new(ErrorKind::Usage, format!("{name:?} names no single image")).because(error)
        })?,
    };
    id.map_or(Ok(None), |id| store.image(&id).map_err(unreadable))
}

/// Gives the image `from`, on all its platforms, the further name `to`.
pub fn tag(store: &Store, from: &str, to: &str) -> Result<(), Error> {
    let images = all(store, from)?;
    let with_platform = images.into_iter().map(|image| platform_of(&image).map(|platform| (image, platform)));
    name_all(store, &parse_tag(to)?, &with_platform.collect::<Result<Vec<_>, _>>()?)
}

/// A name that an image may be given: a tag without a digest.
pub fn parse_tag(name: &str) -> Result<Reference, Error> {
    let usage = |message: String| Error::new(ErrorKind::Usage, message);
    let reference: Reference = name
        .parse()
        .map_err(|error| usage(format!("{name:?} cannot be the name of an image")).because(error))?;
    if reference.digest.is_some() {
        return Err(usage(format!("{name:?} has a digest, which a tag cannot have")).help("write name:tag"));
    }
    Ok(reference.with_default_tag())
}

/// The parsed config of `image`.
pub fn config(image: &Image) -> Result<ImageConfig, Error> {
    ImageConfig::parse(&image.config).map_err(|error| {
        Error::new(ErrorKind::Store, format!("the config of image {} is damaged", image.id.short()))
            .because(error)
    })
}

/// When `image` was made, as its config says; when it came into the store, if that says nothing.
#[must_use]
pub fn created(image: &Image) -> Time {
    created_in(&image.config, image.created)
}

/// The same for the bytes of a config.
pub(crate) fn created_in(config: &[u8], otherwise: Time) -> Time {
    let said = ImageConfig::parse(config).ok().and_then(|config| config.created);
    said.as_deref().and_then(Time::parse_rfc3339).unwrap_or(otherwise)
}

fn no_such_image(store: &Store, name: &str) -> Error {
    let error = Error::new(ErrorKind::NotFound, format!("no such image: {name}"));
    let known: Vec<String> = store.tags().unwrap_or_default().iter().map(|(tag, _)| tag.familiar()).collect();
    let similar = known.iter().find(|tag| tag.split(':').next() == name.split(':').next());
    match similar {
        Some(tag) => error.help(format!("there is {tag}")),
        None => {
            error.help("`galley images` lists what is there; `galley pull` fetches an image from a registry")
        }
    }
}

pub(crate) fn unreadable(error: StoreError) -> Error {
    Error::new(ErrorKind::Store, "cannot read the store's images").because(error)
}
