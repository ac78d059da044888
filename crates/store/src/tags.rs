//! Tags: a name of an image. Each is one small file, named by the digest of the name, so that any name fits.

use std::path::{Path, PathBuf};

use galley_oci::{Digest, Reference};
use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError,
    blobs::remove_present,
    error::{Absent, At},
    images::names_in,
    store::{json, read_small},
    temp::{rename_new, sync_data},
};

const TAG_BYTES_MAX: usize = 64 * 1024;

/// A name, and what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The name, with its tag.
    pub reference: Reference,
    /// The image: of several, the one for this machine.
    pub image: Digest,
    /// All images when there are several, one for each platform, in the order of their index; `image` is one of them.
    pub platforms: Vec<Digest>,
}

impl Tag {
    /// Every image that the name leads to.
    #[must_use]
    pub fn images(&self) -> &[Digest] {
        if self.platforms.is_empty() { std::slice::from_ref(&self.image) } else { &self.platforms }
    }
}

#[derive(Deserialize, Serialize)]
struct TagFile {
    reference: String,
    image: Digest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    platforms: Vec<Digest>,
}

impl Store {
    /// Makes `reference` (with tag `latest` when it has none) name the image, instead of what it named before. What the
    /// image needs survives a power cut from then on: a [`barrier`](Store::barrier) that is still missing comes first.
    pub fn tag(&self, reference: &Reference, image: &Digest) -> Result<(), StoreError> {
        self.tag_platforms(reference, image, &[])
    }

    /// The same for images of several platforms, in the order of their index. `image`, one of them, is the one that is meant
    /// where nobody speaks of platforms.
    pub fn tag_platforms(
        &self,
        reference: &Reference,
        image: &Digest,
        platforms: &[Digest],
    ) -> Result<(), StoreError> {
        let reference = tagged(reference);
        let path = self.tag_path(&reference);
        let platforms = platforms.to_vec();
        let bytes = json(&TagFile { reference: reference.canonical(), image: *image, platforms });
        let known = read_small(&path, TAG_BYTES_MAX)?;
        if known.is_some_and(|known| known == bytes) && !self.is_in_doubt(&path) {
            return self.barrier();
        }
        // Written back with what it needs, so that only its name is left to be.
        let temp = self.write_temp(&bytes, false)?;
        if !self.write_back()? {
            sync_data(&temp)?;
        }
        self.commit_point("tag", || self.rename_noted(&temp, &path))
    }

    /// Removes a tag, not the image; says whether it was there.
    pub fn untag(&self, reference: &Reference) -> Result<bool, StoreError> {
        remove_present(&self.tag_path(&tagged(reference)))
    }

    /// Removes `tag` unless the name was given to another image meanwhile, which keeps it; says whether it did.
    pub fn untag_if(&self, tag: &Tag) -> Result<bool, StoreError> {
        let (path, taken) = (self.tag_path(&tagged(&tag.reference)), self.temp_path("tag")?);
        // Out of everybody's reach first: between a look at the file and its removal it could be replaced.
        if rustix::fs::rename(&path, &taken).absent().at("remove", &path)?.is_none() {
            return Ok(false);
        }
        let is_other = read_tag(&taken)?.is_some_and(|found| found != *tag);
        if is_other {
            rename_new(&taken, &path)?;
        }
        remove_present(&taken)?;
        Ok(!is_other)
    }

    /// The id of the image that `reference` names: by its digest (of the manifest, or of the config) when it has one,
    /// else by its tag, else by `latest`.
    pub fn resolve(&self, reference: &Reference) -> Result<Option<Digest>, StoreError> {
        if let Some(digest) = &reference.digest {
            return self.image_by_digest(digest);
        }
        Ok(self.find_tag(reference)?.map(|tag| tag.image))
    }

    /// The tag of this name, `latest` when it has none.
    pub fn find_tag(&self, reference: &Reference) -> Result<Option<Tag>, StoreError> {
        read_tag(&self.tag_path(&tagged(reference)))
    }

    /// All tags with the ids of their images (of several, the one for this machine), by name.
    pub fn tags(&self) -> Result<Vec<(Reference, Digest)>, StoreError> {
        Ok(self.whole_tags()?.into_iter().map(|tag| (tag.reference, tag.image)).collect())
    }

    /// All tags, by name.
    pub fn whole_tags(&self) -> Result<Vec<Tag>, StoreError> {
        let folder = self.root().join("refs");
        let mut tags = Vec::new();
        for name in names_in(&folder)? {
            tags.extend(read_tag(&folder.join(name))?);
        }
        tags.sort_by_cached_key(|tag: &Tag| tag.reference.canonical());
        Ok(tags)
    }

    fn image_by_digest(&self, digest: &Digest) -> Result<Option<Digest>, StoreError> {
        if self.image(digest)?.is_some() {
            return Ok(Some(*digest));
        }
        let of_manifest = |manifest: &Vec<u8>| Digest::sha256(manifest) == *digest;
        let images = self.images()?;
        Ok(images.iter().find(|image| image.manifest.as_ref().is_some_and(of_manifest)).map(|image| image.id))
    }

    fn tag_path(&self, reference: &Reference) -> PathBuf {
        let name = Digest::blake3(reference.canonical().as_bytes());
        self.root().join("refs").join(name.hex())
    }
}

/// With a tag and without a digest: what a tag file is named after.
fn tagged(reference: &Reference) -> Reference {
    Reference { digest: None, ..reference.clone() }.with_default_tag()
}

/// A tag that cannot be understood names nothing, as one that a power cut took.
pub(crate) fn read_tag(path: &Path) -> Result<Option<Tag>, StoreError> {
    let Some(bytes) = read_small(path, TAG_BYTES_MAX)? else { return Ok(None) };
    let file = serde_json::from_slice::<TagFile>(&bytes).ok();
    Ok(file.and_then(|TagFile { reference, image, platforms }| {
        Some(Tag { reference: reference.parse().ok()?, image, platforms })
    }))
}
