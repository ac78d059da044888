//! The document: what it looks like, and what is not taken for one.

use galley_oci::{Digest, Time, TimePolicy};
use proptest::prelude::*;
use serde_json::json;

use super::document::*;

fn digest(text: &str) -> Digest {
    Digest::blake3(text.as_bytes())
}

fn document() -> Document {
    let blob =
        |blob, times: TimePolicy| BlobEntry { blob, diff_id: Digest::sha256(b"tar"), times: times.into() };
    let second = Time::from_seconds(315_532_800);
    Document {
        layers: vec![
            LayerEntry {
                layer: digest("layer"),
                blobs: vec![
                    blob(0, TimePolicy::Keep),
                    blob(1, TimePolicy::Set(second)),
                    blob(1, TimePolicy::Clamp(second)),
                ],
            },
            LayerEntry { layer: digest("nowhere"), blobs: Vec::new() },
        ],
        records: vec![RecordEntry {
            key: digest("key"),
            layer: 1,
            created: Time { seconds: 1, nanoseconds: 5 }.rfc3339(),
        }],
    }
}

/// docs/internals/cache-format.md shows this.
#[test]
fn the_format_is_what_it_was() {
    let bytes = document().to_config();
    assert_eq!(String::from_utf8(bytes.clone()).unwrap(), GOLDEN);
    assert_eq!(Document::find(&bytes, 2).unwrap(), document());
}

const GOLDEN: &str = concat!(
    r#"{"galley.cache.v1":{"layers":["#,
    r#"{"layer":"blake3:8f2d6d0f1719ad962a4b502545b35602a8386ae241b652aa2d140585f9a76647","blobs":["#,
    r#"{"blob":0,"diffId":"sha256:90aebae315675cbf04612de4f7d5874850f48e0b8dd82becbeaa47ca93f5ebfb"},"#,
    r#"{"blob":1,"diffId":"sha256:90aebae315675cbf04612de4f7d5874850f48e0b8dd82becbeaa47ca93f5ebfb","times":{"set":315532800}},"#,
    r#"{"blob":1,"diffId":"sha256:90aebae315675cbf04612de4f7d5874850f48e0b8dd82becbeaa47ca93f5ebfb","times":{"clamp":315532800}}]},"#,
    r#"{"layer":"blake3:c7a51aa3268f8f8fb9a67a997b3df4097f135d12ebf1410a780a83324f64011c"}],"#,
    r#""records":[{"key":"blake3:ff8e2bab3b26e0c127002127905539b47eb421de85d554e15f55a446459b52b4","#,
    r#""layer":1,"created":"1970-01-01T00:00:01.000000005Z"}]}}"#,
);

#[test]
fn what_is_no_cache_of_ours_is_said() {
    let refused =
        |config: serde_json::Value| Document::find(config.to_string().as_bytes(), 2).unwrap_err().to_string();
    assert_eq!(refused(json!({})), "there is no build cache in it");
    assert_eq!(refused(json!([])), "there is no build cache in it");
    assert_eq!(
        refused(json!({"moby.buildkit.cache.v0": "e30="})),
        "it is a cache of BuildKit, which galley cannot use"
    );
    assert_eq!(
        refused(json!({"galley.cache.v2": {}})),
        "it is a cache of another version of galley (galley.cache.v2)"
    );
    assert_eq!(refused(json!({"galley.cache.v1": 1})), "its config is malformed");
    let with = |change: &dyn Fn(&mut Document)| {
        let mut document = document();
        change(&mut document);
        Document::find(&document.to_config(), 2).unwrap_err().to_string()
    };
    assert_eq!(with(&|it| it.layers[0].blobs[0].blob = 2), "its layer 0 is in blob 2, and there are 2");
    assert_eq!(with(&|it| it.records[0].layer = 2), "its record 0 names layer 2, and there are 2");
    assert_eq!(
        with(&|it| it.records[0].created = "now".to_owned()),
        "its record 0 was made at \"now\", which is no time"
    );
    let sha = Digest::sha256(b"");
    assert!(with(&|it| it.records[0].key = sha).ends_with("which is no key"));
    assert!(with(&|it| it.layers[0].layer = sha).ends_with("which is no layer's id"));
    assert!(with(&|it| it.layers[0].blobs[0].diff_id = digest("x")).ends_with("which is none"));
    assert_eq!(
        with(&|it| it.layers = vec![it.layers[1].clone(); LAYERS_MAX + 1]),
        "it has 10001 layers, more than the 10000 that are accepted"
    );
    assert_eq!(
        with(&|it| it.records = vec![it.records[0].clone(); RECORDS_MAX + 1]),
        "it has 50001 records, more than the 50000 that are accepted"
    );
    assert_eq!(
        with(&|it| it.layers[0].blobs = vec![it.layers[0].blobs[0].clone(); BLOBS_PER_LAYER_MAX + 1]),
        "it has 9 blobs of one layer, more than the 8 that are accepted"
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        json in "[]\\[{}\":,a-z0-9\\\\ ]{0,80}",
        cut in 0_usize..600,
        with in any::<u8>(),
        blobs in 0_usize..4,
    ) {
        let _ = Document::find(&bytes, blobs);
        let inner = format!("{{\"galley.cache.v1\":{json}}}");
        let _ = Document::find(inner.as_bytes(), blobs);
        let mut golden = document().to_config();
        let cut = cut % golden.len();
        golden[cut] = with;
        if let Ok(document) = Document::find(&golden, blobs) {
            // Whatever is accepted points at something that is there.
            prop_assert!(document.records.iter().all(|record| record.layer < document.layers.len()));
            let places = document.layers.iter().flat_map(|layer| &layer.blobs);
            prop_assert!(places.into_iter().all(|place| place.blob < blobs));
        }
        let _ = Document::find(&golden[..cut], blobs);
    }
}
