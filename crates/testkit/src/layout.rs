//! OCI layouts on disk, for tests that need a base image.

use std::path::Path;

use fs_err as fs;
use galley_oci::Digest;
use serde_json::{Value, json};

/// When the layers of the images were made, as their history says.
const LAYERS_CREATED: &str = "2020-02-02T02:02:02Z";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The architecture of this machine, in Go's words.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// Writes an OCI layout at `folder` with one image tagged `tag`: `layers` are plain tar archives, lowest first, and
/// `config` is the `config` member of the image config.
///
/// # Panics
/// When the files cannot be written.
pub fn write_layout(folder: &Path, tag: &str, layers: &[Vec<u8>], config: &Value) {
    let manifest = write_image(folder, (ARCHITECTURE, ""), layers, config);
    write_entry(folder, tag, manifest);
}

/// An architecture, and its variant or nothing.
pub type Machine<'a> = (&'a str, &'a str);

/// Writes an OCI layout with images for several platforms in one index tagged `tag`: each is a machine and layers. One
/// image alone stands for itself.
///
/// # Panics
/// When the files cannot be written.
pub fn write_platforms(folder: &Path, tag: &str, images: &[(Machine<'_>, Vec<Vec<u8>>)], config: &Value) {
    let manifests = images.iter().map(|(machine, layers)| {
        let mut manifest = write_image(folder, *machine, layers, config);
        manifest["platform"] = json!({"os": "linux", "architecture": machine.0});
        if !machine.1.is_empty() {
            manifest["platform"]["variant"] = json!(machine.1);
        }
        manifest
    });
    let mut manifests: Vec<Value> = manifests.collect();
    if manifests.len() == 1 {
        return write_entry(folder, tag, manifests.remove(0));
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    write_entry(folder, tag, write_blob(folder, INDEX, &index));
}

fn write_blob(folder: &Path, media_type: &str, document: &Value) -> Value {
    write_bytes(folder, media_type, document.to_string().as_bytes())
}

fn write_bytes(folder: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest = Digest::sha256(bytes);
    fs::write(folder.join("blobs/sha256").join(digest.hex()), bytes).expect("a blob");
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
}

/// Config, layers and manifest; what names the manifest.
fn write_image(folder: &Path, machine: Machine<'_>, layers: &[Vec<u8>], config: &Value) -> Value {
    fs::create_dir_all(folder.join("blobs/sha256")).expect("the blobs folder");
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let descriptors: Vec<Value> = layers.iter().map(|bytes| write_bytes(folder, layer, bytes)).collect();
    let diff_ids: Vec<String> = layers.iter().map(|bytes| Digest::sha256(bytes).to_string()).collect();
    let mut config = json!({
        "architecture": machine.0,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": layers.iter().map(|_| json!({"created": LAYERS_CREATED, "created_by": "base layer"})).collect::<Vec<_>>(),
    });
    if !machine.1.is_empty() {
        config["variant"] = json!(machine.1);
    }
    let config = write_blob(folder, "application/vnd.oci.image.config.v1+json", &config);
    let manifest =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors});
    write_blob(folder, MANIFEST, &manifest)
}

/// The entry point of the layout.
fn write_entry(folder: &Path, tag: &str, mut manifest: Value) {
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(folder.join("index.json"), index.to_string()).expect("the index");
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("the layout file");
}
