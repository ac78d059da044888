//! Names of several images, one for each platform: which of them is meant.

use galley_oci::{Platform, Reference};
use galley_store::{Image, Store};

use super::{config, find, lookup, unreadable};
use crate::{Error, ErrorKind};

/// All images that `name` means, in the order of their index; the one image where there are not several.
pub fn all(store: &Store, name: &str) -> Result<Vec<Image>, Error> {
    match several(store, name)? {
        images if images.is_empty() => Ok(vec![find(store, name)?]),
        images => Ok(images),
    }
}

/// The image that `name` means for `platform`; without a platform, for this machine. None is no error, but one for
/// another platform is.
pub fn lookup_for(store: &Store, name: &str, platform: Option<&Platform>) -> Result<Option<Image>, Error> {
    let Some(platform) = platform else { return lookup(store, name) };
    let mut images = several(store, name)?;
    if images.is_empty() {
        images.extend(lookup(store, name)?);
    }
    if images.is_empty() { Ok(None) } else { pick(name, images, platform).map(Some) }
}

/// As [`lookup_for`]; none is an error.
pub fn find_for(store: &Store, name: &str, platform: Option<&Platform>) -> Result<Image, Error> {
    match lookup_for(store, name, platform)? {
        Some(image) => Ok(image),
        // Says what there is instead.
        None => find(store, name),
    }
}

/// Whom an image is for, as its config says.
pub fn platform_of(image: &Image) -> Result<Platform, Error> {
    Ok(config(image)?.platform().normalised())
}

/// Makes `name` mean `images`, which are in the store. Where nobody speaks of platforms it means the one for this machine,
/// or the first when there is none.
pub(crate) fn name_all(store: &Store, name: &Reference, images: &[(Image, Platform)]) -> Result<(), Error> {
    let platforms: Vec<Platform> = images.iter().map(|(_, platform)| platform.clone()).collect();
    let main = nearest(&platforms, &Platform::of_this_machine()).unwrap_or_default();
    let Some((main, _)) = images.get(main) else { return Ok(()) };
    let ids: Vec<_> = images.iter().map(|(image, _)| image.id).collect();
    let several = if ids.len() > 1 { ids.as_slice() } else { &[] };
    let known = store.find_tag(name).map_err(unreadable)?;
    if known.is_some_and(|known| known.image == main.id && known.platforms == several) {
        return Ok(());
    }
    store.tag_platforms(name, &main.id, several).map_err(|error| {
        Error::new(ErrorKind::Store, format!("cannot tag {}", name.familiar())).because(error)
    })
}

/// The images of a name that has several.
fn several(store: &Store, name: &str) -> Result<Vec<Image>, Error> {
    let Ok(reference) = name.parse::<Reference>() else { return Ok(Vec::new()) };
    if reference.digest.is_some() {
        return Ok(Vec::new());
    }
    let tag = store.find_tag(&reference).map_err(unreadable)?;
    let ids = tag.map(|tag| tag.platforms).unwrap_or_default();
    let images = ids.iter().filter_map(|id| store.image(id).map_err(unreadable).transpose());
    images.collect()
}

/// Which of `platforms` suits `wanted` best.
pub(crate) fn nearest(platforms: &[Platform], wanted: &Platform) -> Option<usize> {
    let ranked = platforms.iter().enumerate().filter_map(|(index, own)| Some((wanted.rank(own)?, index)));
    ranked.min().map(|(_, index)| index)
}

/// The one of `images` that suits `wanted` best.
pub(crate) fn pick(name: &str, mut images: Vec<Image>, wanted: &Platform) -> Result<Image, Error> {
    let platforms = images.iter().map(platform_of).collect::<Result<Vec<_>, _>>()?;
    if let Some(index) = nearest(&platforms, wanted) {
        return Ok(images.swap_remove(index));
    }
    let known: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    let message = format!("{name} is for {}, not for {wanted}", known.join(", "));
    Err(Error::new(ErrorKind::NotFound, message)
        .help(format!("`galley pull --platform {wanted} {name}` fetches it, where its registry has one")))
}
