use galley_oci::{Reference, media_type};
use galley_registry::Kind;
use galley_testkit::registry::{Auth, Fault, Registry, Rule, TestImage, closed_port};

use crate::support::{Machine, SECRET, failure, fetch, upload};

struct Mirrored {
    mirror: Registry,
    registry: Registry,
    image: TestImage,
    machine: Machine,
}

/// A registry, and a mirror that has all it has, at `location` there.
fn mirrored(auth: Auth) -> Mirrored {
    let (mirror, registry) = (Registry::start(), Registry::builder().auth(auth).start());
    let layers = [b"layer".to_vec()];
    let image = registry.put_image("library/app", "1", &layers);
    mirror.put_image("hub/library/app", "1", &layers);
    let machine =
        Machine::new().file("etc/containers/registries.conf", conf(&registry.host(), &mirror.host()));
    let machine = machine.logged_in(&[&registry]);
    Mirrored { mirror, registry, image, machine }
}

fn conf(registry: &str, mirror: &str) -> String {
    format!("[[registry]]\nlocation = '{registry}'\n[[registry.mirror]]\nlocation = '{mirror}/hub'\n")
}

impl Mirrored {
    fn app(&self) -> Reference {
        format!("{}/library/app:1", self.registry.host()).parse().unwrap()
    }
}

#[test]
fn the_mirror_is_asked_first() {
    let all = mirrored(Auth::None);
    let client = all.machine.client();
    assert_eq!(client.manifest(&all.app()).unwrap().bytes, all.image.bytes);
    assert_eq!(fetch(&client, &all.app(), &all.image.layers[0]).unwrap(), b"layer");
    assert!(all.registry.requests().is_empty());
    assert!(all.mirror.count("GET", "/v2/hub/library/app/*") == 2);
}

#[test]
fn what_the_mirror_cannot_give_comes_from_the_registry() {
    for fault in [
        Fault::status(404),
        Fault::status(401),
        Fault::status(403),
        Fault::status(500),
        Fault::html(),
        Fault::Reset,
        Fault::Hang,
        Fault::redirect_loop(),
    ] {
        let all = mirrored(Auth::None);
        all.mirror.inject(Rule::on("*", "/v2/hub/*", fault.clone()).always());
        let app = all.app();
        let client = all.machine.against(&fault).client();
        let document = client.manifest(&app);
        assert!(document.is_ok(), "{fault:?}: {document:?}");
        let layer = fetch(&client, &app, &all.image.layers[0]);
        assert!(layer.as_deref().is_ok_and(|layer| layer == b"layer"), "{fault:?}: {layer:?}");
    }
}

#[test]
fn a_mirror_that_is_gone() {
    let all = mirrored(Auth::None);
    let conf = conf(&all.registry.host(), &closed_port());
    let machine = Machine::new().file("etc/containers/registries.conf", conf);
    let client = machine.client();
    client.manifest(&all.app()).unwrap();
    client.manifest(&all.app()).unwrap();
}

#[test]
fn a_mirror_that_lies_about_a_digest() {
    let all = mirrored(Auth::None);
    let digest = all.image.manifest.digest;
    all.mirror.put_manifest_as("hub/library/app", &digest, media_type::OCI_MANIFEST, b"{}");
    let pinned = format!("{}/library/app@{digest}", all.registry.host()).parse().unwrap();
    assert_eq!(all.machine.client().manifest(&pinned).unwrap().bytes, all.image.bytes);
}

/// Its bytes are given on when the lie comes to light.
#[test]
fn a_mirror_that_lies_about_a_blob() {
    let all = mirrored(Auth::None);
    all.mirror.inject(Rule::on("GET", "/v2/hub/library/app/blobs/*", Fault::Corrupt).always());
    failure(fetch(&all.machine.client(), &all.app(), &all.image.layers[0]), Kind::Lied);
}

#[test]
fn the_registrys_password_is_not_the_mirrors() {
    let all = mirrored(Auth::token());
    let headers = vec![("WWW-Authenticate".to_owned(), "Basic realm=\"give me\"".to_owned())];
    all.mirror
        .inject(Rule::on("*", "/v2/hub/*", Fault::Answer { status: 401, headers, body: vec![] }).always());
    all.machine.client().manifest(&all.app()).unwrap();
    assert!(all.mirror.count("*", "/v2/hub/*") > 0);
    for request in all.mirror.requests() {
        assert!(request.header("authorization").is_none() && !format!("{request:?}").contains(SECRET));
    }
}

#[test]
fn pushes_go_to_the_registry() {
    let all = mirrored(Auth::None);
    let client = all.machine.client();
    upload(&client, &all.app(), b"bytes").unwrap();
    client.put_manifest(&all.app(), media_type::OCI_MANIFEST, &all.image.bytes).unwrap();
    assert!(all.mirror.requests().is_empty());
}

#[test]
fn the_registrys_failure_is_what_counts() {
    let all = mirrored(Auth::None);
    let missing = format!("{}/library/other:1", all.registry.host()).parse().unwrap();
    all.mirror.inject(Rule::on("*", "/v2/hub/*", Fault::status(500)).always());
    failure(all.machine.client().manifest(&missing), Kind::NotFound);
}

#[test]
fn blocked_registries() {
    let registry = Registry::start();
    registry.put_image("library/app", "1", &[]);
    let conf = format!("[[registry]]\nlocation = '{}'\nblocked = true\n", registry.host());
    let machine = Machine::new().file("etc/containers/registries.conf", conf);
    let app: Reference = format!("{}/library/app:1", registry.host()).parse().unwrap();
    failure(machine.client().manifest(&app), Kind::Config);
    failure(upload(&machine.client(), &app, b"bytes"), Kind::Config);
    assert!(registry.requests().is_empty());
}
