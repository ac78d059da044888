use galley_oci::{Descriptor, Digest, Index, media_type};
use galley_registry::{Client, Kind};
use galley_testkit::registry::{Builder, Fault, Registry, Rule, TestImage};
use serde_json::json;

use crate::support::{client, failure, pinned, reference};

const KIND: &str = "application/vnd.example.signature";
const OTHER_KIND: &str = "application/vnd.example.sbom";

fn with_image(builder: Builder) -> (Registry, TestImage, Client) {
    let registry = builder.start();
    let image = registry.put_image("library/app", "1", &[]);
    (registry, image, client())
}

/// Puts a manifest that refers to the image, as a client does; returns its digest.
fn refer(client: &Client, registry: &Registry, image: &TestImage, kind: &str, note: &str) -> Digest {
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": kind, "config": image.config,
        "layers": [], "subject": image.manifest, "annotations": {"note": note},
    });
    let bytes = manifest.to_string().into_bytes();
    let target = pinned(registry, "library/app", &Descriptor::of(media_type::OCI_MANIFEST, &bytes));
    client.put_manifest(&target, media_type::OCI_MANIFEST, &bytes).unwrap()
}

fn digests(index: &Index) -> Vec<Digest> {
    let mut digests: Vec<Digest> = index.manifests.iter().map(|manifest| manifest.digest).collect();
    digests.sort();
    digests
}

fn sorted(mut digests: Vec<Digest>) -> Vec<Digest> {
    digests.sort();
    digests
}

/// The same story for registries with the API and without.
fn story(builder: Builder) -> Registry {
    let (registry, image, client) = with_image(builder);
    let app = reference(&registry, "library/app");
    let list = |kind| client.referrers(&app, &image.manifest.digest, kind).unwrap();
    assert!(list(None).manifests.is_empty());
    let one = refer(&client, &registry, &image, KIND, "one");
    let two = refer(&client, &registry, &image, OTHER_KIND, "two");
    let three = refer(&client, &registry, &image, KIND, "three");
    refer(&client, &registry, &image, KIND, "three");
    assert_eq!(digests(&list(None)), sorted(vec![one, two, three]));
    assert_eq!(digests(&list(Some(KIND))), sorted(vec![one, three]));
    assert!(list(Some("application/vnd.example.nothing")).manifests.is_empty());
    let listed = list(Some(OTHER_KIND)).manifests.remove(0);
    assert_eq!(listed.artifact_type.as_deref(), Some(OTHER_KIND));
    assert_eq!(listed.annotations.get("note").map(String::as_str), Some("two"));
    registry
}

#[test]
fn with_the_api() {
    let registry = story(Registry::builder());
    assert_eq!(registry.tags("library/app"), ["1"], "no list under a tag");
    assert!(registry.count("GET", "/v2/library/app/referrers/*") >= 5);
}

#[test]
fn with_an_api_that_does_not_filter() {
    story(Registry::builder().unfiltered_referrers());
}

#[test]
fn in_pages() {
    story(Registry::builder().referrers_page(1).unfiltered_referrers());
}

#[test]
fn without_the_api_the_list_is_a_tag() {
    let registry = story(Registry::builder().referrers(false));
    let image = registry.manifest("library/app", "1").unwrap().1;
    let tag = Digest::sha256(&image).to_string().replace(':', "-");
    assert_eq!(registry.tags("library/app"), ["1".to_owned(), tag.clone()]);
    let (kind, bytes) = registry.manifest("library/app", &tag).unwrap();
    let index = Index::parse(&bytes).unwrap();
    assert_eq!((kind.as_str(), index.manifests.len()), (media_type::OCI_INDEX, 3));
    assert_eq!(index.manifests[0].media_type, media_type::OCI_MANIFEST);
}

#[test]
fn lists_that_lie() {
    let list = "/v2/library/app/referrers/*";
    for (fault, kind) in [
        (Fault::Body(b"<html>".to_vec()), Kind::Lied),
        (Fault::Body(b"{\"manifests\":7}".to_vec()), Kind::Lied),
        (Fault::Body(vec![b' '; 5 << 20]), Kind::TooLarge),
        (Fault::status(403), Kind::Denied),
        (Fault::status(500), Kind::Unreachable),
    ] {
        let (registry, image, client) = with_image(Registry::builder());
        registry.inject(Rule::on("GET", list, fault).always());
        let app = reference(&registry, "library/app");
        failure(client.referrers(&app, &image.manifest.digest, None), kind);
    }
}

#[test]
fn pages_for_people_are_no_list() {
    for fault in [Fault::html(), Fault::Endless, Fault::status(400), Fault::status(405)] {
        let (registry, image, client) = with_image(Registry::builder());
        registry.inject(Rule::on("GET", "/v2/library/app/referrers/*", fault).always());
        let listed =
            client.referrers(&reference(&registry, "library/app"), &image.manifest.digest, None).unwrap();
        assert!(listed.manifests.is_empty(), "the list under the tag counts, and there is none");
        assert_eq!(registry.count("GET", "/v2/library/app/manifests/sha256-*"), 1);
    }
}

#[test]
fn pages_without_end() {
    let (registry, image, client) = with_image(Registry::builder());
    let next = format!("</v2/library/app/referrers/{}>; rel=\"next\"", image.manifest.digest);
    registry
        .inject(Rule::on("GET", "/v2/library/app/referrers/*", Fault::Header("Link", Some(next))).always());
    let app = reference(&registry, "library/app");
    let _ = client.referrers(&app, &image.manifest.digest, None);
    assert!(registry.count("GET", "/v2/library/app/referrers/*") <= 101);
}

#[test]
fn the_next_page_is_never_elsewhere() {
    let (registry, image, client) = with_image(Registry::builder());
    let other = Registry::start();
    let next = format!("<{}/v2/library/app/referrers/x>; rel=\"next\"", other.base());
    registry
        .inject(Rule::on("GET", "/v2/library/app/referrers/*", Fault::Header("Link", Some(next))).always());
    let _ = client.referrers(&reference(&registry, "library/app"), &image.manifest.digest, None);
    assert!(other.requests().is_empty());
}
