//! An image packed for others: manifest, config and compressed layers, each blob at hand or where it can be had.

use std::{collections::HashSet, sync::Arc};

use galley_oci::{
    Descriptor, Digest, Manifest, Platform, Time,
    compress::Compression,
    media_type::{self, DOCKER_CONFIG, DOCKER_MANIFEST, OCI_CONFIG, OCI_MANIFEST},
};
use galley_store::Store;

use super::annotation::{self, Annotation, Carrier};
use crate::{
    Error, ErrorKind, Fetcher,
    blobs::{self, PackedLayer, Packing, Wanted},
    held::FETCHES_MAX,
    image::Assembled,
    import,
    ports::{BaseLayer, BlobSource},
    side_by_side,
};

/// How an image is packed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackOptions {
    /// For layers made here.
    pub packing: Packing,
    /// Layers that came compressed in another way are compressed anew.
    pub force: bool,
    /// Layers that came in a docker archive, where nobody has compressed them, stay so.
    pub keep_plain: bool,
    /// Docker's names for manifest, config and layers instead of OCI's.
    pub docker_types: bool,
    /// Free metadata.
    pub annotations: Vec<Annotation>,
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
        let annotations = annotation::on(&options.annotations, Carrier::Manifest, Some(platform));
        let came = image.manifest.as_deref().and_then(|bytes| Some((bytes, Manifest::parse(bytes).ok()?)));
        let came = came.filter(|(_, came)| {
            let same = |(one, other): (&Descriptor, &PackedBlob)| one.digest == other.descriptor.digest;
            came.layers.len() == layers.len() && came.layers.iter().zip(&layers).all(same)
        });
        let (manifest, kind) = match came {
            Some((bytes, came)) if annotations.is_empty() && !options.docker_types => {
                config_descriptor = came.config;
                (bytes.to_vec(), came.media_type.unwrap_or_else(|| manifest_type.to_owned()))
            }
            _ => {
                let descriptors = layers.iter().map(|layer| layer.descriptor.clone()).collect();
                let mut manifest = Manifest::new(config_descriptor.clone(), descriptors);
                manifest.media_type = Some(manifest_type.to_owned());
                manifest.annotations = annotations;
                (manifest.to_bytes(), manifest_type.to_owned())
            }
        };
        let mut descriptor = Descriptor::of(&kind, &manifest);
        descriptor.platform = Some(platform.clone());
        descriptor.annotations =
            annotation::on(&options.annotations, Carrier::ManifestDescriptor, Some(platform));
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
        let mut seen = HashSet::new();
        let missing =
            self.layers.iter().filter_map(|layer| Some((&layer.descriptor, layer.elsewhere.as_ref()?)));
        let missing: Vec<_> = missing.filter(|(blob, _)| seen.insert(blob.digest)).collect();
        side_by_side(&missing, FETCHES_MAX, fetcher.stop, |(blob, source)| {
            import::keep_blob(fetcher, blob, &***source)
        })?;
        self.layers.iter_mut().for_each(|layer| layer.elsewhere = None);
        Ok(())
    }
}

/// Where the blob that a layer came with is; none when it has to be made. `listed`: in a manifest, which then stays as
/// it is.
fn original(store: &Store, layer: &BaseLayer, listed: bool, options: &PackOptions) -> Option<PackedBlob> {
    let mut descriptor = layer.blob.clone()?;
    let compression = media_type::layer_compression(&descriptor.media_type)?;
    let never_compressed = descriptor.media_type == media_type::DOCKER_LAYER && !listed;
    let anew = options.force || (never_compressed && !options.keep_plain);
    if anew && compression != options.packing.compression {
        return None;
    }
    layer_type(compression, options).clone_into(&mut descriptor.media_type);
    let has = layer.held.places().iter().filter(|place| place.blob.digest == descriptor.digest);
    let known_in: Vec<_> = has.map(|place| Arc::clone(&place.source)).collect();
    let elsewhere = if store.blob_size(&descriptor.digest) == Some(descriptor.size) {
        None
    } else {
        Some(known_in.first().cloned()?)
    };
    Some(PackedBlob { descriptor, elsewhere, known_in })
}

const fn layer_type(compression: Compression, options: &PackOptions) -> &'static str {
    match options.docker_types {
        true => media_type::docker_layer(compression),
        false => media_type::oci_layer(compression),
    }
}

fn blobs_of(
    fetcher: &Fetcher<'_>,
    image: &Assembled,
    options: &PackOptions,
) -> Result<Vec<PackedBlob>, Error> {
    let listed = image.manifest.is_some();
    let layers = image.layers.iter();
    let originals: Vec<_> =
        layers.clone().map(|layer| original(fetcher.store, layer, listed, options)).collect();
    let missing = layers.zip(&originals).filter(|(_, blob)| blob.is_none()).map(|(layer, _)| layer);
    let mut made = make(fetcher, &missing.collect::<Vec<_>>(), options.packing)?.into_iter();
    let media_type = layer_type(options.packing.compression, options);
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

/// Makes the blobs of layers that have none of the wanted kind. What came as an archive is compressed anew as it is:
/// written from its files it would be another one, with another diffID.
fn make(fetcher: &Fetcher<'_>, layers: &[&BaseLayer], packing: Packing) -> Result<Vec<PackedLayer>, Error> {
    let store = fetcher.store;
    let came = layers.iter().map(|layer| archive(fetcher, layer)).collect::<Result<Vec<_>, _>>()?;
    let own: Vec<_> =
        layers.iter().zip(&came).filter(|(_, came)| came.is_none()).map(|(layer, _)| layer).collect();
    fetcher.fetch(own.iter().map(|layer| &layer.held))?;
    let wanted = own
        .iter()
        .map(|layer| Ok(Wanted { layer: layer.held.layer()?.clone(), times: layer.times, own: false }));
    let mut packed =
        blobs::pack_all(fetcher, &wanted.collect::<Result<Vec<_>, Error>>()?, packing)?.into_iter();
    let made = layers.iter().zip(came).map(|(layer, came)| match came {
        Some(blob) => blobs::repack(store, &blob, &layer.diff_id, packing),
        None => packed.next().filter(|packed| packed.diff_id == layer.diff_id).ok_or_else(|| {
            let message = format!("the store has lost the archive of layer {}", layer.diff_id);
            Error::new(ErrorKind::Store, message).help("remove the image and pull, load or build it again")
        }),
    });
    made.collect()
}

/// The archive that the layer came as, brought to the store; none when it was made here.
fn archive(fetcher: &Fetcher<'_>, layer: &BaseLayer) -> Result<Option<Descriptor>, Error> {
    let Some(blob) = &layer.blob else { return Ok(None) };
    if fetcher.store.blob_size(&blob.digest) == Some(blob.size) {
        return Ok(Some(blob.clone()));
    }
    let mut places = layer.held.places().iter();
    let Some(place) = places.find(|place| place.blob.digest == blob.digest) else { return Ok(None) };
    import::keep_blob(fetcher, blob, &*place.source)?;
    Ok(Some(blob.clone()))
}
