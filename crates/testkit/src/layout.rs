//! OCI layouts on disk, for tests that need a base image.

use std::path::Path;

use fs_err as fs;
use galley_oci::Digest;
use serde_json::{Value, json};

/// When the layers of the images were made, as their history says.
const LAYERS_CREATED: &str = "2020-02-02T02:02:02Z";

/// Writes an OCI layout at `folder` with one image tagged `tag`: `layers` are plain tar archives, lowest first, and
/// `config` is the `config` member of the image config.
///
/// # Panics
/// When the files cannot be written.
pub fn write_layout(folder: &Path, tag: &str, layers: &[Vec<u8>], config: &Value) {
    fs::create_dir_all(folder.join("blobs/sha256")).expect("the blobs folder");
    let blob = |media_type: &str, bytes: &[u8]| {
        let digest = Digest::sha256(bytes);
        fs::write(folder.join("blobs/sha256").join(digest.hex()), bytes).expect("a blob");
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    };
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let descriptors: Vec<Value> = layers.iter().map(|bytes| blob(layer, bytes)).collect();
    let diff_ids: Vec<String> = layers.iter().map(|bytes| Digest::sha256(bytes).to_string()).collect();
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": layers.iter().map(|_| json!({"created": LAYERS_CREATED, "created_by": "base layer"})).collect::<Vec<_>>(),
    });
    let config = blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": descriptors});
    let mut manifest = blob(media_type, manifest.to_string().as_bytes());
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(folder.join("index.json"), index.to_string()).expect("the index");
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("the layout file");
}
