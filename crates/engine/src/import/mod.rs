//! Images that come from outside: from registries, OCI layouts and archives, all in the same way.
//!
//! A manifest and a config make a [`BaseImage`] whose layers are elsewhere; they come when something needs them, checked
//! against digest and size before anything sees them. Everything is read within limits.

pub mod archive;
mod layers;
mod layout;
pub(crate) mod patient;
mod pipe;
mod plain;
mod stream;
mod transfer;
pub(crate) mod verified;

use std::sync::Arc;

use galley_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Time, TimePolicy, media_type};
use galley_store::{Image, Store};

pub use self::{
    layers::{fetch, keep_blob, unpacked},
    layout::{Layout, Selector},
    plain::{PlainOptions, plain},
    transfer::Transfer,
};
use crate::{
    Error, ErrorKind, Fetcher,
    held::{Elsewhere, Held},
    image::Assembled,
    ports::{BaseImage, BaseLayer, BlobSource},
    steps::files::store_error,
};

/// How deep an index may point to an index.
const INDEX_DEPTH_MAX: usize = 4;
/// As many platforms or names are told of.
const LISTED_MAX: usize = 20;

/// The first, long forgotten form of manifests.
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1";

/// The manifest that `first` leads to: itself, or the one for `platform` in an index. `read` gives the bytes of what
/// an index names, checked against the digest.
pub fn find_manifest(
    name: &str,
    first: (Descriptor, Vec<u8>),
    platform: &Platform,
    read: &dyn Fn(&Descriptor) -> Result<Vec<u8>, Error>,
) -> Result<(Descriptor, Vec<u8>), Error> {
    let (mut descriptor, mut bytes) = first;
    for _ in 0..=INDEX_DEPTH_MAX {
        if descriptor.media_type.starts_with(SCHEMA_1) {
            let message =
                format!("{name} has a manifest of docker's first schema, which nobody writes any more");
            return Err(
                Error::new(ErrorKind::Input, message).help("push it again with a tool of this decade")
            );
        }
        if !media_type::is_index(&descriptor.media_type) && !is_index(&bytes) {
            return Ok((descriptor, bytes));
        }
        let index = Index::parse(&bytes).map_err(|error| broken(name, error))?;
        descriptor = index.select(platform).cloned().ok_or_else(|| no_platform(name, &index, platform))?;
        bytes = read(&descriptor)?;
    }
    Err(broken(name, "its indexes point to each other without end"))
}

/// Some registries and layouts do not say what a document is.
fn is_index(bytes: &[u8]) -> bool {
    Manifest::parse(bytes).is_err() && Index::parse(bytes).is_ok()
}

fn no_platform(name: &str, index: &Index, platform: &Platform) -> Error {
    let mut known: Vec<String> = index
        .manifests
        .iter()
        .filter_map(|manifest| manifest.platform.as_ref())
        .filter(|platform| platform.os != "unknown")
        .map(ToString::to_string)
        .collect();
    known.dedup();
    let error = Error::new(ErrorKind::NotFound, format!("{name} has no image for {platform}"));
    if known.is_empty() { error } else { error.help(format!("it has: {}", listed(&known))) }
}

/// Names of a stranger's list, which may be long.
fn listed(names: &[String]) -> String {
    let shown = names.get(..LISTED_MAX).unwrap_or(names);
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The image that a manifest and a config describe. Layers that the store has unpacked before are at hand.
pub fn describe(
    store: &Store,
    name: &str,
    manifest: Vec<u8>,
    config: Vec<u8>,
    source: &Arc<dyn BlobSource>,
) -> Result<BaseImage, Error> {
    let parsed = Manifest::parse(&manifest).map_err(|error| broken(name, error))?;
    if !media_type::is_config(&parsed.config.media_type) {
        let message = format!("{name} is no image but an artifact of the kind {}", parsed.config.media_type);
        return Err(Error::new(ErrorKind::Input, message));
    }
    let id = Digest::sha256(&config);
    if id != parsed.config.digest {
        return Err(broken(name, format!("its config is {id} instead of {}", parsed.config.digest)));
    }
    let image = ImageConfig::parse(&config).map_err(|error| broken(name, error))?;
    let diff_ids = &image.rootfs.diff_ids;
    if diff_ids.len() != parsed.layers.len() {
        let (layers, ids) = (parsed.layers.len(), diff_ids.len());
        return Err(broken(name, format!("the manifest has {layers} layers and the config {ids}")));
    }
    let layers = parsed.layers.iter().zip(diff_ids);
    let layers = layers.map(|(blob, diff_id)| layer(store, name, blob, diff_id, source));
    let layers = layers.collect::<Result<_, _>>()?;
    Ok(BaseImage {
        name: name.to_owned(),
        id,
        config: image,
        document: config,
        layers,
        manifest: Some(manifest),
    })
}

fn layer(
    store: &Store,
    name: &str,
    blob: &Descriptor,
    diff_id: &Digest,
    source: &Arc<dyn BlobSource>,
) -> Result<BaseLayer, Error> {
    if media_type::is_foreign(&blob.media_type) {
        let message = format!("{name} has a layer that registries may not distribute ({})", blob.media_type);
        return Err(Error::new(ErrorKind::Input, message)
            .help("images for Windows have such layers; there is no way to use one here"));
    }
    if media_type::layer_compression(&blob.media_type).is_none() {
        return Err(broken(name, format!("layers of the kind {} are not supported", blob.media_type)));
    }
    let times = TimePolicy::Keep;
    let held =
        Held::base(Elsewhere { diff_id: *diff_id, times, blob: blob.clone(), source: Arc::clone(source) });
    held.look(store)?;
    Ok(BaseLayer { diff_id: *diff_id, times, blob: Some(blob.clone()), held })
}

/// Brings the image with all its layers into the store, without a name.
pub fn bring(fetcher: &Fetcher<'_>, base: &BaseImage) -> Result<Image, Error> {
    if let Some(image) = known(fetcher.store, &base.id) {
        return Ok(image);
    }
    let created = base.config.created.as_deref().and_then(Time::parse_rfc3339).unwrap_or_default();
    let (config, manifest) = (base.document.clone(), base.manifest.clone());
    let assembled = Assembled { id: base.id, config, layers: base.layers.clone(), manifest, created };
    let image = assembled.settle(fetcher)?;
    fetcher.store.put_image(&image).map_err(store_error)?;
    Ok(image)
}

/// The image, when it is in the store with all of its files. A power cut may have taken some, or a part of its document:
/// then it is brought in again.
fn known(store: &Store, id: &Digest) -> Option<Image> {
    let image = store.image(id).ok()??;
    let whole = |id| store.layer(id).is_ok_and(|layer| layer.is_some_and(|layer| store.has_bytes(&layer)));
    image.layers.iter().all(|layer| whole(&layer.layer)).then_some(image)
}

/// Something outside does not keep to the rules.
pub fn broken(name: &str, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Input, format!("{name} is broken")).because(why)
}

#[cfg(test)]
mod tests;
