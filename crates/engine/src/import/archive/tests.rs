use std::io::Write;

use fs_err as fs;
use galley_oci::{
    archive::{EntryHeader, EntryKind, Writer},
    compress::{Compression, Compressor},
};
use galley_store::OpenOptions;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    Events,
    blobs::Packing,
    export::{PackOptions, PackedImage},
    image::Assembled,
    ports::NoRecords,
};

/// What an entry of a test's archive is.
#[derive(Clone)]
enum Part {
    File(Vec<u8>),
    Symlink(&'static str),
    HardLink(&'static str),
    Fifo,
}

type Parts = Vec<(String, Part)>;

fn file(name: &str, bytes: impl Into<Vec<u8>>) -> (String, Part) {
    (name.to_owned(), Part::File(bytes.into()))
}

fn tar(parts: &Parts) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, part) in parts {
        let kind = match part {
            Part::File(bytes) => EntryKind::File { size: bytes.len() as u64 },
            Part::Symlink(target) => EntryKind::Symlink { target: target.as_bytes() },
            Part::HardLink(target) => EntryKind::HardLink { target: target.as_bytes() },
            Part::Fifo => EntryKind::Fifo,
        };
        let header =
            EntryHeader { path: path.as_bytes(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 0, xattrs: None };
        let mut content: &[u8] = if let Part::File(bytes) = part { bytes } else { &[] };
        writer.entry(&header, Some(&mut content)).unwrap();
    }
    writer.finish().unwrap()
}

fn compressed(bytes: &[u8], compression: Compression) -> Vec<u8> {
    let mut out = Compressor::new(Vec::new(), compression, None, 1).unwrap();
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// The archive of a layer with one file.
fn layer(content: &str) -> Vec<u8> {
    tar(&vec![file("hello", content)])
}

fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    config_for("amd64", layers)
}

fn config_for(architecture: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let ids: Vec<String> = layers.iter().map(|layer| Digest::sha256(layer).to_string()).collect();
    let config = json!({"architecture": architecture, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": ids}});
    config.to_string().into_bytes()
}

fn docker(names: &Value) -> Parts {
    let layers = [layer("one"), layer("two")];
    let manifest = json!([{"Config": "c.json", "RepoTags": names, "Layers": ["1/layer.tar", "2/layer.tar"]}]);
    vec![
        file("1/layer.tar", layers[0].clone()),
        file("2/layer.tar", layers[1].clone()),
        file("c.json", config(&layers)),
        file("manifest.json", manifest.to_string()),
    ]
}

/// A layout with one image for each `(annotations, platform, content)`.
fn oci(images: &[(Value, Value, &str)]) -> Parts {
    let mut parts = vec![file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)];
    let mut blob = |kind: &str, bytes: Vec<u8>| {
        let digest = Digest::sha256(&bytes);
        let size = bytes.len();
        parts.push(file(&format!("blobs/sha256/{}", digest.hex()), bytes));
        json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest.to_string(), "size": size})
    };
    let entries = images.iter().map(|(annotations, platform, content)| {
        let plain = layer(content);
        let packed = blob("layer.v1.tar+gzip", compressed(&plain, Compression::Gzip));
        let config = blob(
            "config.v1+json",
            config_for(platform["architecture"].as_str().unwrap_or("amd64"), &[plain]),
        );
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": [packed]});
        let mut entry = blob("manifest.v1+json", manifest.to_string().into_bytes());
        entry["annotations"] = annotations.clone();
        if !platform.is_null() {
            entry["platform"] = platform.clone();
        }
        entry
    });
    let index = json!({"schemaVersion": 2, "manifests": entries.collect::<Vec<_>>()});
    parts.push(file("index.json", index.to_string()));
    parts
}

struct Kitchen {
    folder: tempfile::TempDir,
    store: Store,
}

impl Kitchen {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), OpenOptions::default()).unwrap();
        Self { folder, store }
    }

    fn load(&self, bytes: &[u8], platform: Option<&Platform>) -> Result<Vec<Loaded>, Error> {
        let path = self.folder.path().join("archive");
        fs::write(&path, bytes).unwrap();
        self.load_path(&path, platform)
    }

    fn load_path(&self, path: &Path, platform: Option<&Platform>) -> Result<Vec<Loaded>, Error> {
        let (events, stop) = (Events::silent(), Cancel::new());
        let (store, records) = (&self.store, &NoRecords);
        let fetcher = Fetcher { store, may_write: true, events: &events, stop: &stop, records };
        load(&fetcher, Archive::open(store, path, &stop)?, platform)
    }

    /// Everything that an error says.
    fn refused(&self, bytes: &[u8]) -> String {
        let error = self.load(bytes, None).expect_err("to be refused");
        let mut said = error.to_string();
        let mut next = std::error::Error::source(&error);
        while let Some(cause) = next {
            said = format!("{said}: {cause}");
            next = cause.source();
        }
        said
    }

    /// What the topmost layer of an image has in its only file.
    fn content(&self, loaded: &Loaded) -> Vec<u8> {
        let image = self.store.image(&loaded.id).unwrap().unwrap();
        let layer = self.store.layer(&image.layers.last().unwrap().layer).unwrap().unwrap();
        let mut bytes = Vec::new();
        let index = layer.tree().unwrap().entries().iter().position(|entry| !entry.is_directory()).unwrap();
        self.store.open_file(&layer, index).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }
}

fn names(loaded: &[Loaded]) -> Vec<Vec<String>> {
    loaded.iter().map(|image| image.names.iter().map(Reference::familiar).collect()).collect()
}

#[test]
fn a_docker_archive_is_loaded_however_it_is_packed() {
    let parts = docker(&json!(["app:1", "example.com/app"]));
    let plain = tar(&parts);
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let kitchen = Kitchen::new();
        let loaded = kitchen.load(&compressed(&plain, compression), None).unwrap();
        assert_eq!(names(&loaded), [["app:1", "example.com/app:latest"]]);
        assert_eq!(loaded[0].id, Digest::sha256(&config(&[layer("one"), layer("two")])));
        assert_eq!(kitchen.content(&loaded[0]), b"two");
        let app = "app:1".parse::<Reference>().unwrap();
        assert_eq!(kitchen.store.resolve(&app).unwrap(), Some(loaded[0].id));
    }
}

#[test]
fn a_folder_with_the_same_in_it_is_loaded_too() {
    let kitchen = Kitchen::new();
    let folder = kitchen.folder.path().join("layout");
    for (name, part) in oci(&[(json!({"io.containerd.image.name": "app:1"}), Value::Null, "x")]) {
        let Part::File(bytes) = part else { continue };
        fs::create_dir_all(folder.join(&name).parent().unwrap()).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    }
    let loaded = kitchen.load_path(&folder, None).unwrap();
    assert_eq!(names(&loaded), [["app:1"]]);
    let outside = fs::canonicalize(folder.join("index.json")).unwrap();
    fs::rename(&outside, kitchen.folder.path().join("index.json")).unwrap();
    fs::os::unix::fs::symlink("../index.json", &outside).unwrap();
    assert!(kitchen.load_path(&folder, None).is_err(), "a link led out of the folder");
}

#[test]
fn layers_may_be_links_to_those_of_other_images() {
    let kitchen = Kitchen::new();
    let shared = layer("shared");
    let item = |layer: &str, name: &str| json!({"Config": "c.json", "RepoTags": [name], "Layers": [layer]});
    let manifest =
        json!([item("a/layer.tar", "a:1"), item("b/layer.tar", "b:1"), item("c/layer.tar", "c:1")]);
    let parts = vec![
        ("a/layer.tar".to_owned(), Part::Symlink("../b/layer.tar")),
        file("b/layer.tar", shared.clone()),
        ("c/layer.tar".to_owned(), Part::HardLink("b/layer.tar")),
        file("c.json", config(&[shared])),
        file("manifest.json", manifest.to_string()),
    ];
    let loaded = kitchen.load(&tar(&parts), None).unwrap();
    assert_eq!(names(&loaded), [["a:1", "b:1", "c:1"]]);
}

#[test]
fn compressed_layers_are_kept_as_they_are() {
    let kitchen = Kitchen::new();
    for compression in [Compression::Gzip, Compression::Zstd] {
        let plain = layer(compression.name());
        let packed = compressed(&plain, compression);
        let manifest = json!([{"Config": "c.json", "RepoTags": null, "Layers": ["l"]}]);
        let parts = vec![
            file("l", packed.clone()),
            file("c.json", config(&[plain])),
            file("manifest.json", manifest.to_string()),
        ];
        let loaded = kitchen.load(&tar(&parts), None).unwrap();
        assert_eq!(kitchen.content(&loaded[0]), compression.name().as_bytes());
        assert_eq!(kitchen.store.blob_size(&Digest::sha256(&packed)), Some(packed.len() as u64));
    }
}

/// A tar that galley would not write like this.
fn foreign_layer() -> Vec<u8> {
    let mut bytes = tar(&vec![file("z", "1"), file("a", "2")]);
    bytes.resize(bytes.len() + 512 * 9, 0);
    bytes
}

#[test]
fn layers_of_others_are_compressed_as_they_are() {
    let kitchen = Kitchen::new();
    let plain = foreign_layer();
    let manifest = json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["l"]}]);
    let parts = vec![
        file("l", plain.clone()),
        file("c.json", config(std::slice::from_ref(&plain))),
        file("manifest.json", manifest.to_string()),
    ];
    kitchen.load(&tar(&parts), None).unwrap();
    let blob = |options: &PackOptions| {
        let (events, stop) = (Events::silent(), Cancel::new());
        let (store, records) = (&kitchen.store, &NoRecords);
        let fetcher = Fetcher { store, may_write: true, events: &events, stop: &stop, records };
        let image = images::find(store, "app:1").unwrap();
        let image = Assembled::of_store(store, &image).unwrap();
        let packed = PackedImage::pack(&fetcher, &image, &Platform::new("linux", "amd64"), options).unwrap();
        packed.layers[0].descriptor.clone()
    };
    let kept = blob(&PackOptions { keep_plain: true, ..PackOptions::default() });
    assert_eq!(kept.digest, Digest::sha256(&plain));
    for compression in [Compression::Gzip, Compression::Zstd] {
        let packing = Packing { compression, level: None };
        let made = blob(&PackOptions { packing, ..PackOptions::default() });
        assert_eq!(galley_oci::media_type::layer_compression(&made.media_type), Some(compression));
        let file = kitchen.store.open_blob(&made.digest).unwrap().unwrap();
        let mut unpacked = Vec::new();
        galley_oci::compress::decoder(Box::new(file)).unwrap().read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == plain, "{}", compression.name());
    }
}

#[test]
fn an_archive_of_before_manifests_is_loaded() {
    let kitchen = Kitchen::new();
    let (low, high) = (layer("low"), layer("high"));
    let parts = vec![
        file("repositories", r#"{"app":{"1":"bbb","latest":"bbb"},"base":{"1":"aaa"}}"#),
        file(
            "aaa/json",
            r##"{"id":"aaa","created":"2015-01-01T00:00:00Z","container_config":{"Cmd":["/bin/sh","-c","#(nop) ADD"]},"os":"linux","architecture":"amd64"}"##,
        ),
        file("aaa/layer.tar", low.clone()),
        file(
            "bbb/json",
            r#"{"id":"bbb","parent":"aaa","config":{"Cmd":["sh"]},"os":"linux","architecture":"amd64","Size":3}"#,
        ),
        file("bbb/layer.tar", compressed(&high, Compression::Gzip)),
    ];
    let loaded = kitchen.load(&tar(&parts), None).unwrap();
    assert_eq!(names(&loaded), [vec!["base:1"], vec!["app:1", "app:latest"]]);
    assert_eq!(kitchen.content(&loaded[1]), b"high");
    let image = kitchen.store.image(&loaded[1].id).unwrap().unwrap();
    let config: Value = serde_json::from_slice(&image.config).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"], json!([Digest::sha256(&low), Digest::sha256(&high)]));
    assert_eq!(config["history"][0]["created_by"], "/bin/sh -c #(nop) ADD");
    assert_eq!(config["config"]["Cmd"], json!(["sh"]));
    let left: Vec<&String> = config.as_object().unwrap().keys().collect();
    assert_eq!(left, ["architecture", "config", "history", "os", "rootfs"]);
}

#[test]
fn names_come_from_annotations_and_the_docker_manifest() {
    let kitchen = Kitchen::new();
    let whole = json!({"io.containerd.image.name": "docker.io/library/a:1", "org.opencontainers.image.ref.name": "1"});
    let images = [
        (whole, Value::Null, "a"),
        (json!({"org.opencontainers.image.ref.name": "localhost/b:2"}), Value::Null, "b"),
        (json!({"org.opencontainers.image.ref.name": "3"}), Value::Null, "c"),
        (json!({}), Value::Null, "d"),
    ];
    let mut parts = oci(&images);
    let config = Digest::sha256(&config(&[layer("d")]));
    let manifest =
        json!([{"Config": format!("blobs/sha256/{}", config.hex()), "RepoTags": ["d:4"], "Layers": []}]);
    parts.push(file("manifest.json", manifest.to_string()));
    let loaded = kitchen.load(&tar(&parts), None).unwrap();
    assert_eq!(names(&loaded), [vec!["a:1"], vec!["localhost/b:2"], vec![], vec!["d:4"]]);
    let again = kitchen.load(&tar(&parts), None).unwrap();
    assert!(again.iter().all(|image| image.taken.is_empty()));
    let other = kitchen.load(&tar(&docker(&json!(["a:1"]))), None).unwrap();
    assert_eq!(other[0].taken, [("a:1".parse().unwrap(), loaded[0].id)]);
}

#[test]
fn of_several_platforms_one_is_loaded() {
    let name = || json!({"io.containerd.image.name": "a:1"});
    let platform = |architecture: &str| json!({"os": "linux", "architecture": architecture});
    let attestation = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let unknown = json!({"os": "unknown", "architecture": "unknown"});
    let parts = oci(&[
        (name(), platform("arm64"), "arm"),
        (name(), platform("amd64"), "amd"),
        (name(), platform("s390x"), "mainframe"),
        (attestation, unknown, "said"),
    ]);
    let kitchen = Kitchen::new();
    for (wanted, content) in [("linux/amd64", "amd"), ("linux/s390x", "mainframe")] {
        let loaded = kitchen.load(&tar(&parts), Some(&wanted.parse().unwrap())).unwrap();
        assert_eq!((loaded.len(), kitchen.content(&loaded[0])), (1, content.into()));
    }
    let other = "linux/riscv64".parse().unwrap();
    let error = kitchen.load(&tar(&docker(&json!(["a:1"]))), Some(&other)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[test]
fn of_an_index_that_lists_more_what_is_there_is_loaded() {
    let kitchen = Kitchen::new();
    let platform = |architecture: &str| json!({"os": "linux", "architecture": architecture});
    let mut parts = oci(&[(json!({}), platform("s390x"), "mainframe")]);
    let Some((_, Part::File(inner))) = parts.pop() else { panic!("the index is the last file") };
    let mut inner: Value = serde_json::from_slice(&inner).unwrap();
    let gone = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1,
        "digest": Digest::sha256(b"gone"), "platform": platform("amd64")});
    inner["manifests"].as_array_mut().unwrap().push(gone);
    let inner = inner.to_string();
    let digest = Digest::sha256(inner.as_bytes());
    let outer = json!({"schemaVersion": 2, "manifests": [{"digest": digest, "size": inner.len(),
        "mediaType": "application/vnd.oci.image.index.v1+json", "annotations": {"io.containerd.image.name": "a:1"}}]});
    parts.push(file(&format!("blobs/sha256/{}", digest.hex()), inner));
    parts.push(file("index.json", outer.to_string()));
    let loaded = kitchen.load(&tar(&parts), Some(&"linux/s390x".parse().unwrap())).unwrap();
    assert_eq!(kitchen.content(&loaded[0]), b"mainframe");
    let amd: Platform = "linux/amd64".parse().unwrap();
    assert_eq!(kitchen.load(&tar(&parts), Some(&amd)).unwrap_err().help, ["it has: linux/s390x"]);
}

#[test]
fn nothing_is_named_when_an_image_is_broken() {
    let kitchen = Kitchen::new();
    let mut parts = docker(&json!(["app:1"]));
    parts[1] = file("2/layer.tar", layer("six"));
    assert!(kitchen.refused(&tar(&parts)).contains("has the content of"));
    assert_eq!(kitchen.store.tags().unwrap(), []);
    assert_eq!(kitchen.store.images().unwrap().len(), 0);
}

/// What is wrong with a docker archive whose part of this name is another one.
fn with(name: &str, part: Part) -> Vec<u8> {
    let mut parts = docker(&json!(["app:1"]));
    parts.retain(|(known, _)| known != name);
    parts.push((name.to_owned(), part));
    tar(&parts)
}

fn without(name: &str) -> Vec<u8> {
    let mut parts = docker(&json!(["app:1"]));
    parts.retain(|(known, _)| known != name);
    tar(&parts)
}

#[test]
fn hostile_archives_are_refused_with_the_reason() {
    let kitchen = Kitchen::new();
    let manifest = |text: &str| with("manifest.json", Part::File(text.into()));
    let item =
        |layers: &str| manifest(&format!(r#"[{{"Config":"c.json","RepoTags":null,"Layers":{layers}}}]"#));
    let whole = tar(&docker(&json!(["app:1"])));
    let huge = vec![b' '; 100 << 20];
    let bomb = compressed(&vec![0; 64 << 20], Compression::Gzip);
    let cases: [(&str, Vec<u8>, &str); 22] = [
        ("nothing", vec![], "it is empty"),
        ("text", b"hello".to_vec(), "no tar archive"),
        ("text, compressed", compressed(&[b'x'; 4096], Compression::Zstd), "no tar archive"),
        ("zeros, compressed", bomb, "no tar archive"),
        ("half", whole[..whole.len() / 3].to_vec(), "cut off"),
        ("half, compressed", compressed(&whole, Compression::Gzip)[..200].to_vec(), "cut off"),
        ("other files", tar(&vec![file("etc/passwd", "root")]), "holds no images"),
        ("no manifest", without("manifest.json"), "holds no images"),
        ("no config", without("c.json"), "c.json is missing"),
        ("no layer", without("2/layer.tar"), "2/layer.tar is missing"),
        ("a manifest of 100 MB", with("manifest.json", Part::File(huge)), "more than the 8388608"),
        ("no json", manifest("{"), "manifest.json is malformed"),
        ("a name in capitals", tar(&docker(&json!(["App:1"]))), "must be lower case"),
        (
            "a name with a digest",
            tar(&docker(&json!([format!("a@{}", Digest::sha256(b""))]))),
            "has a digest",
        ),
        ("too few layers", item(r#"["1/layer.tar"]"#), "1 layers and the config 2"),
        ("an absolute layer", item(r#"["/etc/passwd","2/layer.tar"]"#), "leads out of it"),
        ("a layer above", item(r#"["1/layer.tar","1/../../x"]"#), "leads out of it"),
        ("a swapped layer", item(r#"["2/layer.tar","1/layer.tar"]"#), "has the content of"),
        ("a link out", with("2/layer.tar", Part::Symlink("../../../etc/passwd")), "is no file"),
        ("an absolute link", with("2/layer.tar", Part::Symlink("/etc/passwd")), "is no file"),
        ("a link to itself", with("2/layer.tar", Part::Symlink("layer.tar")), "without end"),
        ("a pipe", with("2/layer.tar", Part::Fifo), "is no file"),
    ];
    for (name, bytes, wanted) in cases {
        let said = kitchen.refused(&bytes);
        assert!(said.contains(wanted), "{name}: {said}");
    }
    assert_eq!(kitchen.store.tags().unwrap(), []);
}

#[test]
fn hostile_layouts_are_refused_with_the_reason() {
    let kitchen = Kitchen::new();
    let index = |entry: &Value| {
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        vec![file("oci-layout", "{}"), file("index.json", index.to_string())]
    };
    let digest = Digest::sha256(b"x");
    let kind = "application/vnd.oci.image.index.v1+json";
    let entry = json!({"mediaType": kind, "digest": digest.to_string(), "size": 1});
    assert!(kitchen.refused(&tar(&index(&entry))).contains("is missing"));
    let mut lying = index(&entry);
    lying.push(file(&format!("blobs/sha256/{}", digest.hex()), "y"));
    assert!(kitchen.refused(&tar(&lying)).contains("has the content of"));
    let mut nested = entry;
    let mut parts = Vec::new();
    for _ in 0..8 {
        let bytes = json!({"schemaVersion": 2, "manifests": [nested]}).to_string();
        let digest = Digest::sha256(bytes.as_bytes());
        nested = json!({"mediaType": kind, "digest": digest.to_string(), "size": bytes.len()});
        parts.push(file(&format!("blobs/sha256/{}", digest.hex()), bytes));
    }
    parts.extend(index(&nested));
    assert!(kitchen.refused(&tar(&parts)).contains("without end"));
    let mut short = oci(&[(json!({}), Value::Null, "x")]);
    let packed = compressed(&layer("x"), Compression::Gzip);
    let path = format!("blobs/sha256/{}", Digest::sha256(&packed).hex());
    short.retain(|(name, _)| *name != path);
    short.push(file(&path, packed[1..].to_vec()));
    assert!(kitchen.refused(&tar(&short)).contains("bytes instead of"));
}

#[test]
fn legacy_layers_that_go_in_circles_are_refused() {
    let kitchen = Kitchen::new();
    let parts = vec![
        file("repositories", r#"{"app":{"1":"a"}}"#),
        file("a/json", r#"{"parent":"b"}"#),
        file("b/json", r#"{"parent":"a"}"#),
    ];
    assert!(kitchen.refused(&tar(&parts)).contains("circles"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is changed in a layout, it loads as the same image or not at all; a docker archive has no digests that say
    /// what its config was.
    #[test]
    fn changed_bytes_never_load_as_something_else(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let kitchen = Kitchen::new();
        let layout = oci(&[(json!({"io.containerd.image.name": "app:1"}), Value::Null, "x")]);
        let whole = kitchen.load(&tar(&layout), None).unwrap();
        for (parts, checked) in [(docker(&json!(["app:1"])), false), (layout, true)] {
            let mut bytes = tar(&parts);
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                let loaded = kitchen.load(bytes, None).unwrap_or_default();
                prop_assert!(!checked || loaded.iter().all(|image| image.id == whole[0].id));
            }
        }
    }
}
