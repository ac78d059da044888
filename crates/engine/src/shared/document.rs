//! What a cache says of itself: which steps made which layers, and which blobs hold these. As JSON, foreign bytes.

use galley_oci::{Digest, Time, TimePolicy, digest::Algorithm, image::MAX_DOCUMENT_BYTES};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The field that holds a [`Document`], in the config of a cache and in the config of an image. It names the version.
pub(crate) const KEY: &str = "galley.cache.v1";
/// What [`KEY`] of other versions begins with.
const ANY_KEY: &str = "galley.cache.v";
/// Where BuildKit keeps its inline cache.
pub(crate) const BUILDKIT_KEY: &str = "moby.buildkit.cache.v0";

/// The kind of a cache's config.
pub(super) const CONFIG: &str = "application/vnd.galley.cache.config.v1+json";
/// The kind of a cache's manifest.
pub(super) const ARTIFACT: &str = "application/vnd.galley.cache.v1";
/// The kind of the config of BuildKit's caches.
pub(super) const BUILDKIT_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";

/// More layers than any build has steps.
pub(super) const LAYERS_MAX: usize = 10_000;
/// Several keys may lead to one layer.
pub(super) const RECORDS_MAX: usize = 50_000;
/// One for each way to treat times and to compress.
pub(super) const BLOBS_PER_LAYER_MAX: usize = 8;

/// Records and layers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Document {
    pub(super) layers: Vec<LayerEntry>,
    pub(super) records: Vec<RecordEntry>,
}

/// What a step made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LayerEntry {
    /// Its id.
    pub(super) layer: Digest,
    /// Where its files are; nowhere, when only its name is told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) blobs: Vec<BlobEntry>,
}

/// One archive of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlobEntry {
    /// Its place among the layers of the manifest.
    pub(super) blob: usize,
    /// SHA-256 of it, uncompressed.
    pub(super) diff_id: Digest,
    /// What was done to the times in it.
    #[serde(default, skip_serializing_if = "Times::is_keep")]
    pub(super) times: Times,
}

/// What is remembered of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordEntry {
    pub(super) key: Digest,
    /// Its place in [`Document::layers`].
    pub(super) layer: usize,
    /// When it was made, RFC 3339.
    pub(super) created: String,
}

/// [`TimePolicy`] as it is written; seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Times {
    #[default]
    Keep,
    Set(i64),
    Clamp(i64),
}

impl Times {
    fn is_keep(&self) -> bool {
        *self == Self::Keep
    }
}

impl From<TimePolicy> for Times {
    fn from(policy: TimePolicy) -> Self {
        match policy {
            TimePolicy::Keep => Self::Keep,
            TimePolicy::Set(time) => Self::Set(time.seconds),
            TimePolicy::Clamp(time) => Self::Clamp(time.seconds),
        }
    }
}

impl From<Times> for TimePolicy {
    fn from(times: Times) -> Self {
        match times {
            Times::Keep => Self::Keep,
            Times::Set(seconds) => Self::Set(Time::from_seconds(seconds)),
            Times::Clamp(seconds) => Self::Clamp(Time::from_seconds(seconds)),
        }
    }
}

/// Why a config is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoDocument {
    #[error("it has {0} bytes, more than the {MAX_DOCUMENT_BYTES} that are accepted")]
    TooLong(usize),
    #[error("its config is malformed")]
    Malformed(#[from] serde_json::Error),
    #[error("it is a cache of BuildKit, which galley cannot use")]
    BuildKit,
    #[error("it is a cache of another version of galley ({0})")]
    OtherVersion(String),
    #[error("there is no build cache in it")]
    Nothing,
    #[error("its {what} {index} {why}")]
    Wrong { what: &'static str, index: usize, why: String },
    #[error("it has {count} {what}, more than the {max} that are accepted")]
    TooMany { what: &'static str, count: usize, max: usize },
}

impl Document {
    /// The document in the config of a cache or an image that has `blobs` layers.
    pub(super) fn find(config: &[u8], blobs: usize) -> Result<Self, NoDocument> {
        if config.len() > MAX_DOCUMENT_BYTES {
            return Err(NoDocument::TooLong(config.len()));
        }
        let Value::Object(mut fields) = serde_json::from_slice(config)? else {
            return Err(NoDocument::Nothing);
        };
        let Some(found) = fields.remove(KEY) else {
            let other = fields.keys().find(|name| name.starts_with(ANY_KEY));
            return Err(match other {
                Some(other) => NoDocument::OtherVersion(other.clone()),
                None if fields.contains_key(BUILDKIT_KEY) => NoDocument::BuildKit,
                None => NoDocument::Nothing,
            });
        };
        let document: Self = serde_json::from_value(found)?;
        document.check(blobs)?;
        Ok(document)
    }

    /// The config of a cache.
    pub(super) fn to_config(&self) -> Vec<u8> {
        galley_oci::image::to_compact(&serde_json::json!({ KEY: self }))
    }

    fn check(&self, blobs: usize) -> Result<(), NoDocument> {
        at_most("layers", self.layers.len(), LAYERS_MAX)?;
        at_most("records", self.records.len(), RECORDS_MAX)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let wrong = |why: String| NoDocument::Wrong { what: "layer", index, why };
            at_most("blobs of one layer", layer.blobs.len(), BLOBS_PER_LAYER_MAX)?;
            if layer.layer.algorithm() != Algorithm::Blake3 {
                return Err(wrong(format!("is called {}, which is no layer's id", layer.layer)));
            }
            for blob in &layer.blobs {
                if blob.blob >= blobs {
                    return Err(wrong(format!("is in blob {}, and there are {blobs}", blob.blob)));
                }
                if blob.diff_id.algorithm() != Algorithm::Sha256 {
                    return Err(wrong(format!("has the diffID {}, which is none", blob.diff_id)));
                }
            }
        }
        for (index, record) in self.records.iter().enumerate() {
            let wrong = |why: String| NoDocument::Wrong { what: "record", index, why };
            if record.key.algorithm() != Algorithm::Blake3 {
                return Err(wrong(format!("is called {}, which is no key", record.key)));
            }
            if record.layer >= self.layers.len() {
                return Err(wrong(format!(
                    "names layer {}, and there are {}",
                    record.layer,
                    self.layers.len()
                )));
            }
            if Time::parse_rfc3339(&record.created).is_none() {
                return Err(wrong(format!("was made at {:?}, which is no time", record.created)));
            }
        }
        Ok(())
    }
}

fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), NoDocument> {
    if count > max { Err(NoDocument::TooMany { what, count, max }) } else { Ok(()) }
}
