//! The documents of an image against those of BuildKit (Dockerfile frontend 1.26), which were made from a Dockerfile with every instruction
//! that sets something, with `<`, `>` and `&` in the values.

use galley_oci::{Digest, ImageConfig, Index, Manifest};

use crate::helpers::golden;

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn configurations() {
    for name in ["buildkit-config.json", "buildkit-empty-config.json"] {
        let bytes = golden(name);
        let config = ImageConfig::parse(&bytes).unwrap();
        assert_eq!(text(config.to_bytes()), text(bytes), "{name}");
        // What is not known would be written again as well, but where it stands would be luck.
        assert!(config.extra.is_empty() && config.config.extra.is_empty(), "{name}");
        assert!(config.history.iter().all(|history| history.extra.is_empty()), "{name}");
        assert!(config.config.healthcheck.is_none_or(|check| check.extra.is_empty()), "{name}");
    }
}

#[test]
fn manifests() {
    for name in
        ["buildkit-manifest.json", "buildkit-empty-manifest.json", "buildkit-attestation-manifest.json"]
    {
        let bytes = golden(name);
        let manifest = Manifest::parse(&bytes).unwrap();
        assert_eq!(text(manifest.to_bytes()), text(bytes), "{name}");
        assert!(manifest.extra.is_empty() && manifest.config.extra.is_empty(), "{name}");
    }
}

#[test]
fn indexes() {
    let bytes = golden("buildkit-index.json");
    let index = Index::parse(&bytes).unwrap();
    assert_eq!(text(index.to_bytes()), text(bytes));
    let image = index.select(&"linux/arm64".parse().unwrap()).unwrap();
    assert_eq!(image.digest, Digest::sha256(&golden("buildkit-manifest.json")));
    assert_eq!(index.select(&"linux/amd64".parse().unwrap()), None);

    let bytes = golden("buildkit-layout-index.json");
    assert_eq!(text(Index::parse(&bytes).unwrap().to_compact_bytes()), text(bytes));
}

#[test]
fn values_are_understood() {
    let config = ImageConfig::parse(&golden("buildkit-config.json")).unwrap();
    assert_eq!(config.author.as_deref(), Some("\"A <a@b>\""));
    assert_eq!(config.platform().to_string(), "linux/arm64");
    assert_eq!(config.config.labels["z"], "<&>");
    assert!(config.config.exposed_ports.contains("53/udp"));
    assert_eq!(config.config.healthcheck.unwrap().start_interval, 500_000_000);
    assert_eq!(
        config.history.iter().filter(|history| !history.empty_layer).count(),
        config.rootfs.diff_ids.len()
    );
}
