//! `galley images`.

use std::collections::{BTreeMap, BTreeSet};

use galley_oci::{Digest, Reference, Time};
use galley_store::{Image, Store};

use super::{created, unreadable};
use crate::{Error, ErrorKind};

/// One row of `galley images`: an image under one of its names.
#[derive(Debug)]
pub struct ImageSummary {
    /// The name; none for an image without one.
    pub reference: Option<Reference>,
    /// The image id.
    pub id: Digest,
    /// When it was made.
    pub created: Time,
    /// What its files take.
    pub size: Size,
}

/// What the files of an image take, as far as that can be told.
#[derive(Debug, Default)]
pub struct Size {
    /// The bytes of all files in all layers that can be read.
    pub bytes: u64,
    /// Why not of all layers.
    pub damage: Option<Error>,
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
        let row = |reference: Option<Reference>| {
            let name = reference.as_ref().map(|name| format!("{} ({})", name.familiar(), image.id.short()));
            let size = size(store, &image, &name.unwrap_or_else(|| image.id.short()));
            ImageSummary { reference, id: image.id, created: created(&image), size }
        };
        match names.remove(&image.id) {
            Some(references) => rows.extend(references.into_iter().map(|name| row(Some(name)))),
            None if image.manifest.is_some() || of_others.contains(&image.id) => {}
            None if !has_layers(store, &image) => {}
            None => rows.push(row(None)),
        }
    }
    rows.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.reference.cmp(&b.reference)));
    Ok(rows)
}

fn has_layers(store: &Store, image: &Image) -> bool {
    image.layers.iter().all(|layer| matches!(store.layer(&layer.layer), Ok(Some(_))))
}

/// The bytes of the files in all layers of `image`, which is told as `name`, as docker counts them.
pub(crate) fn size(store: &Store, image: &Image, name: &str) -> Size {
    let mut size = Size::default();
    for layer in &image.layers {
        match layer_size(store, &layer.layer, name) {
            Ok(bytes) => size.bytes += bytes,
            Err(error) => size.damage = size.damage.take().or(Some(error)),
        }
    }
    size
}

pub(super) fn layer_size(store: &Store, id: &Digest, name: &str) -> Result<u64, Error> {
    let damaged = |why: &str| {
        Error::new(ErrorKind::Store, format!("image {name} is damaged: layer {} {why}", id.short()))
    };
    let unreadable = |error| damaged("cannot be read").because(error);
    let lost = || {
        damaged("is not in the store any more")
            .help("`galley system check --repair` removes what needs it; then build or pull the image again")
    };
    let layer = store.layer(id).map_err(unreadable)?.ok_or_else(lost)?;
    Ok(layer.tree().map_err(unreadable)?.bytes_of_files())
}

#[cfg(test)]
mod tests {
    use galley_oci::TimePolicy;
    use galley_store::{ImageLayer, OpenOptions};

    use super::{
        super::{history, inspect},
        *,
    };

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
        let whole = br#"{"architecture":"amd64","os":"linux","author":"another"}"#.to_vec();
        let whole = Image { id: Digest::sha256(&whole), config: whole, layers: Vec::new(), ..image.clone() };
        store.put_image(&whole).unwrap();
        store.tag(&"whole".parse().unwrap(), &whole.id).unwrap();
        let rows = list(&store).unwrap();
        let damage = |name: &str| {
            let is_it = |row: &&ImageSummary| row.reference.as_ref().is_some_and(|it| it.familiar() == name);
            rows.iter().find(is_it).unwrap().size.damage.as_ref()
        };
        assert!(damage("whole:latest").is_none());
        let error = damage("app:latest").unwrap();
        assert!(
            error.message.starts_with(&format!("image app:latest ({}) is damaged", id.short())),
            "{error}"
        );
        assert!(error.help[0].contains("--repair"), "{error:?}");
        // What can be told is told.
        let (inspected, damage) = inspect(&store, &image).unwrap();
        assert_eq!((inspected["Id"].as_str(), damage.is_some()), (Some(&*id.to_string()), true));
        assert!(history(&store, "app", None).is_ok());
    }
}
