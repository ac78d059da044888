//! Certificates and proxies. Names of this machine are trusted as they are, so these tests give the registry another name,
//! which a proxy leads here.

use galley_oci::Reference;
use galley_registry::Kind;
use galley_testkit::registry::{Auth, Builder, Fault, Identity, Registry, Rule, TEST_AUTHORITY, TestProxy};

use crate::support::{Machine, SECRET, client, failure, fetch, reference};

/// A registry that is called `registry.example`.
fn named(change: impl FnOnce(Builder) -> Builder) -> Registry {
    let registry = change(Registry::builder().name("registry.example")).start();
    registry.put_image("library/app", "1", &[]);
    registry
}

fn behind(proxy: &TestProxy) -> Machine {
    let address = format!("http://{}", proxy.host());
    Machine::new().variable("HTTPS_PROXY", &address).variable("HTTP_PROXY", &address)
}

/// With the test authority among those of the system.
fn trusting(machine: Machine) -> Machine {
    let machine = machine.file("authorities.pem", TEST_AUTHORITY);
    let path = machine.path("authorities.pem");
    machine.variable("SSL_CERT_FILE", &path)
}

fn app(registry: &Registry) -> Reference {
    reference(registry, "library/app:1")
}

#[test]
fn a_certificate_of_a_known_authority() {
    let (proxy, registry) = (TestProxy::start(), named(|builder| builder.tls(Identity::Local)));
    let client = trusting(behind(&proxy)).client();
    client.manifest(&app(&registry)).unwrap();
    assert!(proxy.asked().contains(&registry.host()));
}

#[test]
fn an_authority_for_one_registry() {
    let (proxy, registry) = (TestProxy::start(), named(|builder| builder.tls(Identity::Local)));
    for folder in ["etc/docker/certs.d", "etc/containers/certs.d"] {
        let path = format!("{folder}/{}/ca.crt", registry.host());
        let client = behind(&proxy).file(&path, TEST_AUTHORITY).client();
        let result = client.manifest(&app(&registry));
        assert!(result.is_ok(), "{folder}: {result:?}");
        let other = format!("{folder}/other.example:5000/ca.crt");
        failure(
            behind(&proxy).file(&other, TEST_AUTHORITY).client().manifest(&app(&registry)),
            Kind::Unreachable,
        );
    }
}

#[test]
fn certificates_that_are_not_trusted() {
    for identity in [Identity::Local, Identity::OtherName, Identity::Expired] {
        let (proxy, registry) = (TestProxy::start(), named(|builder| builder.tls(identity)));
        let machine = if identity == Identity::Local { behind(&proxy) } else { trusting(behind(&proxy)) };
        let error = failure(machine.client().manifest(&app(&registry)), Kind::Unreachable);
        assert!(error.to_string().contains("cannot trust registry.example"), "{identity:?}: {error}");
        assert!(registry.requests().is_empty(), "{identity:?}: nothing was asked");
        assert!(registry.connections() <= 2, "{identity:?}: it was not tried again");
    }
}

#[test]
fn insecure_registries_may_show_any_certificate_or_none() {
    for identity in [Some(Identity::Local), Some(Identity::OtherName), Some(Identity::Expired), None] {
        let proxy = TestProxy::start();
        let registry = named(|builder| identity.map_or(builder.clone(), |identity| builder.tls(identity)));
        let machine = behind(&proxy).variable("GALLEY_INSECURE_REGISTRIES", &registry.host());
        let result = machine.client().manifest(&app(&registry));
        assert!(result.is_ok(), "{identity:?}: {result:?}");
    }
}

#[test]
fn plain_http_only_where_it_is_allowed() {
    let (proxy, registry) = (TestProxy::start(), named(|builder| builder));
    let error = failure(behind(&proxy).client().manifest(&app(&registry)), Kind::Unreachable);
    assert!(error.to_string().contains("insecure"), "{error}");
    assert!(registry.requests().is_empty());
}

#[test]
fn this_machine_may_show_any_certificate() {
    for identity in [Identity::Local, Identity::Expired] {
        let registry = Registry::builder().tls(identity).start();
        registry.put_image("library/app", "1", &[]);
        client().manifest(&app(&registry)).unwrap();
    }
}

#[test]
fn tokens_over_tls() {
    let proxy = TestProxy::start();
    let registry = named(|builder| builder.tls(Identity::Local).auth(Auth::token()));
    let image = registry.put_image("library/app", "2", &[b"layer".to_vec()]);
    let client = trusting(behind(&proxy)).logged_in(&[&registry]).client();
    client.manifest(&app(&registry)).unwrap();
    assert_eq!(fetch(&client, &app(&registry), &image.layers[0]).unwrap(), b"layer");
}

#[test]
fn https_does_not_become_http() {
    let proxy = TestProxy::start();
    let registry = named(|builder| builder.tls(Identity::Local));
    let plain = Registry::start();
    plain.put_image("library/app", "1", &[]);
    registry.inject(
        Rule::on("GET", "/v2/library/*", Fault::Redirect(format!("{}{{path}}", plain.base()))).always(),
    );
    failure(trusting(behind(&proxy)).client().manifest(&app(&registry)), Kind::Lied);
    assert!(plain.requests().is_empty());
}

#[test]
fn a_token_server_without_tls_is_told_nothing() {
    let proxy = TestProxy::start();
    let registry = named(|builder| builder.tls(Identity::Local));
    let plain = Registry::start();
    let challenge = format!("Bearer realm=\"{}/token\",service=\"x\"", plain.base());
    let headers = vec![("WWW-Authenticate".to_owned(), challenge)];
    registry.inject(Rule::on("*", "/v2/*", Fault::Answer { status: 401, headers, body: vec![] }).always());
    let client = trusting(behind(&proxy)).logged_in(&[&registry]).client();
    client.manifest(&app(&registry)).expect_err("no token");
    assert!(plain.requests().is_empty());
}

#[test]
fn a_proxy_with_a_password() {
    let proxy = TestProxy::with_password("user", "s3cret-proxy");
    let registry = named(|builder| builder.tls(Identity::Local));
    let machine = trusting(Machine::new());
    let right = format!("http://user:s3cret-proxy@{}", proxy.host());
    machine.variable("HTTPS_PROXY", &right).client().manifest(&app(&registry)).unwrap();
    for request in registry.requests() {
        assert!(!format!("{request:?}").contains(SECRET) && request.header("proxy-authorization").is_none());
    }
    let wrong = format!("http://user:s3cret-wrong@{}", proxy.host());
    let error = trusting(Machine::new()).variable("HTTPS_PROXY", &wrong).client().manifest(&app(&registry));
    let error = failure(error, Kind::Unreachable);
    assert!(error.to_string().contains("407"), "{error}");
}

#[test]
fn no_proxy_means_direct() {
    let (proxy, registry) = (TestProxy::start(), named(|builder| builder.tls(Identity::Local)));
    let machine = trusting(behind(&proxy)).variable("NO_PROXY", "other.example,.example");
    failure(machine.client().manifest(&app(&registry)), Kind::Unreachable);
    assert!(proxy.asked().is_empty());
}

#[test]
fn this_machine_needs_no_proxy() {
    let (proxy, registry) = (TestProxy::start(), Registry::start());
    registry.put_image("library/app", "1", &[]);
    behind(&proxy).client().manifest(&app(&registry)).unwrap();
    assert!(proxy.asked().is_empty());
}
