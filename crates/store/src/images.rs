//! Images: a config, the layers it is made of, and where it came from. An image's id is the digest of its config.

use galley_oci::{Descriptor, Digest, Time, TimePolicy};
use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError,
    error::At,
    store::{json, read_small},
};

/// The largest image file that is read: config and manifest as text, and a thousand layers.
const IMAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The shortest prefix of an id that names an image.
const PREFIX_DIGITS_MIN: usize = 2;

/// One layer of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageLayer {
    /// The layer in the store.
    pub layer: Digest,
    /// SHA-256 of its archive, uncompressed, as the config has it.
    pub diff_id: Digest,
    /// What was done to its times when that archive was written.
    pub times: TimePolicy,
    /// Its compressed archive, when there is one: layers from elsewhere keep theirs.
    pub blob: Option<Descriptor>,
}

/// An image of the local store.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// SHA-256 of `config`.
    pub id: Digest,
    /// The config, as the bytes that the id is the digest of.
    pub config: Vec<u8>,
    /// Lowest first, one for each diffID of the config.
    pub layers: Vec<ImageLayer>,
    /// The manifest, as its bytes, when the image came with one or was exported.
    pub manifest: Option<Vec<u8>>,
    /// When it came into the store.
    pub created: Time,
}

#[derive(Deserialize, Serialize)]
struct ImageFile {
    config: String,
    layers: Vec<LayerFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    created: (i64, u32),
}

#[derive(Deserialize, Serialize)]
struct LayerFile {
    layer: Digest,
    diff_id: Digest,
    times: Times,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<Descriptor>,
}

/// [`TimePolicy`] as it is written.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Times {
    Keep,
    Set(i64, u32),
    Clamp(i64, u32),
}

impl From<TimePolicy> for Times {
    fn from(policy: TimePolicy) -> Self {
        match policy {
            TimePolicy::Keep => Self::Keep,
            TimePolicy::Set(time) => Self::Set(time.seconds, time.nanoseconds),
            TimePolicy::Clamp(time) => Self::Clamp(time.seconds, time.nanoseconds),
        }
    }
}

impl From<Times> for TimePolicy {
    fn from(times: Times) -> Self {
        match times {
            Times::Keep => Self::Keep,
            Times::Set(seconds, nanoseconds) => Self::Set(Time { seconds, nanoseconds }),
            Times::Clamp(seconds, nanoseconds) => Self::Clamp(Time { seconds, nanoseconds }),
        }
    }
}

impl Store {
    /// Stores an image. One that is there already, equal but for when it came, stays as it is. Whoever tags it gives
    /// its layers their own bytes first, see [`own_bytes`](Store::own_bytes).
    pub fn put_image(&self, image: &Image) -> Result<(), StoreError> {
        let found = Digest::sha256(&image.config);
        if found != image.id {
            return Err(StoreError::DigestMismatch { expected: image.id, found });
        }
        let path = self.image_path(&image.id);
        let known = self.image(&image.id).ok().flatten();
        if known.is_some_and(|known| known.same_as(image)) && !self.is_in_doubt(&path) {
            return Ok(());
        }
        let text = |what, bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec());
            text.map_err(|error| StoreError::damaged(what, &path, error))
        };
        let file = ImageFile {
            config: text("the config of", &image.config)?,
            layers: image.layers.iter().map(LayerFile::from).collect(),
            manifest: image.manifest.as_deref().map(|bytes| text("the manifest of", bytes)).transpose()?,
            created: (image.created.seconds, image.created.nanoseconds),
        };
        self.mark_dirty();
        self.commit_point("image", || self.write_whole(&path, &json(&file)))
    }

    /// The image with this id.
    pub fn image(&self, id: &Digest) -> Result<Option<Image>, StoreError> {
        self.lease(id)?;
        self.read_image(id)
    }

    /// The same without keeping it.
    pub(crate) fn read_image(&self, id: &Digest) -> Result<Option<Image>, StoreError> {
        let path = self.image_path(id);
        let Some(bytes) = read_small(&path, IMAGE_BYTES_MAX)? else { return Ok(None) };
        let file: ImageFile =
            serde_json::from_slice(&bytes).map_err(|error| StoreError::damaged("the image", &path, error))?;
        let found = Digest::sha256(file.config.as_bytes());
        if found != *id {
            return Err(StoreError::damaged(
                "the image",
                &path,
                format!("the digest of its config is {found}"),
            ));
        }
        Ok(Some(Image {
            id: *id,
            config: file.config.into_bytes(),
            layers: file.layers.into_iter().map(ImageLayer::from).collect(),
            manifest: file.manifest.map(String::into_bytes),
            created: Time { seconds: file.created.0, nanoseconds: file.created.1 },
        }))
    }

    /// All images, newest first. One that cannot be read (after a power cut before its barrier) is left out.
    pub fn images(&self) -> Result<Vec<Image>, StoreError> {
        self.hold_still()?;
        let ids = self.image_ids()?;
        let mut images: Vec<_> = ids.iter().filter_map(|id| self.read_image(id).ok().flatten()).collect();
        images.sort_by(|a, b| b.created.cmp(&a.created).then(a.id.cmp(&b.id)));
        Ok(images)
    }

    /// The id that begins with these hex digits, with or without `sha256:` before them.
    pub fn image_by_prefix(&self, prefix: &str) -> Result<Option<Digest>, StoreError> {
        let digits = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        if digits.len() < PREFIX_DIGITS_MIN || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let ids = self.image_ids()?;
        let found: Vec<_> = ids.iter().filter(|id| id.hex().starts_with(digits)).collect();
        match found[..] {
            [] => Ok(None),
            [id] => Ok(Some(*id)),
            _ => Err(StoreError::Ambiguous { prefix: prefix.to_owned(), count: found.len() }),
        }
    }

    pub(crate) fn image_ids(&self) -> Result<Vec<Digest>, StoreError> {
        let names = names_in(&self.root().join("images"))?;
        Ok(names.iter().filter_map(|name| format!("sha256:{name}").parse().ok()).collect())
    }

    pub(crate) fn image_path(&self, id: &Digest) -> std::path::PathBuf {
        self.root().join("images").join(id.hex())
    }
}

impl Image {
    /// Whether this is `other`, but for when it came into the store.
    fn same_as(&self, other: &Self) -> bool {
        self.id == other.id && self.layers == other.layers && self.manifest == other.manifest
    }
}

impl From<&ImageLayer> for LayerFile {
    fn from(layer: &ImageLayer) -> Self {
        Self {
            layer: layer.layer,
            diff_id: layer.diff_id,
            times: layer.times.into(),
            blob: layer.blob.clone(),
        }
    }
}

impl From<LayerFile> for ImageLayer {
    fn from(file: LayerFile) -> Self {
        Self { layer: file.layer, diff_id: file.diff_id, times: file.times.into(), blob: file.blob }
    }
}

/// The names in a folder of the store, sorted; names that are no text are not ours.
pub(crate) fn names_in(folder: &std::path::Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(folder).at("list", folder)? {
        names.extend(entry.at("list", folder)?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}
