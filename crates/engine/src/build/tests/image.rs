//! From a build to an image.

use galley_oci::{ImageConfig, Time, TimePolicy};

use super::*;
use crate::{
    blobs::{Packing, Wanted, pack_all},
    image::{Assembled, ImageOptions, REPRODUCIBLE_TIME, TimeOptions, assemble, keep},
};

const TEXT: &str = "FROM scratch\nENV A=1\nCOPY a /a\nRUN write /b text\nLABEL x=y\nWORKDIR /w\nCMD [\"/b\"]";

fn made(bench: &Bench, options: &ImageOptions) -> (Assembled, ImageConfig) {
    let store = bench.store();
    let plan = bench.plan(TEXT);
    let built = bench.build_with(TEXT, Mode::Execute, &bench.runner(&store), &Cancel::new()).unwrap();
    let image = assemble(&fetcher(&store), &plan, 0, &built, options).unwrap();
    let config = ImageConfig::parse(&image.config).unwrap();
    (image, config)
}

#[test]
fn history_tells_of_each_instruction() {
    let bench = Bench::new();
    bench.write("a", "one");
    let (image, config) = made(&bench, &ImageOptions::default());
    assert_eq!((image.layers.len(), config.rootfs.diff_ids.len()), (3, 3));
    let history: Vec<_> =
        config.history.iter().map(|item| (item.created_by.as_str(), item.empty_layer)).collect();
    let expected = [
        ("ENV A=1", true),
        ("COPY a /a # buildkit", false),
        ("RUN /bin/sh -c write /b text # buildkit", false),
        ("LABEL x=y", true),
        ("WORKDIR /w", false),
        ("CMD [\"/b\"]", true),
    ];
    assert_eq!(history, expected);
    assert!(
        config.history.iter().all(|item| item.created.is_some() && item.comment == "buildkit.dockerfile.v0")
    );
    assert_eq!(config.created, config.history[4].created);
    assert_eq!(image.id, Digest::sha256(&image.config));
}

#[test]
fn a_rebuild_that_changes_nothing_changes_no_digest() {
    let bench = Bench::new();
    bench.write("a", "one");
    let (first, _) = made(&bench, &ImageOptions::default());
    thread::sleep(Duration::from_millis(5));
    bench.write("a", "one");
    assert_eq!(made(&bench, &ImageOptions::default()).0.id, first.id);
}

#[test]
fn a_reproducible_image_depends_on_no_clock() {
    let times = TimeOptions { reproducible: true, ..TimeOptions::default() };
    let id = |pause: u64| {
        let bench = Bench::new();
        thread::sleep(Duration::from_millis(pause));
        bench.write("a", "one");
        let (image, config) =
            made(&bench, &ImageOptions { times, pack: Some(Packing::default()), ..ImageOptions::default() });
        assert_eq!(config.created, Some(REPRODUCIBLE_TIME.rfc3339()));
        image.id
    };
    assert_eq!(id(0), id(1100));
}

#[test]
fn source_date_epoch_decides_created_and_nothing_else() {
    let bench = Bench::new();
    bench.write("a", "one");
    let times = TimeOptions { source_date_epoch: Some(1_000_000_000), ..TimeOptions::default() };
    let (image, config) = made(&bench, &ImageOptions { times, ..ImageOptions::default() });
    let created = Some(Time::from_seconds(1_000_000_000).rfc3339());
    assert_eq!(config.created, created);
    assert!(config.history.iter().all(|item| item.created == created));
    assert!(image.layers.iter().all(|layer| layer.times == TimePolicy::Keep));
}

#[test]
fn packed_layers_are_remembered() {
    let bench = Bench::new();
    bench.write("a", "one");
    let options = ImageOptions { pack: Some(Packing::default()), ..ImageOptions::default() };
    let store = bench.store();
    let plan = bench.plan(TEXT);
    let built = bench.build_with(TEXT, Mode::Execute, &bench.runner(&store), &Cancel::new()).unwrap();
    let image = assemble(&fetcher(&store), &plan, 0, &built, &options).unwrap();
    // No file can be read any more, and none has to be; diffIDs are those of the blobs.
    fs::remove_file(bench.context().join("a")).unwrap();
    assert_eq!(assemble(&fetcher(&store), &plan, 0, &built, &options).unwrap().id, image.id);
    let plain = ImageOptions { pack: None, ..options };
    assert_eq!(assemble(&fetcher(&store), &plan, 0, &built, &plain).unwrap().id, image.id);
    let wanted = image.layers.iter().map(|layer| {
        let (layer, times) = (layer.held.layer().unwrap().clone(), layer.times);
        Wanted { layer, times, own: false }
    });
    let packed = pack_all(&fetcher(&store), &wanted.collect::<Vec<_>>(), Packing::default()).unwrap();
    for (layer, packed) in image.layers.iter().zip(packed) {
        assert_eq!(layer.diff_id, packed.diff_id);
        assert_eq!(store.blob_size(&packed.digest), Some(packed.size));
    }
}

#[test]
fn a_kept_image_depends_on_nothing_outside() {
    let bench = Bench::new();
    bench.write("a", "one");
    let (image, _) = made(&bench, &ImageOptions::default());
    // The copy's files are in the context: another process has to be told again where, then it can keep them.
    let store = bench.store();
    bench.build_with(TEXT, Mode::Execute, &bench.runner(&store), &Cancel::new()).unwrap();
    let name: Reference = "app:1".parse().unwrap();
    keep(&fetcher(&store), &[(&image, &Platform::of_this_machine())], std::slice::from_ref(&name)).unwrap();
    fs::remove_file(bench.context().join("a")).unwrap();
    let other = bench.store();
    assert_eq!(other.resolve(&name).unwrap(), Some(image.id));
    let layer = other.layer(image.layers[0].held.id().unwrap()).unwrap().unwrap();
    let index = layer.tree().unwrap().position(b"a").unwrap();
    assert_eq!(std::io::read_to_string(other.open_file(&layer, index).unwrap()).unwrap(), "one");
}
