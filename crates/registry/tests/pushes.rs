//! Whole images there and back.

use galley_oci::{Digest, Manifest, media_type};
use galley_registry::{Client, Kind, Uploaded};
use galley_testkit::registry::{Auth, Fault, Registry, Rule, TestImage};

use crate::support::{Machine, client, failure, fetch, noise, reference, upload_from};

/// Copies an image as `pull` and `push` do.
fn copy(client: &Client, from: (&Registry, &str), to: (&Registry, &str)) -> Vec<Uploaded> {
    let document = client.manifest(&reference(from.0, from.1)).unwrap();
    let manifest = Manifest::parse(&document.bytes).unwrap();
    let target = reference(to.0, to.1);
    let source = reference(from.0, from.1);
    let blobs = manifest.layers.iter().chain([&manifest.config]);
    let sent = blobs.map(|blob| {
        let bytes = fetch(client, &source, blob).unwrap();
        upload_from(client, &target, &bytes, std::slice::from_ref(&source)).unwrap()
    });
    let sent = sent.collect();
    assert_eq!(client.put_manifest(&target, &document.media_type, &document.bytes).unwrap(), document.digest);
    sent
}

fn image(registry: &Registry) -> TestImage {
    registry.put_image("library/app", "1", &[noise(100_000), noise(50_000)])
}

#[test]
fn there_and_back() {
    let from = Registry::start();
    let image = image(&from);
    for auth in [Auth::None, Auth::basic(), Auth::token()] {
        let to = Registry::builder().auth(auth).start();
        let client = Machine::new().logged_in(&[&to]).client();
        let sent = copy(&client, (&from, "library/app:1"), (&to, "team/app:2"));
        assert_eq!(sent, [Uploaded::Sent, Uploaded::Sent, Uploaded::Sent]);
        let found = client.manifest(&reference(&to, "team/app:2")).unwrap();
        assert_eq!((found.digest, found.bytes), (image.manifest.digest, image.bytes.clone()));
    }
}

#[test]
fn the_second_time_nothing_is_sent_but_the_manifest() {
    let (from, to) = (Registry::start(), Registry::start());
    image(&from);
    copy(&client(), (&from, "library/app:1"), (&to, "team/app:1"));
    to.forget_requests();
    let sent = copy(&client(), (&from, "library/app:1"), (&to, "team/app:2"));
    assert_eq!(sent, [Uploaded::Present, Uploaded::Present, Uploaded::Present]);
    assert_eq!(to.bytes_received("/v2/*/blobs/*"), 0);
    assert_eq!(to.tags("team/app"), ["1", "2"]);
}

#[test]
fn within_a_registry_everything_is_mounted() {
    let registry = Registry::builder().auth(Auth::token()).start();
    image(&registry);
    let client = Machine::new().logged_in(&[&registry]).client();
    let sent = copy(&client, (&registry, "library/app:1"), (&registry, "team/app:1"));
    assert!(sent.iter().all(|sent| matches!(sent, Uploaded::Mounted(_))), "{sent:?}");
    assert_eq!(registry.bytes_received("/v2/*/blobs/*"), 0);
}

#[test]
fn a_manifest_before_its_blobs() {
    let (from, to) = (Registry::start(), Registry::start());
    let image = image(&from);
    let target = reference(&to, "team/app:1");
    let result = client().put_manifest(&target, media_type::OCI_MANIFEST, &image.bytes);
    let error = result.expect_err("a refusal").to_string();
    assert!(error.contains("MANIFEST_BLOB_UNKNOWN"), "{error}");
}

#[test]
fn manifests_in_trouble() {
    let manifests = "/v2/library/app/manifests/*";
    for fault in [Fault::status(500), Fault::too_many("0"), Fault::Reset, Fault::NoAnswer, Fault::Hang] {
        let registry = Registry::start();
        let image = image(&registry);
        let client = Machine::new().against(&fault).client();
        registry.inject(Rule::on("PUT", manifests, fault));
        let target = reference(&registry, "library/app:2");
        client.put_manifest(&target, media_type::OCI_MANIFEST, &image.bytes).unwrap();
        assert_eq!(registry.tags("library/app"), ["1", "2"]);
    }
    let registry = Registry::start();
    let image = image(&registry);
    let other = Some(Digest::sha256(b"other").to_string());
    registry.inject(Rule::on("PUT", manifests, Fault::Header("Docker-Content-Digest", other)));
    let target = reference(&registry, "library/app:2");
    failure(client().put_manifest(&target, media_type::OCI_MANIFEST, &image.bytes), Kind::Lied);
}
