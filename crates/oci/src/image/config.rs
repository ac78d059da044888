//! The image configuration. The order of fields is the order in which Go writes them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    ParseDocumentError, go_json,
    lenient::{empty_is_null, is_default, null_is_default, set},
};
use crate::{Digest, Platform};

/// What an image is and how it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// When the image was made: an RFC 3339 time. Written as `null` when nobody knows.
    pub created: Option<String>,
    /// Who is responsible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// `amd64`, …
    #[serde(deserialize_with = "null_is_default")]
    pub architecture: String,
    /// `linux`, …
    #[serde(deserialize_with = "null_is_default")]
    pub os: String,
    /// Only on Windows.
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Only on Windows.
    #[serde(
        rename = "os.features",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub os_features: Vec<String>,
    /// `v7` of `arm`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// How containers of this image run.
    #[serde(deserialize_with = "null_is_default")]
    pub config: RunConfig,
    /// The layers.
    #[serde(deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    /// How the layers and settings came about.
    #[serde(serialize_with = "history_or_null", deserialize_with = "null_is_default")]
    pub history: Vec<History>,
    /// What this program does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn history_or_null<S: serde::Serializer>(history: &[History], serializer: S) -> Result<S::Ok, S::Error> {
    empty_is_null(history, serializer)
}

/// How containers of an image run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RunConfig {
    /// `user`, `uid`, `user:group`, …
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub user: String,
    /// `80/tcp`, …
    #[serde(skip_serializing_if = "is_default", with = "set")]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// The program.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// Its default arguments, or the program when there is no entry point.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// Paths that get volumes.
    #[serde(skip_serializing_if = "is_default", with = "set")]
    pub volumes: BTreeSet<String>,
    /// Where the program starts.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// Free metadata.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// What asks the program to stop.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub stop_signal: String,
    /// Only on Windows.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub args_escaped: bool,
    /// How to see whether the program is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for builds on this image.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub on_build: Vec<String>,
    /// What runs shell-form instructions.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub shell: Vec<String>,
    /// What this program does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How to see whether a container is well. Durations in nanoseconds; zero inherits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `NONE`, or `CMD` and arguments, or `CMD-SHELL` and a command.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub test: Vec<String>,
    /// Time between checks.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub interval: i64,
    /// Time after which a check has failed.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub timeout: i64,
    /// Time in which failures do not count.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub start_period: i64,
    /// Time between checks in the start period.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub start_interval: i64,
    /// Failures in a row that make a container unhealthy.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub retries: i64,
    /// What this program does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The layers of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// SHA-256 of each layer's plain tar, lowest first.
    #[serde(serialize_with = "digests_or_null", deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

fn digests_or_null<S: serde::Serializer>(digests: &[Digest], serializer: S) -> Result<S::Ok, S::Error> {
    empty_is_null(digests, serializer)
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// One instruction that led to the image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When: an RFC 3339 time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub created_by: String,
    /// Who is responsible.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub author: String,
    /// Which builder.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub comment: String,
    /// Whether no layer belongs to it.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
    pub empty_layer: bool,
    /// What this program does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ImageConfig {
    /// Reads a configuration.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseDocumentError> {
        super::parse("image configuration", bytes)
    }

    /// The bytes that BuildKit writes for these values: compact, top-level fields sorted by name, the others in the
    /// order of Go's structs.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        go_json::to_compact(&go_json::sorted(self))
    }

    /// The platform.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: Some(self.os_features.clone()).filter(|features| !features.is_empty()),
            variant: self.variant.clone(),
            extra: Map::new(),
        }
    }
}
