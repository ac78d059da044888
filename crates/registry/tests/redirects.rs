use galley_oci::Descriptor;
use galley_registry::Kind;
use galley_testkit::registry::{Auth, Fault, Registry, Rule};

use crate::support::{Machine, SECRET, client, failure, fetch, limits, noise, reference, upload};

const BLOBS: &str = "/v2/library/app/blobs/*";

/// A registry that wants tokens and keeps its blobs elsewhere, as the big ones do.
fn with_storage() -> (Registry, Registry, Vec<u8>, Descriptor) {
    let registry = Registry::builder().auth(Auth::token()).start();
    let storage = Registry::start();
    let bytes = noise(200_000);
    let blob = registry.put_blob("library/app", &bytes);
    storage.put_blob("library/app", &bytes);
    (registry, storage, bytes, blob)
}

fn assert_nothing_secret_arrived(other: &Registry) {
    for request in other.requests() {
        let text = format!("{request:?}");
        assert!(request.header("authorization").is_none() && !text.contains(SECRET), "{text}");
    }
}

#[test]
fn storage_elsewhere_gets_no_token() {
    for name in ["127.0.0.1", "localhost"] {
        let (registry, storage, bytes, blob) = with_storage();
        let target = storage.base().replace("127.0.0.1", name) + "{path}?signature=s3cret-signature";
        registry.inject(Rule::on("GET", BLOBS, Fault::Redirect(target)).always());
        let client = Machine::new().logged_in(&[&registry]).client();
        assert!(fetch(&client, &reference(&registry, "library/app"), &blob).unwrap() == bytes);
        assert_eq!(storage.count("GET", BLOBS), 1);
        assert!(storage.requests().iter().all(|request| request.header("authorization").is_none()));
        assert_eq!(registry.bytes_sent(BLOBS), 0);
    }
}

#[test]
fn a_cut_there_goes_on_there() {
    let (registry, storage, bytes, blob) = with_storage();
    registry.inject(Rule::on("GET", BLOBS, Fault::Redirect(format!("{}{{path}}", storage.base()))).always());
    storage.inject(Rule::on("GET", BLOBS, Fault::Cut { after: 120_000, reset: false }));
    let client = Machine::new().logged_in(&[&registry]).client();
    assert!(fetch(&client, &reference(&registry, "library/app"), &blob).unwrap() == bytes);
    let ranges: Vec<_> =
        storage.matching("GET", BLOBS).iter().map(|r| r.header("range").map(ToOwned::to_owned)).collect();
    assert_eq!(ranges, [None, Some("bytes=120000-".to_owned())]);
    assert_eq!(storage.bytes_sent(BLOBS), 200_000);
    assert_nothing_secret_arrived(&storage);
}

#[test]
fn signatures_in_addresses_are_not_shown() {
    let (registry, storage, _, blob) = with_storage();
    let target = format!("{}{{path}}?signature=s3cret-signature", storage.base());
    registry.inject(Rule::on("GET", BLOBS, Fault::Redirect(target)).always());
    let client = Machine::new().logged_in(&[&registry]).client();
    for (fault, kind) in [
        (Fault::status(403), Kind::Denied),
        (Fault::status(404), Kind::NotFound),
        (Fault::status(500), Kind::Unreachable),
        (Fault::status(400), Kind::Unreachable),
        (Fault::html(), Kind::Lied),
        (Fault::Corrupt, Kind::Lied),
        (Fault::Reset, Kind::Unreachable),
        (Fault::Redirect("ftp://127.0.0.1/s3cret".to_owned()), Kind::Lied),
        (Fault::redirect_loop(), Kind::Lied),
    ] {
        storage.heal();
        storage.inject(Rule::on("GET", BLOBS, fault).always());
        failure(fetch(&client, &reference(&registry, "library/app"), &blob), kind);
    }
}

#[test]
fn a_storage_that_wants_a_password_gets_none() {
    let (registry, _, _, blob) = with_storage();
    let other = Registry::builder().auth(Auth::basic()).start();
    registry.inject(Rule::on("GET", BLOBS, Fault::Redirect(format!("{}{{path}}", other.base()))).always());
    let client = Machine::new().logged_in(&[&registry]).client();
    failure(fetch(&client, &reference(&registry, "library/app"), &blob), Kind::Denied);
    assert_nothing_secret_arrived(&other);
}

#[test]
fn round_and_round() {
    let registry = Registry::start();
    registry.put_image("library/app", "1", &[]);
    registry.inject(Rule::on("GET", "/v2/library/app/manifests/*", Fault::redirect_loop()).always());
    failure(client().manifest(&reference(&registry, "library/app:1")), Kind::Lied);
    let requests = registry.count("GET", "/v2/library/app/manifests/*");
    assert_eq!(requests, 1 + limits().redirects as usize);
}

#[test]
fn a_few_steps_are_followed() {
    let registry = Registry::start();
    let image = registry.put_image("library/app", "1", &[]);
    let here = Fault::Redirect("{path}?again".to_owned());
    registry.script("GET", "/v2/library/app/manifests/*", [here.clone(), here.clone(), here]);
    assert_eq!(client().manifest(&reference(&registry, "library/app:1")).unwrap().bytes, image.bytes);
}

#[test]
fn addresses_that_make_no_sense() {
    for target in
        ["", "http://", "ftp://x/y", "file:///etc/passwd", "http://user:s3cret@127.0.0.1/x", "http://[::1/"]
    {
        let registry = Registry::start();
        registry.put_image("library/app", "1", &[]);
        registry.inject(
            Rule::on("GET", "/v2/library/app/manifests/*", Fault::Redirect(target.to_owned())).always(),
        );
        let error = client().manifest(&reference(&registry, "library/app:1")).expect_err("no way");
        assert_eq!(error.kind(), Kind::Lied, "{target:?}: {error:?}");
    }
    let registry = Registry::start();
    registry.put_image("library/app", "1", &[]);
    let nowhere = Fault::Answer { status: 307, headers: vec![], body: vec![] };
    registry.inject(Rule::on("GET", "/v2/library/app/manifests/*", nowhere).always());
    client().manifest(&reference(&registry, "library/app:1")).expect_err("nowhere to go");
}

#[test]
fn uploads_sent_elsewhere_carry_no_token() {
    let registry = Registry::builder().auth(Auth::token()).start();
    let other = Registry::start();
    let location = format!("{}/v2/library/app/blobs/uploads/other?state=1", other.base());
    registry.inject(Rule::on("POST", "*", Fault::Header("Location", Some(location))).always());
    let client = Machine::new().logged_in(&[&registry]).client();
    // There is no such upload there; some storage hosts would take it.
    upload(&client, &reference(&registry, "library/app"), b"bytes").expect_err("no upload there");
    assert_nothing_secret_arrived(&other);
}

#[test]
fn what_is_sent_is_not_sent_on() {
    let registry = Registry::builder().auth(Auth::token()).start();
    let other = Registry::start();
    let client = Machine::new().logged_in(&[&registry]).client();
    for method in ["POST", "PUT"] {
        registry.heal();
        let target = format!("{}{{path}}", other.base());
        registry.inject(Rule::on(method, "/v2/*", Fault::Redirect(target)).always());
        failure(upload(&client, &reference(&registry, "library/app"), b"bytes"), Kind::Lied);
    }
    assert!(other.requests().is_empty());
}
