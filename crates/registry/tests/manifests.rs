use galley_oci::{Digest, media_type};
use galley_registry::Kind;
use galley_testkit::registry::{Fault, Registry, Rule};
use serde_json::json;

use crate::support::{client, failure, pinned, reference, timed};

const MANIFESTS: &str = "/v2/library/app/manifests/*";

#[test]
fn by_tag_and_by_digest() {
    let registry = Registry::start();
    let image = registry.put_image("library/app", "1", &[b"layer".to_vec()]);
    let client = client();
    for reference in
        [reference(&registry, "library/app:1"), pinned(&registry, "library/app", &image.manifest)]
    {
        let document = client.manifest(&reference).unwrap();
        assert_eq!(document.bytes, image.bytes);
        assert_eq!(document.digest, image.manifest.digest);
        assert_eq!(document.media_type, media_type::OCI_MANIFEST);
    }
}

#[test]
fn a_digest_counts_more_than_a_tag() {
    let registry = Registry::start();
    let old = registry.put_image("library/app", "1", &[b"old".to_vec()]);
    registry.put_image("library/app", "1", &[b"new".to_vec()]);
    let both = reference(&registry, &format!("library/app:1@{}", old.manifest.digest));
    assert_eq!(client().manifest(&both).unwrap().bytes, old.bytes);
}

#[test]
fn all_four_kinds_of_documents_are_accepted() {
    let registry = Registry::start();
    registry.put_image("library/app", "1", &[]);
    let client = client();
    client.manifest(&reference(&registry, "library/app:1")).unwrap();
    client.head(&reference(&registry, "library/app:1")).unwrap();
    for request in registry.matching("*", MANIFESTS) {
        let accepts: Vec<&str> = request
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("accept"))
            .map(|(_, v)| v.as_str())
            .collect();
        let accepts = accepts.join(", ");
        for kind in [
            media_type::OCI_MANIFEST,
            media_type::OCI_INDEX,
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_INDEX,
        ] {
            assert!(accepts.contains(kind), "{} accepts {accepts}", request.method);
        }
    }
}

#[test]
fn indexes_and_docker_documents() {
    let registry = Registry::start();
    let image = registry.put_image("library/app", "1", &[]);
    let index = json!({"schemaVersion": 2, "manifests": [image.manifest]}).to_string();
    for kind in [media_type::OCI_INDEX, media_type::DOCKER_INDEX, media_type::DOCKER_MANIFEST] {
        let put = registry.put_manifest("library/app", "2", kind, index.as_bytes());
        let document = client().manifest(&reference(&registry, "library/app:2")).unwrap();
        assert_eq!((document.media_type.as_str(), document.digest), (kind, put.digest));
    }
}

#[test]
fn the_media_type_may_be_in_the_document_alone() {
    let registry = Registry::start();
    registry.put_image("library/app", "1", &[]);
    for wrong in [None, Some("application/json".to_owned()), Some("text/plain".to_owned())] {
        registry.inject(Rule::on("GET", MANIFESTS, Fault::Header("Content-Type", wrong.clone())));
        let document = client().manifest(&reference(&registry, "library/app:1")).unwrap();
        assert_eq!(document.media_type, media_type::OCI_MANIFEST, "{wrong:?}");
    }
}

#[test]
fn head_describes_without_fetching() {
    let registry = Registry::start();
    let image = registry.put_image("library/app", "1", &[]);
    let found = client().head(&reference(&registry, "library/app:1")).unwrap().unwrap();
    assert_eq!((found.digest, found.size), (image.manifest.digest, image.manifest.size));
    assert_eq!(found.media_type, media_type::OCI_MANIFEST);
    assert_eq!(registry.bytes_sent(MANIFESTS), 0);
    assert!(client().head(&reference(&registry, "library/app:2")).unwrap().is_none());
}

#[test]
fn head_without_a_digest_falls_back_to_get() {
    let registry = Registry::start();
    let image = registry.put_image("library/app", "1", &[]);
    registry.inject(Rule::on("HEAD", MANIFESTS, Fault::Header("Docker-Content-Digest", None)));
    let found = client().head(&reference(&registry, "library/app:1")).unwrap().unwrap();
    assert_eq!((found.digest, found.size), (image.manifest.digest, image.manifest.size));
    registry.inject(Rule::on("HEAD", MANIFESTS, Fault::status(405)));
    let found = client().head(&reference(&registry, "library/app:1")).unwrap().unwrap();
    assert_eq!(found.digest, image.manifest.digest, "registries that know no HEAD");
}

#[test]
fn what_is_missing_and_what_is_forbidden() {
    let registry = Registry::start();
    let image = registry.put_image("library/app", "1", &[]);
    let client = client();
    failure(client.manifest(&reference(&registry, "library/app:2")), Kind::NotFound);
    failure(client.manifest(&reference(&registry, "library/other:1")), Kind::NotFound);
    registry.inject(Rule::on("GET", MANIFESTS, Fault::status(403)));
    failure(client.manifest(&pinned(&registry, "library/app", &image.manifest)), Kind::Denied);
    assert_eq!(registry.count("GET", MANIFESTS), 2, "neither is asked for again");
}

#[test]
fn other_bytes_than_the_digest_says() {
    let registry = Registry::start();
    let image = registry.put_image("library/app", "1", &[]);
    let by_digest = pinned(&registry, "library/app", &image.manifest);
    let client = client();
    for fault in [Fault::Corrupt, Fault::Body(b"{}".to_vec()), Fault::Body(Vec::new())] {
        registry.heal();
        registry.inject(Rule::on("GET", MANIFESTS, fault).always());
        failure(client.manifest(&by_digest), Kind::Lied);
    }
    registry.heal();
    assert_eq!(client.manifest(&by_digest).unwrap().bytes, image.bytes, "the lies were not kept");
}

#[test]
fn an_index_that_contains_itself() {
    // No digest can be in what it is made of: whoever says so lies about one of them.
    let registry = Registry::start();
    let wanted = Digest::sha256(b"itself");
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [
        {"mediaType": media_type::OCI_INDEX, "digest": wanted.to_string(), "size": 300},
    ]});
    registry.put_manifest_as("library/app", &wanted, media_type::OCI_INDEX, index.to_string().as_bytes());
    failure(client().manifest(&reference(&registry, &format!("library/app@{wanted}"))), Kind::Lied);
}

#[test]
fn a_header_that_names_another_digest() {
    let registry = Registry::start();
    let image = registry.put_image("library/app", "1", &[]);
    let other = Some(Digest::sha256(b"other").to_string());
    registry.inject(Rule::on("GET", MANIFESTS, Fault::Header("Docker-Content-Digest", other)).always());
    // By digest the bytes alone count; by tag the two contradict each other.
    assert_eq!(
        client().manifest(&pinned(&registry, "library/app", &image.manifest)).unwrap().bytes,
        image.bytes
    );
    failure(client().manifest(&reference(&registry, "library/app:1")), Kind::Lied);
}

#[test]
fn pages_of_captive_portals() {
    let registry = Registry::start();
    let image = registry.put_image("library/app", "1", &[]);
    registry.inject(Rule::on("*", MANIFESTS, Fault::html()).always());
    let client = client();
    let error = failure(client.manifest(&reference(&registry, "library/app:1")), Kind::Lied);
    assert!(!error.to_string().contains("doctype"), "{error}");
    failure(client.manifest(&pinned(&registry, "library/app", &image.manifest)), Kind::Lied);
}

#[test]
fn manifests_without_end() {
    let registry = Registry::start();
    let image = registry.put_image("library/app", "1", &[]);
    let client = client();
    for fault in [Fault::Huge(100 << 20), Fault::Endless] {
        for reference in
            [reference(&registry, "library/app:1"), pinned(&registry, "library/app", &image.manifest)]
        {
            registry.heal();
            registry.inject(Rule::on("GET", MANIFESTS, fault.clone()).always());
            failure(client.manifest(&reference), Kind::TooLarge);
        }
    }
    // Some more may be in the buffers of sockets.
    assert!(registry.bytes_sent(MANIFESTS) < 4 * (16 << 20), "{} bytes", registry.bytes_sent(MANIFESTS));
}

#[test]
fn lengths_that_are_wrong() {
    let registry = Registry::start();
    let image = registry.put_image("library/app", "1", &[]);
    let by_digest = pinned(&registry, "library/app", &image.manifest);
    let client = client();
    registry.inject(Rule::on("GET", MANIFESTS, Fault::LengthOff(-7)).always());
    failure(client.manifest(&by_digest), Kind::Lied);
    registry.heal();
    registry.inject(Rule::on("GET", MANIFESTS, Fault::LengthOff(7)));
    assert_eq!(client.manifest(&by_digest).unwrap().bytes, image.bytes, "as good as cut: asked for again");
    registry.inject(Rule::on("GET", MANIFESTS, Fault::NoLength));
    assert_eq!(client.manifest(&by_digest).unwrap().bytes, image.bytes);
}

#[test]
fn a_tag_that_moves_between_two_requests() {
    let registry = Registry::start();
    let new = registry.put_image("library/app", "new", &[b"new".to_vec()]);
    let old = registry.put_image("library/app", "1", &[b"old".to_vec()]);
    let moved = Fault::MoveTag {
        repository: "library/app".into(),
        tag: "1".into(),
        digest: new.manifest.digest.to_string(),
    };
    registry.inject(Rule::on("HEAD", MANIFESTS, moved));
    let client = client();
    let found = client.head(&reference(&registry, "library/app:1")).unwrap().unwrap();
    assert_eq!(client.manifest(&pinned(&registry, "library/app", &found)).unwrap().bytes, old.bytes);
    assert_eq!(client.manifest(&reference(&registry, "library/app:1")).unwrap().bytes, new.bytes);
}

#[test]
fn deleting() {
    let registry = Registry::start();
    let image = registry.put_image("library/app", "1", &[]);
    let client = client();
    let by_digest = pinned(&registry, "library/app", &image.manifest);
    registry.inject(Rule::on("DELETE", MANIFESTS, Fault::status(405)));
    failure(client.delete_manifest(&by_digest), Kind::Unsupported);
    client.delete_manifest(&by_digest).unwrap();
    assert!(registry.tags("library/app").is_empty());
    failure(client.delete_manifest(&by_digest), Kind::NotFound);
}

#[test]
fn connections_are_used_again() {
    let registry = Registry::start();
    registry.put_image("library/app", "1", &[]);
    let client = client();
    let fetch = || client.manifest(&reference(&registry, "library/app:1")).unwrap();
    fetch();
    let connections = registry.connections();
    let (_, time) = timed(|| (0..20).for_each(|_| drop(fetch())));
    assert_eq!(registry.connections(), connections, "in {time:?}");
}
