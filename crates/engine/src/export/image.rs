//! An image packed for others: manifest, config and compressed layers, all in the store's blobs.

use galley_oci::{
    Descriptor, Digest, Manifest, Platform, Time,
    compress::Compression,
    media_type::{OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST},
};
use galley_store::{Image, ImageLayer, Store};

use crate::{Error, ErrorKind, blobs, images};

/// An image with every blob at hand.
#[derive(Clone, Debug)]
pub struct PackedImage {
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// What names the manifest: kind, digest, size.
    pub descriptor: Descriptor,
    /// The config's bytes, whose digest is the image id.
    pub config: Vec<u8>,
    /// The layers' blobs, lowest first.
    pub layers: Vec<Descriptor>,
    /// When the image was made.
    pub created: Time,
}

impl PackedImage {
    /// Packs `image`. An image that came from outside keeps its manifest and the blobs it came with.
    pub fn pack(store: &Store, image: &Image, platform: &Platform) -> Result<Self, Error> {
        let missing = image.layers.iter().any(|layer| original_blob(store, layer).is_none());
        let layers = blobs_of(store, image)?;
        let manifest = match &image.manifest {
            Some(manifest) if !missing => manifest.clone(),
            _ => Manifest::new(Descriptor::of(OCI_CONFIG, &image.config), layers.clone()).to_bytes(),
        };
        let mut descriptor = Descriptor::of(OCI_MANIFEST, &manifest);
        if let Some(media_type) = Manifest::parse(&manifest).ok().and_then(|manifest| manifest.media_type) {
            descriptor.media_type = media_type;
        }
        descriptor.platform = Some(platform.clone());
        let created = images::created(image);
        Ok(Self { manifest, descriptor, config: image.config.clone(), layers, created })
    }

    /// The image id.
    #[must_use]
    pub fn id(&self) -> Digest {
        Digest::sha256(&self.config)
    }
}

fn original_blob(store: &Store, layer: &ImageLayer) -> Option<Descriptor> {
    layer.blob.clone().filter(|blob| store.blob_size(&blob.digest) == Some(blob.size))
}

fn blobs_of(store: &Store, image: &Image) -> Result<Vec<Descriptor>, Error> {
    let wanted: Vec<_> = image.layers.iter().filter(|layer| original_blob(store, layer).is_none()).collect();
    let mut made = blobs::layer_blobs(store, &wanted, Compression::Gzip)?.into_iter();
    let mut layers = Vec::with_capacity(image.layers.len());
    for layer in &image.layers {
        let descriptor = match original_blob(store, layer) {
            Some(descriptor) => descriptor,
            None => {
                made.next().map(|blob| Descriptor::new(OCI_LAYER_GZIP, blob.digest, blob.size)).ok_or_else(
                    || Error::new(ErrorKind::Internal, format!("layer {} was not packed", layer.diff_id)),
                )?
            }
        };
        layers.push(descriptor);
    }
    Ok(layers)
}
