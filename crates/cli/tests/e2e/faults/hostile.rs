//! Images made to do harm, or made by mistake: pulled, and as a base.

use galley_oci::{Descriptor, Digest, media_type};
use galley_testkit::registry::gzip_bomb;
use serde_json::{Value, json};

use super::{
    super::{Kitchen, by_chroot},
    *,
};

/// A layer of a manifest, and what the config says of it.
#[derive(Clone)]
struct Layer {
    media_type: &'static str,
    blob: Vec<u8>,
    diff_id: Digest,
}

impl Layer {
    fn plain(archive: Vec<u8>) -> Self {
        Self { media_type: media_type::OCI_LAYER, diff_id: Digest::sha256(&archive), blob: archive }
    }
}

/// A manifest and config that are as the registry's client wants to see them.
struct Image {
    config: Value,
    manifest: Value,
    config_bytes: Option<Vec<u8>>,
    media_type: &'static str,
}

fn image(registry: &Registry, layers: &[Layer]) -> Image {
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    let blobs = layers.iter().map(|layer| {
        let put = registry.put_blob("team/bad", &layer.blob);
        Descriptor::new(layer.media_type, put.digest, put.size)
    });
    let blobs: Vec<Descriptor> = blobs.collect();
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux", "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "layers": blobs});
    Image { config, manifest, config_bytes: None, media_type: media_type::OCI_MANIFEST }
}

impl Image {
    fn config(mut self, pointer: &str, value: Value) -> Self {
        *self.config.pointer_mut(pointer).unwrap() = value;
        self
    }

    fn manifest(mut self, key: &str, value: Value) -> Self {
        self.manifest[key] = value;
        self
    }

    fn put(mut self, registry: &Registry, tag: &str) -> Digest {
        let bytes = self.config_bytes.take().unwrap_or_else(|| self.config.to_string().into_bytes());
        let config = registry.put_blob("team/bad", &bytes);
        if self.manifest["config"].is_null() {
            self.manifest["config"] =
                json!(Descriptor::new(media_type::OCI_CONFIG, config.digest, config.size));
        }
        let manifest = self.manifest.to_string();
        registry.put_manifest("team/bad", tag, self.media_type, manifest.as_bytes()).digest
    }
}

fn busybox() -> Layer {
    Layer::plain(galley_testkit::busybox_rootfs().expect("the kitchen has looked"))
}

/// A tar header, with no regard to what is right.
fn header(name: &[u8], kind: u8, size: u64, link: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_size(size);
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name);
    old.linkname[..link.len()].copy_from_slice(link);
    old.linkflag = [kind];
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// An archive of one file with as many times this byte: zstd needs four bytes for 128 KiB of it.
pub(super) fn zstd_bomb(gigabytes: u64, byte: u8) -> Vec<u8> {
    const BLOCK: u64 = 128 << 10;
    let (raw, repeated, last) = (0, 1, 1);
    let block = |last: u64, kind: u64, size: u64| (last | kind << 1 | size << 3).to_le_bytes()[..3].to_vec();
    let begin = [b"\x28\xb5\x2f\xfd\x00\x38".as_slice(), &block(0, raw, 512)].concat();
    let size = gigabytes << 30;
    let content = [block(0, repeated, BLOCK), vec![byte]].concat().repeat((size / BLOCK) as usize);
    let end = [block(last, repeated, 1024), vec![0]].concat();
    [begin, header(b"bomb", b'0', size, b""), content, end].concat()
}

fn archive(parts: &[Vec<u8>]) -> Layer {
    let mut bytes = parts.concat();
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
    Layer::plain(bytes)
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(name.as_bytes(), b'0', content.len() as u64, b"");
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// The image `tag` is pulled, and built upon, on a machine of its own.
fn both(registry: &Registry, tag: &str) -> Option<(Kitchen, [Output; 2])> {
    let kitchen = Kitchen::new()?;
    let name = format!("{}/team/bad:{tag}", registry.host());
    let pulled = kitchen.command(&["pull", &name]).output().unwrap();
    if !pulled.status.success() {
        nothing_is_visible(&kitchen, tag);
    }
    kitchen.dockerfile(&format!("FROM {name}\nRUN true\n"));
    let built = kitchen.build_command(&["--progress=plain", "-t", "x", "."]).output().unwrap();
    Some((kitchen, [pulled, built]))
}

/// Both fail with this code and these words, name the image, and leave nothing.
fn is_refused(registry: &Registry, tag: &str, code: i32, words: &str) {
    let Some((kitchen, outputs)) = both(registry, tag) else { return };
    for output in outputs {
        let (found, said) = failed(output);
        assert_eq!(found, Some(code), "{tag}: {said}");
        assert!(said.contains(words), "{tag}: {said}");
        assert!(said.contains("/team/bad"), "{tag}: {said}");
        assert!(!said.contains("panicked"), "{tag}: {said}");
    }
    nothing_is_visible(&kitchen, tag);
}

#[test]
fn layers_that_do_harm() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::start();
    let bomb = Layer {
        media_type: media_type::OCI_LAYER_GZIP,
        blob: gzip_bomb(32 << 20),
        diff_id: Digest::sha256(b"something else"),
    };
    let lie = Layer { diff_id: Digest::sha256(b"other"), ..archive(&[file("f", b"f")]) };
    let up = format!("../../../../../..{}", kitchen.path("canary").display());
    let typed = |media_type| Layer { media_type, ..archive(&[]) };
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let cases = [
        ("bomb", bomb, "holds sha256:"),
        ("file-of-2-tib", archive(&[header(b"f", b'0', 1 << 41, b"")]), "is limited to 1099511627776"),
        ("other-diff-id", lie, "instead of sha256:"),
        ("dotdot", archive(&[file(&up, b"f")]), "leads out of its directory with \"..\""),
        ("hardlink", archive(&[header(b"l", b'1', 0, b"/etc/shadow")]), "which is not in it"),
        ("unknown-entry", archive(&[header(b"x", b'Z', 0, b"")]), "has type 'Z'"),
        ("cut", Layer::plain(header(b"f", b'0', 4096, b"")), "is cut off"),
        ("garbage", Layer::plain(noise(1, 5000)), "this is no tar archive"),
        ("foreign", typed(foreign), "that registries may not distribute"),
        ("unknown-type", typed("application/vnd.example.layer"), "application/vnd.example.layer"),
    ];
    for (tag, layer, words) in cases {
        image(&registry, &[busybox(), layer]).put(&registry, tag);
        is_refused(&registry, tag, 1, words);
    }
    assert!(!kitchen.path("canary").exists());
}

#[test]
fn layers_that_only_look_like_harm() {
    let Some(outside) = Kitchen::new() else { return };
    let registry = Registry::start();
    let (canary, folder) = (outside.path("canary"), outside.path("home"));
    let link = header(b"l", b'2', 0, folder.to_str().unwrap().as_bytes());
    let same = archive(&[file("f", b"f")]);
    let cases = [
        ("absolute", vec![archive(&[file(canary.to_str().unwrap(), b"f")])]),
        ("through-a-link", vec![archive(&[link, file("l/canary", b"f")])]),
        ("empty-blob", vec![Layer::plain(Vec::new())]),
        ("empty-archive", vec![archive(&[])]),
        ("twice", vec![same.clone(), same.clone()]),
        ("ten-thousand-times", vec![same; 10_000]),
    ];
    for (tag, layers) in cases {
        let layers: Vec<Layer> = std::iter::once(busybox()).chain(layers).collect();
        image(&registry, &layers).put(&registry, tag);
        let Some((_, outputs)) = both(&registry, tag) else { return };
        outputs.into_iter().for_each(|output| drop(succeeded(output)));
    }
    assert!(!canary.exists() && !folder.join("canary").exists());
}

#[test]
fn more_layers_than_linux_mounts() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::start();
    let layer = |number: usize| archive(&[file(&format!("f{number}"), b"f")]);
    // By chroot nothing is mounted.
    let limit = (!by_chroot()).then_some("nothing can run on 501 layers: Linux mounts 500 at most");
    for (count, said) in [(500, None), (501, limit)] {
        let layers: Vec<Layer> = std::iter::once(busybox()).chain((1..count).map(layer)).collect();
        image(&registry, &layers).put(&registry, "many");
        kitchen.dockerfile(&format!("FROM {}/team/bad:many\nRUN true\n", registry.host()));
        let output = kitchen.build_command(&["--progress=plain", "."]).output().unwrap();
        match said {
            None => drop(succeeded(output)),
            Some(words) => {
                let (code, said) = failed(output);
                assert_eq!(code, Some(1), "{said}");
                assert!(said.contains(words) && said.contains("RUN true"), "{said}");
            }
        }
    }
}

#[test]
fn configs_and_manifests_that_do_harm() {
    if Kitchen::new().is_none() {
        return;
    }
    let registry = Registry::start();
    let one = || image(&registry, &[busybox()]);
    let config_of = |bytes: Vec<u8>| Image { config_bytes: Some(bytes), ..one() };
    let empty = registry.put_blob("team/bad", b"{}");
    let artifact = |kind: &str| {
        let config = Descriptor::new(kind, empty.digest, empty.size);
        one().manifest("config", json!(config))
    };
    let nested = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let first = |key: &str, value: Value| {
        let mut image = one();
        image.manifest["layers"][0][key] = value;
        image
    };
    let schema_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let schema_1 = Image { media_type: schema_1, ..one().manifest("schemaVersion", json!(1)) };
    let cases = [
        ("no-diff-ids", one().config("/rootfs/diff_ids", json!([])), 1, "1 layers and the config 0"),
        ("bad-diff-ids", one().config("/rootfs/diff_ids", json!(["sha256:zz"])), 1, "is malformed"),
        ("config-of-100-mb", config_of(vec![b' '; 100 << 20]), 1, "more than 8388608"),
        ("config-of-html", config_of(b"<html>".to_vec()), 1, "configuration is malformed"),
        ("config-of-brackets", config_of(nested), 1, "configuration is malformed"),
        ("chart", artifact("application/vnd.cncf.helm.config.v1+json"), 1, "is no image but an artifact"),
        ("artifact", artifact("application/vnd.oci.empty.v1+json"), 1, "is no image but an artifact"),
        ("schema-1", schema_1, 6, "schema 1"),
        ("negative-size", first("size", json!(-1)), 1, "manifest is malformed"),
        ("endless-size", first("size", json!(u64::MAX)), 6, "has 18446744073709551615"),
        ("too-small-size", first("size", json!(10)), 6, "which has 10"),
        ("no-such-blob", first("digest", json!(Digest::sha256(b"").to_string())), 5, "BLOB_UNKNOWN"),
    ];
    for (tag, image, code, words) in cases {
        image.put(&registry, tag);
        is_refused(&registry, tag, code, words);
    }
}

#[test]
fn indexes_that_lead_nowhere() {
    if Kitchen::new().is_none() {
        return;
    }
    let registry = Registry::start();
    let index = |manifests: Value| {
        let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests});
        index.to_string().into_bytes()
    };
    let to = |digest: &Digest, platform: Value| json!([{"mediaType": media_type::OCI_INDEX, "digest": digest.to_string(), "size": 300, "platform": platform}]);
    // Only with a lie can an index hold its own digest.
    let lie = Digest::sha256(b"loop");
    let bytes = index(to(&lie, Value::Null));
    registry.put_manifest("team/bad", "loop", media_type::OCI_INDEX, &bytes);
    registry.put_manifest_as("team/bad", &lie, media_type::OCI_INDEX, &bytes);
    is_refused(&registry, "loop", 6, "it is damaged, or the registry lies");
    let mut inner = image(&registry, &[busybox()]).put(&registry, "");
    let other = index(to(&inner, json!({"os": "linux", "architecture": "s390x"})));
    for _ in 0..12 {
        let bytes = index(to(&inner, Value::Null));
        inner = registry.put_manifest("team/bad", "deep", media_type::OCI_INDEX, &bytes).digest;
    }
    is_refused(&registry, "deep", 1, "its indexes point to each other without end");
    registry.put_manifest("team/bad", "empty", media_type::OCI_INDEX, &index(json!([])));
    is_refused(&registry, "empty", 5, "has no image for linux/");
    registry.put_manifest("team/bad", "other", media_type::OCI_INDEX, &other);
    is_refused(&registry, "other", 5, "it has: linux/s390x");
    let one = |number: usize| json!({"mediaType": media_type::OCI_MANIFEST, "digest": inner.to_string(), "size": 300, "platform": {"os": format!("\u{1b}[31m{number}"), "architecture": "x"}});
    let many = index((0..15_000).map(one).collect());
    registry.put_manifest("team/bad", "many", media_type::OCI_INDEX, &many);
    is_refused(&registry, "many", 5, "and 14980 more");
    let Some((_, outputs)) = both(&registry, "many") else { return };
    outputs
        .iter()
        .map(text)
        .for_each(|said| assert!(!said.contains('\u{1b}') && said.len() < 5000, "{said:.5000}"));
}

#[test]
fn one_for_another_machine_is_taken_and_told() {
    let registry = Registry::start();
    if Kitchen::new().is_none() {
        return;
    }
    for (key, value, own) in [("/architecture", "s390x", "linux/s390x"), ("/os", "windows", "windows/")] {
        image(&registry, &[busybox()]).config(key, json!(value)).put(&registry, "other");
        let Some((kitchen, outputs)) = both(&registry, "other") else { return };
        for output in outputs {
            let said = text(&succeeded(output));
            assert!(said.contains(&format!("is for {own}")) && said.contains("team/bad:other"), "{said}");
        }
        let name = format!("{}/team/bad:other", registry.host());
        let said = kitchen.galley(&["pull", "--platform", "linux/s390x", &name]);
        assert!(said.contains("Status: Image is up to date"), "{said}");
    }
}
