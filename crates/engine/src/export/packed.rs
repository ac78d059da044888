//! All images of a build packed for others, and the index that lists them.

use galley_oci::{
    Descriptor, Digest, Index, Time,
    media_type::{DOCKER_INDEX, OCI_INDEX},
};

use super::{
    PackOptions, PackedImage,
    annotation::{Carrier, on},
};
use crate::{Error, Fetcher};

/// One image, or several in an index.
#[derive(Clone, Debug)]
pub struct Packed {
    /// In the order of the index: one at least.
    pub images: Vec<PackedImage>,
    /// None for an image that stands for itself.
    pub index: Option<PackedIndex>,
}

/// A list of manifests, each for another platform.
#[derive(Clone, Debug)]
pub struct PackedIndex {
    /// Its bytes.
    pub document: Vec<u8>,
    /// What names it: kind, digest, size.
    pub descriptor: Descriptor,
}

impl Packed {
    /// One image for itself.
    #[must_use]
    pub fn single(image: PackedImage) -> Self {
        Self { images: vec![image], index: None }
    }

    /// Several images, or one that is to be in an index all the same.
    #[must_use]
    pub fn listed(images: Vec<PackedImage>, options: &PackOptions) -> Self {
        let kind = if options.docker_types { DOCKER_INDEX } else { OCI_INDEX };
        let mut index = Index::new(images.iter().map(|image| image.descriptor.clone()).collect());
        index.media_type = Some(kind.to_owned());
        index.annotations = on(&options.annotations, Carrier::Index, None);
        let document = index.to_bytes();
        let mut descriptor = Descriptor::of(kind, &document);
        descriptor.annotations = on(&options.annotations, Carrier::IndexDescriptor, None);
        Self { images, index: Some(PackedIndex { document, descriptor }) }
    }

    /// What names all of it: the index, else the only manifest.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        self.index.as_ref().map_or_else(|| &self.images[0].descriptor, |index| &index.descriptor)
    }

    /// By what docker calls it: the only image's id, else the digest of the index.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.index.as_ref().map_or_else(|| self.images[0].id(), |index| index.descriptor.digest)
    }

    /// When the newest image was made.
    #[must_use]
    pub fn created(&self) -> Time {
        self.images.iter().map(|image| image.created).max().unwrap_or_default()
    }

    /// Brings the blobs that are elsewhere into the store.
    pub fn bring(&mut self, fetcher: &Fetcher<'_>) -> Result<(), Error> {
        self.images.iter_mut().try_for_each(|image| image.bring(fetcher))
    }
}
