use std::{thread, time::Duration};

use galley_oci::Descriptor;
use galley_registry::{Credential, Kind, Secret};
use galley_testkit::registry::{Auth, Fault, Lifetime, Registry, Rule, TokenAuth};

use crate::support::{
    Machine, SECRET, assert_no_secret, client, failure, fetch, hurry, limits, noise, reference, upload,
    upload_from,
};

const MANIFESTS: &str = "/v2/library/app/manifests/*";
const BLOBS: &str = "/v2/library/app/blobs/*";

fn with_image(auth: Auth) -> Registry {
    let registry = Registry::builder().auth(auth).start();
    registry.put_image("library/app", "1", &[]);
    registry
}

fn tokens(change: impl FnOnce(&mut TokenAuth)) -> Auth {
    let mut auth = TokenAuth::default();
    change(&mut auth);
    Auth::Token(auth)
}

fn robot(password: &str) -> Credential {
    Credential::Basic { user: "robot".to_owned(), password: Secret::new(password) }
}

#[test]
fn basic() {
    let registry = with_image(Auth::basic());
    let app = reference(&registry, "library/app:1");
    failure(client().manifest(&app), Kind::Denied);
    assert_eq!(registry.count("GET", MANIFESTS), 1, "without a password it is asked once");
    Machine::new().logged_in(&[&registry]).client().manifest(&app).unwrap();
}

#[test]
fn a_wrong_password_is_tried_once() {
    let wrong = "cm9ib3Q6czNjcmV0LXdyb25n"; // robot:s3cret-wrong
    for auth in [Auth::basic(), Auth::token()] {
        let registry = with_image(auth);
        let config = format!("{{\"auths\":{{{:?}:{{\"auth\":\"{wrong}\"}}}}}}", registry.host());
        let client = Machine::new().file("home/.docker/config.json", config).client();
        let error = failure(client.manifest(&reference(&registry, "library/app:1")), Kind::Denied);
        assert!(error.to_string().contains("galley login"), "{error}");
        assert!(registry.count("GET", MANIFESTS) <= 2 && registry.count("*", "/token") <= 1);
    }
}

#[test]
fn nothing_is_sent_before_it_is_asked_for() {
    let registry = with_image(Auth::None);
    let client = Machine::new().logged_in(&[&registry]).client();
    client.manifest(&reference(&registry, "library/app:1")).unwrap();
    assert!(registry.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn one_token_serves_many_requests() {
    let registry = with_image(Auth::token());
    let blob = registry.put_blob("library/app", b"blob");
    let client = client();
    for _ in 0..5 {
        client.manifest(&reference(&registry, "library/app:1")).unwrap();
        fetch(&client, &reference(&registry, "library/app"), &blob).unwrap();
    }
    let asked = registry.matching("GET", "/token");
    assert_eq!(asked.len(), 1);
    assert!(asked[0].target.contains("scope=repository%3Alibrary%2Fapp%3Apull"), "{}", asked[0].target);
    assert!(asked[0].header("authorization").is_none());
}

#[test]
fn threads_share_a_token() {
    let registry = with_image(Auth::token());
    let client = client();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| client.manifest(&reference(&registry, "library/app:1")).unwrap());
        }
    });
    assert_eq!(registry.count("GET", "/token"), 1);
}

#[test]
fn each_repository_has_its_own_token() {
    let registry = with_image(Auth::token());
    registry.put_image("library/other", "1", &[]);
    let client = client();
    client.manifest(&reference(&registry, "library/app:1")).unwrap();
    client.manifest(&reference(&registry, "library/other:1")).unwrap();
    assert_eq!(registry.count("GET", "/token"), 2);
    for request in registry.matching("GET", "/v2/library/other/*") {
        assert_ne!(request.header("authorization"), Some("Bearer s3cret-token-1"));
    }
}

#[test]
fn answers_of_token_servers() {
    for auth in [
        tokens(|auth| auth.access_token = true),
        tokens(|auth| auth.expires_in = Some(0)),
        tokens(|auth| auth.expires_in = Some(1)),
        tokens(|auth| auth.expires_in = Some(u64::MAX)),
        tokens(|auth| auth.oauth = false),
    ] {
        let registry = with_image(auth.clone());
        let client = Machine::new().logged_in(&[&registry]).client();
        for _ in 0..3 {
            let document = client.manifest(&reference(&registry, "library/app:1"));
            assert!(document.is_ok(), "{auth:?}: {document:?}");
        }
        assert!(registry.count("*", "/token") <= 3, "{auth:?}");
    }
}

#[test]
fn answers_in_chunks() {
    let registry = with_image(Auth::token());
    registry.inject(Rule::on("*", "/token", Fault::Chunked { after: 5 }));
    registry.inject(Rule::on("*", "/token", Fault::Chunked { after: u64::MAX }).always());
    registry.inject(Rule::on("GET", MANIFESTS, Fault::Chunked { after: u64::MAX }));
    registry.inject(Rule::on("GET", MANIFESTS, Fault::Chunked { after: 20 }));
    registry.inject(Rule::on("GET", MANIFESTS, Fault::Chunked { after: u64::MAX }).always());
    client().manifest(&reference(&registry, "library/app:1")).unwrap();
    assert_eq!(registry.count("GET", "/token"), 2);
}

#[test]
fn tokens_that_end_are_renewed() {
    let registry = with_image(tokens(|auth| auth.lifetime = Lifetime::Requests(1)));
    let client = client();
    for _ in 0..4 {
        client.manifest(&reference(&registry, "library/app:1")).unwrap();
    }
    assert_eq!(registry.count("GET", "/token"), 4);
    // Three requests that find their token ended.
    assert_eq!(registry.count("GET", MANIFESTS), 1 + 4 + 3);
}

#[test]
fn a_token_ends_in_a_long_download() {
    let registry = with_image(tokens(|auth| auth.lifetime = Lifetime::Requests(1)));
    let bytes = noise(200_000);
    let blob = registry.put_blob("library/app", &bytes);
    // Each part is cut, and the token has ended when the next is asked for.
    for _ in 0..3 {
        registry.inject(Rule::on("GET", BLOBS, Fault::None));
        registry.inject(Rule::on("GET", BLOBS, Fault::Cut { after: 30_000, reset: false }));
    }
    assert!(fetch(&client(), &reference(&registry, "library/app"), &blob).unwrap() == bytes);
    let statuses: Vec<u16> = registry.matching("GET", BLOBS).iter().map(|request| request.status).collect();
    assert_eq!(statuses, [401, 200, 401, 206, 401, 206, 401, 206]);
    assert_eq!(registry.count("GET", "/token"), 4);
}

#[test]
fn a_token_ends_in_a_long_upload() {
    let lifetime = Lifetime::Requests(3);
    let registry = with_image(tokens(|auth| auth.lifetime = lifetime));
    let machine =
        Machine::new().logged_in(&[&registry]).limits(|limits| limits.upload_chunk_bytes = Some(10_000));
    let bytes = noise(95_000);
    upload(&machine.client(), &reference(&registry, "library/app"), &bytes).unwrap();
    let blob = Descriptor::of("", &bytes);
    assert!(registry.blob("library/app", &blob.digest).unwrap() == bytes);
    assert!(registry.count("*", "/token") >= 4);
}

#[test]
fn pushing_wants_a_token_that_may() {
    let registry = with_image(Auth::token());
    let error = failure(upload(&client(), &reference(&registry, "library/app"), b"bytes"), Kind::Denied);
    assert!(error.to_string().contains("galley login"), "{error}");
    assert!(registry.requests().len() < 12, "{} requests", registry.requests().len());
    let client = Machine::new().logged_in(&[&registry]).client();
    upload(&client, &reference(&registry, "library/app"), b"bytes").unwrap();
    let other = reference(&registry, "library/other");
    let from = [reference(&registry, "library/app")];
    upload_from(&client, &other, b"bytes", &from).unwrap();
    assert_eq!(registry.bytes_received("/v2/library/other/*"), 0, "mounted, with a token for both");
}

#[test]
fn a_registry_that_is_never_content() {
    let registry = with_image(Auth::None);
    let realm = format!("Bearer realm=\"{}/v2/token\",service=\"x\"", registry.base());
    let headers = vec![("WWW-Authenticate".to_owned(), realm)];
    registry.inject(
        Rule::on("*", "/v2/library/*", Fault::Answer { status: 401, headers, body: vec![] }).always(),
    );
    let token = br#"{"token":"s3cret-token"}"#.to_vec();
    registry.inject(
        Rule::on("*", "/v2/token", Fault::Answer { status: 200, headers: vec![], body: token }).always(),
    );
    failure(client().manifest(&reference(&registry, "library/app:1")), Kind::Denied);
    assert!(registry.requests().len() < 15, "{} requests", registry.requests().len());
}

#[test]
fn challenges_that_make_no_sense() {
    for challenge in [
        "",
        "Bearer",
        "Bearer realm=\"\"",
        "Bearer realm=\"not an address\"",
        "Bearer realm=\"file:///etc/passwd\"",
        "Bearer realm=\"http://user:s3cret@127.0.0.1:1/token\"",
        "Negotiate",
        "Digest realm=\"x\", nonce=\"y\"",
        "Bearer realm=\"unterminated",
        ",,,=,\"",
    ] {
        let registry = with_image(Auth::None);
        let headers = vec![("WWW-Authenticate".to_owned(), challenge.to_owned())];
        registry
            .inject(Rule::on("*", MANIFESTS, Fault::Answer { status: 401, headers, body: vec![] }).always());
        let client = Machine::new().logged_in(&[&registry]).client();
        let error = client.manifest(&reference(&registry, "library/app:1")).expect_err("no way in");
        assert!(matches!(error.kind(), Kind::Denied | Kind::Lied), "{challenge}: {error:?}");
        assert!(registry.count("GET", MANIFESTS) <= 3, "{challenge}");
    }
}

#[test]
fn token_servers_that_break() {
    let answer = |body: &str| Fault::Answer { status: 200, headers: vec![], body: body.as_bytes().to_vec() };
    for (fault, kind) in [
        (Fault::status(500), Kind::Unreachable),
        (Fault::status(404), Kind::Unreachable),
        (Fault::Hang, Kind::Unreachable),
        (Fault::Reset, Kind::Unreachable),
        (Fault::html(), Kind::Lied),
        (Fault::Endless, Kind::TooLarge),
        (Fault::Huge(100 << 20), Kind::TooLarge),
        (answer("{}"), Kind::Lied),
        (answer("[]"), Kind::Lied),
        (answer("{\"token\":\"\"}"), Kind::Lied),
        (answer("{\"token\":\"s3cret-1\\r\\nX-Evil: s3cret\"}"), Kind::Lied),
        (answer("{\"token\":\"s3cret-broken"), Kind::Lied),
        (Fault::redirect_loop(), Kind::Lied),
        (Fault::Drip { bytes: 1, pause: Duration::from_millis(100) }, Kind::Unreachable),
    ] {
        let registry = with_image(Auth::token());
        registry.inject(Rule::on("*", "/token", fault.clone()).always());
        let client = Machine::new().logged_in(&[&registry]).against(&fault).client();
        failure(client.manifest(&reference(&registry, "library/app:1")), kind);
        let most = limits().attempts.max(1 + limits().redirects) as usize;
        assert!(registry.count("*", "/token") <= most, "{fault:?}");
    }
}

#[test]
fn threads_share_a_failure() {
    let registry = with_image(Auth::token());
    registry.inject(Rule::on("*", "/token", Fault::Hang).always());
    let client = Machine::new().limits(hurry).client();
    thread::scope(|scope| {
        for _ in 0..6 {
            let manifest =
                || failure(client.manifest(&reference(&registry, "library/app:1")), Kind::Unreachable);
            scope.spawn(manifest);
        }
    });
    let asked = registry.count("GET", "/token");
    let one_by_one = 6 * limits().attempts as usize;
    assert!(asked < one_by_one, "{asked} of {one_by_one}");
}

#[test]
fn a_token_server_recovers() {
    let registry = with_image(Auth::token());
    registry.script("GET", "/token", [Fault::status(503), Fault::too_many("0"), Fault::Reset]);
    client().manifest(&reference(&registry, "library/app:1")).unwrap();
}

#[test]
fn a_redirected_token_server_gets_no_password_elsewhere() {
    let registry = with_image(Auth::token());
    let other = Registry::start();
    registry.inject(
        Rule::on("*", "/token", Fault::Redirect(format!("{}{{path}}{{query}}", other.base()))).always(),
    );
    let client = Machine::new().logged_in(&[&registry]).client();
    client.manifest(&reference(&registry, "library/app:1")).expect_err("no token there");
    for request in other.requests() {
        assert!(request.headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("authorization")));
        assert!(!format!("{request:?}").contains(SECRET));
    }
}

#[test]
fn identity_tokens_are_exchanged() {
    let registry = with_image(Auth::token());
    let entry = format!(
        "{{\"auths\":{{{:?}:{{\"auth\":\"cm9ib3Q6\",\"identitytoken\":\"s3cret-identity\"}}}}}}",
        registry.host()
    );
    let client = Machine::new().file("home/.docker/config.json", entry).client();
    client.manifest(&reference(&registry, "library/app:1")).unwrap();
    upload(&client, &reference(&registry, "library/app"), b"bytes").unwrap();
    assert!(registry.count("POST", "/token") >= 1);
    assert_eq!(registry.count("GET", "/token"), 0);
    assert!(
        registry.requests().iter().all(|request| !request.target.contains(SECRET)),
        "no secret in an address"
    );
}

#[test]
fn logging_in() {
    for auth in [Auth::basic(), Auth::token()] {
        let registry = with_image(auth.clone());
        let client = client();
        let token = client.try_login(&registry.host(), &robot("s3cret-password")).unwrap();
        match auth {
            Auth::Token(_) => assert_eq!(token.as_deref(), Some("s3cret-identity")),
            _ => assert_eq!(token, None),
        }
        failure(client.try_login(&registry.host(), &robot("s3cret-wrong")), Kind::Denied);
    }
    let open = Registry::start();
    assert_eq!(client().try_login(&open.host(), &robot("s3cret-password")).unwrap(), None);
}

#[test]
fn secrets_that_a_registry_repeats_are_not_shown() {
    let basic = (Auth::basic(), "Basic cm9ib3Q6czNjcmV0LXBhc3N3b3Jk robot:s3cret-password s3cret-password");
    let token = (Auth::token(), "Bearer s3cret-token-1 s3cret-token-1");
    for (auth, sent) in [basic, token] {
        for status in [400, 401, 403, 404, 429, 500] {
            let registry = with_image(auth.clone());
            let body = format!("{{\"errors\":[{{\"code\":\"DENIED\",\"message\":\"you sent {sent}\"}}]}}");
            let answer = Fault::Answer { status, headers: vec![], body: body.into() };
            registry.inject(Rule::on("GET", MANIFESTS, Fault::None));
            registry.inject(Rule::on("GET", MANIFESTS, answer.clone()).always());
            let client = Machine::new().logged_in(&[&registry]).client();
            let error = client.manifest(&reference(&registry, "library/app:1")).expect_err("a refusal");
            let text = format!("{error} {error:?}");
            assert!(text.contains("you sent"), "{status}: {text}");
            assert!(!text.contains(SECRET) && !text.contains("cm9ib3Q6"), "{status}: {text}");
        }
    }
}

#[test]
fn secrets_that_an_upload_repeats_are_not_shown() {
    for method in ["POST", "PATCH", "PUT"] {
        for status in [400, 401, 403, 404, 413, 416, 500] {
            let registry = with_image(Auth::basic());
            let answer =
                Fault::Answer { status, headers: vec![], body: b"you sent s3cret-password".to_vec() };
            registry.inject(Rule::on(method, "/v2/library/app/blobs/uploads/*", answer).always());
            let client = Machine::new().logged_in(&[&registry]);
            let client = client.limits(|limits| limits.upload_chunk_bytes = Some(100_000)).client();
            let error = upload(&client, &reference(&registry, "library/app"), &noise(200_000))
                .expect_err("a refusal");
            assert_no_secret(&error);
        }
    }
}

#[test]
fn secrets_that_a_token_server_repeats_are_not_shown() {
    for status in [400, 401, 403, 404, 429, 500] {
        let registry = with_image(Auth::token());
        let body = b"you sent cm9ib3Q6czNjcmV0LXBhc3N3b3Jk and s3cret-password".to_vec();
        registry.inject(Rule::on("*", "/token", Fault::Answer { status, headers: vec![], body }).always());
        let client = Machine::new().logged_in(&[&registry]).client();
        let error = client.manifest(&reference(&registry, "library/app:1")).expect_err("a refusal");
        assert_no_secret(&error);
        let error = client.try_login(&registry.host(), &robot("s3cret-password")).expect_err("a refusal");
        assert_no_secret(&error);
    }
}

#[test]
fn options_and_clients_print_no_secret() {
    let registry = with_image(Auth::token());
    let machine = Machine::new()
        .logged_in(&[&registry])
        .variable("HTTPS_PROXY", "http://user:s3cret-proxy@127.0.0.1:1")
        .variable("DOCKER_AUTH_CONFIG", r#"{"auths":{"x.example":{"auth":"dTpzM2NyZXQ="}}}"#);
    let options = machine.options();
    let client = machine.client();
    client.manifest(&reference(&registry, "library/app:1")).unwrap();
    let text = format!("{options:?} {client:?} {:?} {:?}", machine.environment(), robot(SECRET));
    assert!(!text.contains(SECRET) && !text.contains("dTpzM2NyZXQ"), "{text}");
}
