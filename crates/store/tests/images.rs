use fs_err as fs;
use galley_oci::{Descriptor, Digest, Reference, Time, TimePolicy};
use galley_store::{Image, ImageLayer, StoreError};

use crate::support::{Fixture, snapshot};

fn image(config: &str) -> Image {
    let layer = |times| ImageLayer {
        layer: Digest::blake3(b"layer"),
        diff_id: Digest::sha256(b"tar"),
        times,
        blob: None::<Descriptor>,
    };
    let time = Time { seconds: 9, nanoseconds: 0 };
    Image {
        id: Digest::sha256(config.as_bytes()),
        config: config.into(),
        layers: vec![layer(TimePolicy::Keep), layer(TimePolicy::Set(time)), layer(TimePolicy::Clamp(time))],
        manifest: Some(b"{}".to_vec()),
        created: Time { seconds: 10, nanoseconds: 11 },
    }
}

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

#[test]
fn an_image_comes_back_by_id_prefix_tag_and_digest() {
    let fixture = Fixture::new();
    let image = image("{\"os\":\"linux\"}");
    fixture.store.put_image(&image).unwrap();
    fixture.store.tag(&name("app"), &image.id).unwrap();
    let store = fixture.reopened();
    assert_eq!(store.image(&image.id).unwrap().as_ref(), Some(&image));
    assert_eq!(store.images().unwrap(), std::slice::from_ref(&image));
    for prefix in [image.id.short(), image.id.hex(), image.id.to_string()] {
        assert_eq!(store.image_by_prefix(&prefix).unwrap(), Some(image.id));
    }
    assert_eq!(store.image_by_prefix("no hex").unwrap(), None);
    for text in ["app", "app:latest", "docker.io/library/app"] {
        assert_eq!(store.resolve(&name(text)).unwrap(), Some(image.id), "{text}");
    }
    let by_manifest = format!("app@{}", Digest::sha256(b"{}"));
    assert_eq!(store.resolve(&name(&by_manifest)).unwrap(), Some(image.id));
    assert_eq!(store.resolve(&name("app:other")).unwrap(), None);
    assert_eq!(store.tags().unwrap(), [(name("app:latest"), image.id)]);
}

#[test]
fn tags_move_and_go() {
    let fixture = Fixture::new();
    let (first, second) = (image("{}"), image("[]"));
    for image in [&first, &second] {
        fixture.store.put_image(image).unwrap();
        fixture.store.tag(&name("app:1"), &image.id).unwrap();
    }
    assert_eq!(fixture.store.resolve(&name("app:1")).unwrap(), Some(second.id));
    assert!(fixture.store.untag(&name("app:1")).unwrap());
    assert!(!fixture.store.untag(&name("app:1")).unwrap());
    assert_eq!(fixture.store.remove_images(&[first.id], false).unwrap(), [first.id]);
    assert_eq!(fixture.store.remove_images(&[first.id], false).unwrap(), []);
    assert_eq!(fixture.store.image(&first.id).unwrap(), None);
}

/// A prune that decided on an old tag must not take the name of an image that was built meanwhile.
#[test]
fn a_tag_that_moved_meanwhile_stays() {
    let fixture = Fixture::new();
    let (first, second) = (image("{}"), image("[]"));
    fixture.store.tag(&name("app:1"), &first.id).unwrap();
    let seen = fixture.store.find_tag(&name("app:1")).unwrap().unwrap();
    fixture.store.tag(&name("app:1"), &second.id).unwrap();
    assert!(!fixture.store.untag_if(&seen).unwrap());
    assert_eq!(fixture.store.resolve(&name("app:1")).unwrap(), Some(second.id));
    fixture.store.tag(&name("app:1"), &first.id).unwrap();
    assert!(fixture.store.untag_if(&seen).unwrap());
    assert_eq!(fixture.store.resolve(&name("app:1")).unwrap(), None);
    assert!(!fixture.store.untag_if(&seen).unwrap());
}

#[test]
fn the_longest_name_fits() {
    let fixture = Fixture::new();
    let image = image("{}");
    let long = format!("localhost:5000/{}:{}", vec!["a"; 120].join("/"), "t".repeat(128));
    fixture.store.tag(&name(&long), &image.id).unwrap();
    assert_eq!(fixture.store.resolve(&name(&long)).unwrap(), Some(image.id));
}

#[test]
fn the_same_again_writes_nothing() {
    let fixture = Fixture::new();
    let image = image("{}");
    fixture.store.put_image(&image).unwrap();
    fixture.store.tag(&name("app"), &image.id).unwrap();
    let before = snapshot(fixture.store.root());
    let store = fixture.reopened();
    let later = Image { created: Time { seconds: 99, nanoseconds: 0 }, ..image.clone() };
    store.put_image(&later).unwrap();
    store.tag(&name("app"), &image.id).unwrap();
    drop(store);
    assert_eq!(snapshot(fixture.store.root()), before);
    assert_eq!(fixture.store.image(&image.id).unwrap(), Some(image));
}

#[test]
fn an_image_that_was_tampered_with_is_refused() {
    let fixture = Fixture::new();
    let image = image("{\"user\":\"app\"}");
    fixture.store.put_image(&image).unwrap();
    let path = fixture.store.root().join("images").join(image.id.hex());
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("app", "ape")).unwrap();
    assert!(matches!(fixture.store.image(&image.id).unwrap_err(), StoreError::Damaged { .. }));
    assert_eq!(fixture.store.images().unwrap(), []);
    let wrong = Image { config: b"other".to_vec(), ..image };
    assert!(matches!(fixture.store.put_image(&wrong).unwrap_err(), StoreError::DigestMismatch { .. }));
}

#[test]
fn the_files_are_pinned() {
    let fixture = Fixture::new();
    let image = image("{}");
    fixture.store.put_image(&image).unwrap();
    fixture.store.tag(&name("app"), &image.id).unwrap();
    let tag = fixture.store.root().join("refs").join(Digest::blake3(b"docker.io/library/app:latest").hex());
    let id = &image.id;
    assert_eq!(
        fs::read_to_string(tag).unwrap(),
        format!("{{\"reference\":\"docker.io/library/app:latest\",\"image\":\"{id}\"}}\n")
    );
    let (layer, diff_id) = (Digest::blake3(b"layer"), Digest::sha256(b"tar"));
    let layer =
        |times: &str| format!("{{\"layer\":\"{layer}\",\"diff_id\":\"{diff_id}\",\"times\":{times}}}");
    let layers = [layer("\"keep\""), layer("{\"set\":[9,0]}"), layer("{\"clamp\":[9,0]}")].join(",");
    assert_eq!(
        fs::read_to_string(fixture.store.root().join("images").join(id.hex())).unwrap(),
        format!("{{\"config\":\"{{}}\",\"layers\":[{layers}],\"manifest\":\"{{}}\",\"created\":[10,11]}}\n")
    );
}
