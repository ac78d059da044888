//! Manifests and indexes, and the descriptors in them. The order of fields is the order in which Go writes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{
    ParseDocumentError, go_json,
    lenient::{empty_is_null, null_is_default},
};
use crate::{Digest, Platform, media_type};

const SCHEMA_VERSION: u32 = 2;

/// Names a blob or document: what it is, its digest and its length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default, deserialize_with = "null_is_default")]
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// Where else it may be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub urls: Vec<String>,
    /// Free metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    /// The bytes themselves, in base 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Whom a manifest is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The kind of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What this program does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Descriptor {
    /// Describes a blob.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            platform: None,
            artifact_type: None,
            extra: Map::new(),
        }
    }

    /// Describes a document that is at hand.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
    }
}

fn descriptors_or_null<S: Serializer>(list: &[Descriptor], serializer: S) -> Result<S::Ok, S::Error> {
    empty_is_null(list, serializer)
}

/// One image for one platform: its configuration and its layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// What this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The kind of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(serialize_with = "descriptors_or_null", deserialize_with = "null_is_default")]
    pub layers: Vec<Descriptor>,
    /// What this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    /// What this program does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Manifest {
    /// An OCI manifest.
    #[must_use]
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Reads a manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseDocumentError> {
        super::parse("image manifest", bytes)
    }

    /// The bytes that BuildKit writes for these values.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        go_json::to_indented(self)
    }
}

/// Manifests for several platforms, or the entry point of a layout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// What this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The kind of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    #[serde(serialize_with = "descriptors_or_null", deserialize_with = "null_is_default")]
    pub manifests: Vec<Descriptor>,
    /// What this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    /// What this program does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Index {
    /// An OCI index.
    #[must_use]
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Reads an index.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseDocumentError> {
        super::parse("image index", bytes)
    }

    /// The bytes that BuildKit writes for these values.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        go_json::to_indented(self)
    }

    /// Without indentation, as in the `index.json` of a layout.
    #[must_use]
    pub fn to_compact_bytes(&self) -> Vec<u8> {
        go_json::to_compact(self)
    }

    /// The manifest that suits `platform` best: the first of the best rank. Entries without a platform come last.
    #[must_use]
    pub fn select(&self, platform: &Platform) -> Option<&Descriptor> {
        let rank = |descriptor: &&Descriptor| match &descriptor.platform {
            Some(image) => platform.rank(image),
            None => Some(usize::MAX),
        };
        let ranked = self.manifests.iter().filter_map(|manifest| Some((rank(&manifest)?, manifest)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, manifest)| manifest)
    }
}
