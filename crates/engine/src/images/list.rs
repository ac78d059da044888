//! `galley images`.

use std::collections::{BTreeMap, BTreeSet};

use galley_oci::{Digest, Kind, Reference, Time};
use galley_store::{Image, Store};

use super::{created, unreadable};
use crate::{Error, ErrorKind};

/// One row of `galley images`: an image under one of its names.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    /// The name; none for an image without one.
    pub reference: Option<Reference>,
    /// The image id.
    pub id: Digest,
    /// When it was made.
    pub created: Time,
    /// The bytes of all files in all layers.
    pub size: u64,
}

/// Every image under every name, the newest first. Bases that came with a build and were given no name here are not
/// listed; images that lost their name are. A name of several platforms is one row.
pub fn list(store: &Store) -> Result<Vec<ImageSummary>, Error> {
    let mut names: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
    let mut of_others = BTreeSet::new();
    for tag in store.whole_tags().map_err(unreadable)? {
        of_others.extend(tag.images().iter().copied());
        names.entry(tag.image).or_default().push(tag.reference);
    }
    let mut rows = Vec::new();
    for image in store.images().map_err(unreadable)? {
        let row = |reference| -> Result<_, Error> {
            Ok(ImageSummary { reference, id: image.id, created: created(&image), size: size(store, &image)? })
        };
        match names.remove(&image.id) {
            Some(references) => rows
                .extend(references.into_iter().map(|name| row(Some(name))).collect::<Result<Vec<_>, _>>()?),
            None if image.manifest.is_some() || of_others.contains(&image.id) => {}
            None => rows.push(row(None)?),
        }
    }
    rows.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.reference.cmp(&b.reference)));
    Ok(rows)
}

/// The bytes of the files in all layers of `image`, as docker counts them.
pub(super) fn size(store: &Store, image: &Image) -> Result<u64, Error> {
    image.layers.iter().map(|layer| layer_size(store, &layer.layer)).sum()
}

pub(super) fn layer_size(store: &Store, id: &Digest) -> Result<u64, Error> {
    let lost = || Error::new(ErrorKind::Store, format!("layer {} is not in the store", id.short()));
    let layer = store.layer(id).map_err(unreadable)?.ok_or_else(lost)?;
    let tree = layer.tree().map_err(unreadable)?;
    let mut linked = std::collections::HashSet::new();
    let bytes = tree.entries().iter().map(|entry| match &entry.kind {
        // Several names of one file are one file on disk.
        Kind::File { links: Some(group), .. } if !linked.insert(*group) => 0,
        Kind::File { size, .. } => *size,
        _ => 0,
    });
    Ok(bytes.sum())
}
