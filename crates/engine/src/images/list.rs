//! `galley images`.

use std::collections::{BTreeMap, BTreeSet};

use galley_oci::{Digest, Reference, Time};
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
/// listed; images that lost their name are, unless a power cut took their layers too, as no name vouched for them. A name of
/// several platforms is one row.
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
            None if !has_layers(store, &image) => {}
            None => rows.push(row(None)?),
        }
    }
    rows.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.reference.cmp(&b.reference)));
    Ok(rows)
}

fn has_layers(store: &Store, image: &Image) -> bool {
    image.layers.iter().all(|layer| matches!(store.layer(&layer.layer), Ok(Some(_))))
}

/// The bytes of the files in all layers of `image`, as docker counts them.
pub(crate) fn size(store: &Store, image: &Image) -> Result<u64, Error> {
    image.layers.iter().map(|layer| layer_size(store, &layer.layer)).sum()
}

pub(super) fn layer_size(store: &Store, id: &Digest) -> Result<u64, Error> {
    let lost = || {
        Error::new(ErrorKind::Store, format!("layer {} is not in the store", id.short()))
            .help("`galley system check --repair` finds what needs it, and removes that")
    };
    let layer = store.layer(id).map_err(unreadable)?.ok_or_else(lost)?;
    let tree = layer.tree().map_err(unreadable)?;
    Ok(tree.bytes_of_files())
}

#[cfg(test)]
mod tests {
    use galley_oci::TimePolicy;
    use galley_store::{ImageLayer, OpenOptions};

    use super::*;

    /// As after a power cut before the barrier: the document is there, and the layer is not.
    #[test]
    fn an_image_that_lost_its_layers_is_told_when_it_has_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), OpenOptions::default()).unwrap();
        let config = br#"{"architecture":"amd64","os":"linux"}"#.to_vec();
        let id = Digest::sha256(&config);
        let (layer, diff_id) = (Digest::blake3(b"lost"), Digest::sha256(b"lost"));
        let layers = vec![ImageLayer { layer, diff_id, times: TimePolicy::Keep, blob: None }];
        let image = Image { id, config, layers, manifest: None, created: Time::default() };
        store.put_image(&image).unwrap();
        assert_eq!(list(&store).unwrap().len(), 0);
        store.tag(&"app".parse().unwrap(), &id).unwrap();
        let error = list(&store).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Store);
        assert!(error.help[0].contains("--repair"), "{error:?}");
    }
}
