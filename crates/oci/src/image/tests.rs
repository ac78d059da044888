use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Digest, Platform};

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn escapes_of_go() {
    let value = json!({"<k>": "a&b\u{2028}\u{2029}\u{7f}\u{8}\u{c}\u{1}\"\\/é"});
    let wanted = "{\"\\u003ck\\u003e\":\"a\\u0026b\\u2028\\u2029\u{7f}\\b\\f\\u0001\\\"\\\\/é\"}";
    assert_eq!(text(to_compact(&value)), wanted);
    assert_eq!(
        text(to_indented(&json!({"a": {}, "b": [], "c": ["<"]}))),
        "{\n  \"a\": {},\n  \"b\": [],\n  \"c\": [\n    \"\\u003c\"\n  ]\n}"
    );
}

#[test]
fn unknown_fields_survive_and_null_is_empty() {
    let bytes =
        br#"{"architecture":"amd64","config":{"Env":null,"Labels":null,"ExposedPorts":null,"Hostname":"h"},
        "docker_version":"1","moby.buildkit.cache.v0":"x","history":[{"created_by":"a","x":1}],
        "os":"linux","rootfs":{"type":"layers","diff_ids":null},"variant":"v2"}"#;
    let config = ImageConfig::parse(bytes).unwrap();
    assert_eq!(config.config.env, [""; 0]);
    assert_eq!(config.extra["docker_version"], "1");
    assert_eq!(
        text(config.to_bytes()),
        r#"{"architecture":"amd64","config":{"Hostname":"h"},"created":null,"docker_version":"1","history":[{"created_by":"a","x":1}],"moby.buildkit.cache.v0":"x","os":"linux","rootfs":{"type":"layers","diff_ids":null},"variant":"v2"}"#
    );
    let null = ImageConfig::parse(br#"{"config":null,"history":null,"rootfs":null,"os":null}"#).unwrap();
    assert_eq!(null, ImageConfig::default());
}

#[test]
fn the_best_manifest_is_selected() {
    let manifest = |platform: Option<&str>, bytes: &str| Descriptor {
        platform: platform.map(|platform| platform.parse().unwrap()),
        ..Descriptor::of(crate::media_type::OCI_MANIFEST, bytes.as_bytes())
    };
    let (v6, v7, any) =
        (manifest(Some("linux/arm/v6"), "6"), manifest(Some("linux/arm/v7"), "7"), manifest(None, "-"));
    let index = Index::new(vec![any.clone(), v6.clone(), v7.clone()]);
    let select = |platform: &str| index.select(&platform.parse::<Platform>().unwrap());
    assert_eq!(select("linux/arm64"), Some(&v7));
    assert_eq!(select("linux/arm/v6"), Some(&v6));
    assert_eq!(select("linux/s390x"), Some(&any));
}

#[test]
fn errors_name_the_document() {
    let error = Manifest::parse(b"{").unwrap_err();
    assert_eq!(error.to_string(), "the image manifest is malformed");
    let error = ImageConfig::parse(&vec![b' '; MAX_DOCUMENT_BYTES + 1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the image configuration has 8388609 bytes, more than the 8388608 that are accepted"
    );
}

#[test]
fn descriptors_have_the_order_of_go() {
    let descriptor = Descriptor {
        urls: vec!["u".to_owned()],
        annotations: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
        data: Some("e30=".to_owned()),
        platform: Some(Platform::new("linux", "amd64")),
        artifact_type: Some("t".to_owned()),
        ..Descriptor::new("m", Digest::sha256(b""), 2)
    };
    assert_eq!(
        text(to_compact(&descriptor)),
        r#"{"mediaType":"m","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":2,"urls":["u"],"annotations":{"a":"1","b":"2"},"data":"e30=","platform":{"architecture":"amd64","os":"linux"},"artifactType":"t"}"#
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), json in "[]\\[{}\":,a-zA-Z0-9\\\\ ]{0,80}") {
        for bytes in [bytes.as_slice(), json.as_bytes()] {
            let _ = ImageConfig::parse(bytes);
            let _ = Manifest::parse(bytes);
            let _ = Index::parse(bytes);
        }
    }

    /// Whatever is read is written as a document that is read as the same.
    #[test]
    fn what_is_written_is_read(
        user in "\\PC{0,8}",
        env in prop::collection::vec("\\PC{0,12}", 0..4),
        labels in prop::collection::btree_map("\\PC{0,6}", "[<>&\\PC]{0,12}", 0..4),
        ports in prop::collection::btree_set("[0-9]{1,5}/tcp", 0..3),
        created in prop::option::of("[0-9TZ:-]{0,20}"),
        cmd in prop::collection::vec("\\PC{0,12}", 0..3),
    ) {
        let config = RunConfig { user, env, labels, exposed_ports: ports, cmd, ..RunConfig::default() };
        let history = vec![History { created: created.clone(), ..History::default() }];
        let config = ImageConfig { created, config, history, os: "linux".to_owned(), ..ImageConfig::default() };
        prop_assert_eq!(ImageConfig::parse(&config.to_bytes()).unwrap(), config);
    }
}
