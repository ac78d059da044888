//! Images that come from outside: OCI layouts on disk now, registries and archives later.
//!
//! Everything is checked against its digest and size before it is used, and read within limits.

mod layers;
mod layout;

use std::path::Path;

use galley_oci::{Digest, ImageConfig, Manifest, Platform, Time};
use galley_store::{Image, Store};

use self::layout::Layout;
use crate::{Error, ErrorKind};

/// Which image of a layout is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The only one, or the one tagged `latest`.
    Any,
    /// The one with this `org.opencontainers.image.ref.name`.
    Tag(String),
    /// The manifest or index with this digest.
    Digest(Digest),
}

/// Brings the image that `selector` means out of the layout at `path` into the store. When its layers are in the store
/// already, nothing is unpacked; otherwise, without `may_write`, the error is [`ErrorKind::NeedsExecution`].
pub fn import_layout(
    store: &Store,
    path: &Path,
    selector: &Selector,
    platform: &Platform,
    may_write: bool,
) -> Result<Image, Error> {
    let layout = Layout::open(path)?;
    let manifest_bytes = layout.manifest(selector, platform)?;
    let manifest = Manifest::parse(&manifest_bytes).map_err(|error| layout.broken(error))?;
    let config_bytes = layout.document(&manifest.config)?;
    let id = Digest::sha256(&config_bytes);
    if let Some(image) = known(store, &id) {
        return Ok(image);
    }
    let config = ImageConfig::parse(&config_bytes).map_err(|error| layout.broken(error))?;
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let (layers, ids) = (manifest.layers.len(), diff_ids.len());
        return Err(layout.broken(format!("the manifest has {layers} layers and the config {ids}")));
    }
    let mut layers = Vec::with_capacity(diff_ids.len());
    for (descriptor, diff_id) in manifest.layers.iter().zip(diff_ids) {
        layers.push(layers::import(store, &layout, descriptor, diff_id, may_write)?);
    }
    let created = config.created.as_deref().and_then(Time::parse_rfc3339).unwrap_or_default();
    let image = Image { id, config: config_bytes, layers, manifest: Some(manifest_bytes), created };
    store.put_image(&image).map_err(unreadable)?;
    Ok(image)
}

/// The image, when it is in the store with all of its files. A power cut may have taken some, or a part of its document:
/// then it is brought in again.
fn known(store: &Store, id: &Digest) -> Option<Image> {
    let image = store.image(id).ok()??;
    let whole = |id| store.layer(id).is_ok_and(|layer| layer.is_some_and(|layer| store.has_bytes(&layer)));
    image.layers.iter().all(|layer| whole(&layer.layer)).then_some(image)
}

fn unreadable(error: galley_store::StoreError) -> Error {
    Error::new(ErrorKind::Store, "cannot bring the image into the store").because(error)
}

#[cfg(test)]
mod tests {
    use fs_err as fs;
    use galley_store::OpenOptions;

    use super::*;

    #[test]
    fn an_image_that_a_power_cut_damaged_is_brought_in_again() {
        let folder = tempfile::tempdir().unwrap();
        let (layout, root) = (folder.path().join("layout"), folder.path().join("store"));
        let layer = [vec![0; 1024]];
        galley_testkit::write_layout(&layout, "latest", &layer, &serde_json::json!({}));
        let import = || {
            let store = Store::open(&root, OpenOptions::default()).unwrap();
            let image =
                import_layout(&store, &layout, &Selector::Any, &Platform::of_this_machine(), true).unwrap();
            let layer = store.layer(&image.layers[0].layer).unwrap().expect("its layer");
            (store.has_bytes(&layer), image.id)
        };
        let (_, id) = import();
        for lost in ["layers", "records"] {
            fs::remove_dir_all(root.join(lost)).unwrap();
            fs::create_dir(root.join(lost)).unwrap();
            assert_eq!(import(), (true, id), "without {lost}");
        }
        fs::write(root.join("images").join(id.hex()), "").unwrap();
        assert_eq!(import(), (true, id), "without its document");
    }
}
