//! An image packed for others: manifest, config and compressed layers, each blob at hand or where it can be had.

use std::{collections::BTreeMap, sync::Arc};

use galley_oci::{
    Descriptor, Digest, Manifest, Platform, Time,
    media_type::{self, DOCKER_CONFIG, DOCKER_MANIFEST, OCI_CONFIG, OCI_MANIFEST},
};
use galley_store::Store;

use crate::{
    Error, ErrorKind, Fetcher,
    blobs::{self, Packing, Wanted},
    image::Assembled,
    import,
    ports::{BaseLayer, BlobSource},
};

/// How an image is packed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackOptions {
    /// For layers made here.
    pub packing: Packing,
    /// Layers that came compressed in another way are compressed anew.
    pub force: bool,
    /// Docker's names for manifest, config and layers instead of OCI's.
    pub docker_types: bool,
    /// Of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Of what names the manifest.
    pub descriptor_annotations: BTreeMap<String, String>,
}

/// An image with every blob at hand, or known to be elsewhere.
#[derive(Clone, Debug)]
pub struct PackedImage {
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// What names the manifest: kind, digest, size.
    pub descriptor: Descriptor,
    /// What names the config.
    pub config_descriptor: Descriptor,
    /// The config's bytes, whose digest is the image id.
    pub config: Vec<u8>,
    /// The layers' blobs, lowest first.
    pub layers: Vec<PackedBlob>,
    /// When the image was made.
    pub created: Time,
}

/// A compressed layer, and where it is.
#[derive(Clone, Debug)]
pub struct PackedBlob {
    /// What it is.
    pub descriptor: Descriptor,
    /// Who has it, when the store does not.
    pub elsewhere: Option<Arc<dyn BlobSource>>,
    /// Where else it is known to be: a registry that has it there need not be sent it again.
    pub known_in: Vec<Arc<dyn BlobSource>>,
}

impl PackedImage {
    /// Packs `image`. An image that came from outside keeps its manifest and the blobs it came with.
    pub fn pack(
        fetcher: &Fetcher<'_>,
        image: &Assembled,
        platform: &Platform,
        options: &PackOptions,
    ) -> Result<Self, Error> {
        let layers = blobs_of(fetcher, image, options)?;
        let (config_type, manifest_type) = match options.docker_types {
            true => (DOCKER_CONFIG, DOCKER_MANIFEST),
            false => (OCI_CONFIG, OCI_MANIFEST),
        };
        let mut config_descriptor = Descriptor::of(config_type, &image.config);
        let came = image.manifest.as_deref().and_then(|bytes| Some((bytes, Manifest::parse(bytes).ok()?)));
        let came = came.filter(|(_, came)| {
            let same = |(one, other): (&Descriptor, &PackedBlob)| one.digest == other.descriptor.digest;
            came.layers.len() == layers.len() && came.layers.iter().zip(&layers).all(same)
        });
        let (manifest, kind) = match came {
            Some((bytes, came)) if options.annotations.is_empty() && !options.docker_types => {
                config_descriptor = came.config;
                (bytes.to_vec(), came.media_type.unwrap_or_else(|| manifest_type.to_owned()))
            }
            _ => {
                let descriptors = layers.iter().map(|layer| layer.descriptor.clone()).collect();
                let mut manifest = Manifest::new(config_descriptor.clone(), descriptors);
                manifest.media_type = Some(manifest_type.to_owned());
                manifest.annotations.clone_from(&options.annotations);
                (manifest.to_bytes(), manifest_type.to_owned())
            }
        };
        let mut descriptor = Descriptor::of(&kind, &manifest);
        descriptor.platform = Some(platform.clone());
        descriptor.annotations.clone_from(&options.descriptor_annotations);
        let (config, created) =
            (image.config.clone(), crate::images::created_in(&image.config, image.created));
        Ok(Self { manifest, descriptor, config_descriptor, config, layers, created })
    }

    /// The image id.
    #[must_use]
    pub fn id(&self) -> Digest {
        Digest::sha256(&self.config)
    }

    /// Brings the blobs that are elsewhere into the store.
    pub fn bring(&mut self, fetcher: &Fetcher<'_>) -> Result<(), Error> {
        for layer in &mut self.layers {
            if let Some(source) = &layer.elsewhere {
                import::keep_blob(fetcher, &layer.descriptor, &**source)?;
                layer.elsewhere = None;
            }
        }
        Ok(())
    }
}

/// Where the blob that a layer came with is; none when it has to be made.
fn original(store: &Store, layer: &BaseLayer, options: &PackOptions) -> Option<PackedBlob> {
    let mut descriptor = layer.blob.clone()?;
    let compression = media_type::layer_compression(&descriptor.media_type)?;
    if options.force && compression != options.packing.compression {
        return None;
    }
    if options.docker_types {
        media_type::docker_layer(compression).clone_into(&mut descriptor.media_type);
    }
    let has = layer.held.places().iter().filter(|place| place.blob.digest == descriptor.digest);
    let known_in: Vec<_> = has.map(|place| Arc::clone(&place.source)).collect();
    let elsewhere = if store.blob_size(&descriptor.digest) == Some(descriptor.size) {
        None
    } else {
        Some(known_in.first().cloned()?)
    };
    Some(PackedBlob { descriptor, elsewhere, known_in })
}

fn blobs_of(
    fetcher: &Fetcher<'_>,
    image: &Assembled,
    options: &PackOptions,
) -> Result<Vec<PackedBlob>, Error> {
    let store = fetcher.store;
    let originals: Vec<_> = image.layers.iter().map(|layer| original(store, layer, options)).collect();
    let missing: Vec<_> = image
        .layers
        .iter()
        .zip(&originals)
        .filter(|(_, blob)| blob.is_none())
        .map(|(layer, _)| layer)
        .collect();
    fetcher.fetch(missing.iter().map(|layer| &layer.held))?;
    let wanted =
        missing.iter().map(|layer| Ok(Wanted { layer: layer.held.layer()?.clone(), times: layer.times }));
    let wanted: Vec<_> = wanted.collect::<Result<_, Error>>()?;
    let mut made = blobs::pack_all(store, &wanted, options.packing)?.into_iter();
    let media_type = match options.docker_types {
        true => media_type::docker_layer(options.packing.compression),
        false => media_type::oci_layer(options.packing.compression),
    };
    let blobs = originals.into_iter().map(|blob| match blob {
        Some(blob) => Ok(blob),
        None => {
            let lost = || Error::new(ErrorKind::Internal, "a layer was not packed");
            let blob = made.next().ok_or_else(lost)?;
            let descriptor = Descriptor::new(media_type, blob.digest, blob.size);
            Ok(PackedBlob { descriptor, elsewhere: None, known_in: Vec::new() })
        }
    });
    blobs.collect()
}
