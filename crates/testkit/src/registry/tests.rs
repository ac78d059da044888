use std::{
    io::{BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    http::{Head, find},
    *,
};

struct Got {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        find(&self.headers, name).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// One request on a connection of its own. `headers` is a line for each.
fn ask(registry: &Registry, method: &str, target: &str, headers: &str, body: &[u8]) -> Got {
    ask_at(&registry.host(), method, target, headers, body)
}

fn ask_at(host: &str, method: &str, target: &str, headers: &str, body: &[u8]) -> Got {
    let mut socket = TcpStream::connect(host).expect("a connection");
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head =
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{length}{headers}\r\n");
    socket.write_all(head.as_bytes()).expect("a request sent");
    socket.write_all(body).expect("a body sent");
    let mut io = BufReader::new(socket);
    // A status line has three words as a request line has: the second is the number.
    let head = Head::read(&mut io).expect("an answer").expect("an answer");
    let mut body = Vec::new();
    // A reset after the bytes is what some tests want.
    let _ = io.read_to_end(&mut body);
    Got { status: head.target.parse().expect("a status"), headers: head.headers, body }
}

fn get(registry: &Registry, target: &str) -> Got {
    ask(registry, "GET", target, "", b"")
}

#[test]
fn manifests_by_tag_and_digest() {
    let registry = Registry::start();
    let image = registry.put_image("a/b", "1", &[b"layer".to_vec()]);
    let digest = image.manifest.digest.to_string();
    let by_tag = get(&registry, "/v2/a/b/manifests/1");
    assert_eq!((by_tag.status, by_tag.header("docker-content-digest")), (200, digest.as_str()));
    assert_eq!(by_tag.body, image.bytes);
    let head = ask(&registry, "HEAD", &format!("/v2/a/b/manifests/{digest}"), "", b"");
    assert_eq!((head.status, head.header("content-length")), (200, image.bytes.len().to_string().as_str()));
    assert!(head.body.is_empty());
    assert_eq!(get(&registry, "/v2/a/b/manifests/2").status, 404);
    assert_eq!(ask(&registry, "DELETE", "/v2/a/b/manifests/1", "", b"").status, 202);
    assert_eq!(get(&registry, "/v2/a/b/manifests/1").status, 404);
    assert_eq!(get(&registry, &format!("/v2/a/b/manifests/{digest}")).status, 200);
    assert_eq!(registry.count("GET", "/v2/*/manifests/*"), 4);
}

#[test]
fn manifests_are_refused_before_their_blobs_are_there() {
    let registry = Registry::start();
    let image = registry.put_image("a/b", "1", &[b"layer".to_vec()]);
    let headers = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
    let refused = ask(&registry, "PUT", "/v2/other/manifests/1", headers, &image.bytes);
    assert_eq!(
        (refused.status, refused.json()["errors"][0]["code"].as_str()),
        (400, Some("MANIFEST_BLOB_UNKNOWN"))
    );
    assert_eq!(ask(&registry, "PUT", "/v2/a/b/manifests/2", headers, &image.bytes).status, 201);
    assert_eq!(registry.tags("a/b"), ["1", "2"]);
    let elsewhere = format!("/v2/a/b/manifests/{}", Digest::sha256(b"else"));
    assert_eq!(ask(&registry, "PUT", &elsewhere, headers, &image.bytes).status, 400);
}

#[test]
fn ranges_of_blobs() {
    let registry = Registry::start();
    let blob = registry.put_blob("a", b"0123456789");
    let target = format!("/v2/a/blobs/{}", blob.digest);
    for (range, status, body) in [
        ("bytes=0-3", 206, "0123"),
        ("bytes=7-", 206, "789"),
        ("bytes=9-99", 206, "9"),
        ("lines=1", 200, "0123456789"),
    ] {
        let got = ask(&registry, "GET", &target, &format!("Range: {range}\r\n"), b"");
        assert_eq!((got.status, got.body.as_slice()), (status, body.as_bytes()), "{range}");
    }
    let beyond = ask(&registry, "GET", &target, "Range: bytes=10-\r\n", b"");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */10"));
    assert_eq!(registry.bytes_sent("/v2/a/blobs/*"), 4 + 3 + 1 + 10 + beyond.body.len() as u64);
}

#[test]
fn uploads_in_all_four_ways() {
    let registry = Registry::start();
    let digest = Digest::sha256(b"0123456789");
    let one_post =
        ask(&registry, "POST", &format!("/v2/one/blobs/uploads/?digest={digest}"), "", b"0123456789");
    assert_eq!(one_post.status, 201);
    let mount = format!("/v2/two/blobs/uploads/?mount={digest}&from=one");
    assert_eq!(ask(&registry, "POST", &mount, "", b"").status, 201);

    let begun = ask(&registry, "POST", "/v2/three/blobs/uploads/", "", b"");
    let put = format!("{}&digest={}", begun.header("location"), digest.to_string().replace(':', "%3A"));
    assert_eq!(ask(&registry, "PUT", &put, "", b"0123456789").status, 201);

    let begun = ask(&registry, "POST", "/v2/four/blobs/uploads/", "", b"");
    let chunk = ask(&registry, "PATCH", begun.header("location"), "Content-Range: 0-3\r\n", b"0123");
    assert_eq!((chunk.status, chunk.header("range")), (202, "0-3"));
    let stale = ask(&registry, "PATCH", begun.header("location"), "", b"4567");
    assert_eq!((stale.status, stale.header("range")), (416, "0-3"));
    let wrong = ask(&registry, "PATCH", chunk.header("location"), "Content-Range: 5-8\r\n", b"5678");
    assert_eq!(wrong.status, 416);
    let chunked = "Transfer-Encoding: chunked\r\n\r\n6\r\n456789\r\n0\r\n";
    let rest = ask(&registry, "PATCH", chunk.header("location"), chunked, b"");
    let status = get(&registry, rest.header("location"));
    assert_eq!((status.status, status.header("range")), (204, "0-9"));
    let put = format!("{}&digest={digest}", status.header("location"));
    assert_eq!(ask(&registry, "PUT", &put, "", b"").status, 201);

    for repository in ["one", "two", "three", "four"] {
        assert_eq!(
            registry.blob(repository, &digest).as_deref(),
            Some(b"0123456789".as_slice()),
            "{repository}"
        );
    }
    assert_eq!(registry.open_uploads(), 0);
    let begun = ask(&registry, "POST", "/v2/five/blobs/uploads/", "", b"");
    let put = format!("{}&digest={digest}", begun.header("location"));
    assert_eq!(ask(&registry, "PUT", &put, "", b"something else").status, 400);
}

#[test]
fn referrers_by_type_and_in_pages() {
    let registry = Registry::builder().referrers_page(1).start();
    let image = registry.put_image("a", "1", &[]);
    for artifact_type in ["text/one", "text/two", "text/two"] {
        let note = registry.count("PUT", "*").to_string();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": artifact_type,
            "config": image.config, "layers": [], "subject": image.manifest, "annotations": {"note": note},
        });
        let bytes = manifest.to_string();
        let headers = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
        let target = format!("/v2/a/manifests/{}", Digest::sha256(bytes.as_bytes()));
        let put = ask(&registry, "PUT", &target, headers, bytes.as_bytes());
        assert_eq!(
            (put.status, put.header("oci-subject")),
            (201, image.manifest.digest.to_string().as_str())
        );
    }
    let list = format!("/v2/a/referrers/{}", image.manifest.digest);
    let first = get(&registry, &list);
    assert_eq!(first.json()["manifests"].as_array().map(Vec::len), Some(1));
    assert_eq!(first.header("link"), format!("<{list}?page=1>; rel=\"next\""));
    let one = get(&registry, &format!("{list}?artifactType=text/one"));
    assert_eq!(one.header("oci-filters-applied"), "artifactType");
    assert_eq!(one.json()["manifests"][0]["artifactType"], "text/one");
    assert_eq!(one.header("link"), "");
}

#[test]
fn basic_wants_the_password() {
    let registry = Registry::builder().auth(Auth::basic()).start();
    let refused = get(&registry, "/v2/");
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Basic realm=\"test registry\""));
    let header = format!("Authorization: {}\r\n", auth::basic("robot", "s3cret-password"));
    assert_eq!(ask(&registry, "GET", "/v2/", &header, b"").status, 200);
}

fn token_of(challenge: &str, extra: &str) -> (String, String) {
    let part =
        |name: &str| challenge.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
    let realm = part("realm").expect("a realm");
    let (host, path) =
        realm.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("an address");
    let service = part("service").expect("a service").replace(' ', "%20");
    let scope = part("scope").unwrap_or_default().replace(' ', "+");
    (host.to_owned(), format!("/{path}?service={service}&scope={scope}{extra}"))
}

#[test]
fn tokens_are_good_for_what_was_asked() {
    let auth = TokenAuth { lifetime: Lifetime::Requests(2), ..TokenAuth::default() };
    let registry = Registry::builder().auth(Auth::Token(auth)).start();
    registry.put_image("a", "1", &[]);
    let refused = get(&registry, "/v2/a/manifests/1");
    let challenge = refused.header("www-authenticate");
    assert!(challenge.ends_with("scope=\"repository:a:pull\""), "{challenge}");
    let (host, target) = token_of(challenge, "");
    assert_ne!(host, registry.host(), "the token endpoint is elsewhere");
    let token = ask_at(&host, "GET", &target, "", b"").json()["token"].as_str().expect("a token").to_owned();
    let header = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(ask(&registry, "GET", "/v2/a/manifests/1", &header, b"").status, 200);
    let other = ask(&registry, "POST", "/v2/a/blobs/uploads/", &header, b"");
    assert!(other.header("www-authenticate").ends_with("error=\"insufficient_scope\""));
    let third = ask(&registry, "GET", "/v2/a/manifests/1", &header, b"");
    assert!(third.header("www-authenticate").ends_with("error=\"invalid_token\""), "good for two requests");
    assert_eq!(registry.count("GET", "/token"), 1);

    let push = ask(&registry, "POST", "/v2/b/blobs/uploads/?mount=x&from=a", "", b"");
    let (host, target) = token_of(push.header("www-authenticate"), "&offline_token=true");
    assert!(target.contains("repository:b:pull,push+repository:a:pull"), "{target}");
    let wrong = format!("Authorization: {}\r\n", auth::basic("robot", "wrong"));
    assert_eq!(ask_at(&host, "GET", &target, &wrong, b"").status, 401);
    let right = format!("Authorization: {}\r\n", auth::basic("robot", "s3cret-password"));
    assert_eq!(ask_at(&host, "GET", &target, &right, b"").json()["refresh_token"], "s3cret-identity");
    let form = b"grant_type=refresh_token&refresh_token=s3cret-identity&service=x&client_id=t&scope=repository:b:pull";
    assert_eq!(ask_at(&host, "POST", "/token", "", form).status, 200);
    let form =
        b"grant_type=password&username=robot&password=no&service=x&client_id=t&scope=repository:b:pull";
    assert_eq!(ask_at(&host, "POST", "/token", "", form).status, 401);
}

#[test]
fn rules_strike_in_their_order() {
    let registry = Registry::start();
    let blob = registry.put_blob("a", b"0123456789");
    let target = format!("/v2/a/blobs/{}", blob.digest);
    registry.script("GET", "/v2/a/blobs/*", [Fault::status(503), Fault::None, Fault::too_many("7")]);
    registry.inject(Rule::on("*", "/v2/a/blobs/*", Fault::Corrupt).skip(1).times(2));
    let statuses: Vec<u16> = (0..3).map(|_| get(&registry, &target).status).collect();
    assert_eq!(statuses, [503, 200, 429]);
    let bodies: Vec<Vec<u8>> = (0..4).map(|_| get(&registry, &target).body).collect();
    assert_eq!(bodies, [b"0123456789", b"0123456788", b"0123456788", b"0123456789"]);
}

#[test]
fn bodies_that_lie() {
    let registry = Registry::start();
    let blob = registry.put_blob("a", b"0123456789");
    let target = format!("/v2/a/blobs/{}", blob.digest);
    let with = |fault: Fault| {
        registry.inject(Rule::on("GET", "/v2/a/*", fault));
        get(&registry, &target)
    };
    assert_eq!(with(Fault::LengthOff(3)).header("content-length"), "13");
    assert_eq!(with(Fault::NoLength).header("content-length"), "");
    assert_eq!(with(Fault::Cut { after: 4, reset: false }).body, b"0123");
    assert_eq!(with(Fault::Cut { after: 4, reset: true }).body, b"0123");
    assert_eq!(with(Fault::Huge(100)).body, [b' '; 100]);
    assert_eq!(with(Fault::html()).header("content-type"), "text/html; charset=utf-8");
    assert_eq!(with(Fault::redirect_loop()).header("location"), target);
    let begun = Instant::now();
    assert_eq!(with(Fault::Drip { bytes: 5, pause: Duration::from_millis(50) }).body, b"0123456789");
    assert!(begun.elapsed() >= Duration::from_millis(100));
}

#[test]
fn answers_wait_for_each_other() {
    let registry = Registry::start();
    registry.inject(Rule::on("GET", "/v2/", Fault::together(2)).always());
    let mut first = TcpStream::connect(registry.host()).expect("a connection");
    first.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request sent");
    first.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    first.read(&mut [0]).expect_err("an answer to one that is alone");
    assert_eq!(get(&registry, "/v2/").status, 200);
    first.set_read_timeout(None).expect("no timeout");
    first.read_exact(&mut [0; 12]).expect("an answer to the first as well");
    assert_eq!(get(&registry, "/v2/").status, 200, "they have met");
}

#[test]
fn where_nobody_listens_nobody_else_will() {
    let address = closed_port();
    let refused = TcpStream::connect(&address).expect_err("a connection");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let taken = TcpListener::bind(&address).expect_err("the port");
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn what_is_never_answered_is_recorded_and_ends_with_the_registry() {
    let registry = Registry::start();
    registry.inject(Rule::on("GET", "/v2/", Fault::Hang));
    let mut socket = TcpStream::connect(registry.host()).expect("a connection");
    socket.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request sent");
    while registry.count("GET", "/v2/") == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(registry.requests()[0].status, 0);
    drop(registry);
    assert_eq!(socket.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn uploads_that_break() {
    let registry = Registry::start();
    registry.inject(Rule::on("PATCH", "*", Fault::PartialPatch(2)));
    let begun = ask(&registry, "POST", "/v2/a/blobs/uploads/", "", b"");
    let partial = ask(&registry, "PATCH", begun.header("location"), "", b"0123");
    assert_eq!((partial.status, partial.header("range")), (416, "0-1"));
    registry.inject(Rule::on("PATCH", "*", Fault::LoseUpload));
    assert_eq!(ask(&registry, "PATCH", partial.header("location"), "", b"23").status, 404);
    assert_eq!(registry.open_uploads(), 0);
}

#[test]
fn scripts_set_rules_and_read_the_record() {
    let registry = Registry::start();
    let rules = b"GET /v2/ status=503 skip=1\nGET /v2/ too-many=3\n";
    assert_eq!(ask(&registry, "POST", "/_rules", "", rules).status, 200);
    let statuses: Vec<u16> = (0..3).map(|_| get(&registry, "/v2/").status).collect();
    assert_eq!(statuses, [429, 503, 200]);
    let lines = String::from_utf8(get(&registry, "/_requests").body).expect("text");
    assert_eq!(lines.lines().last(), Some("GET /v2/ 200 0 2"));
    let wrong = ask(&registry, "POST", "/_rules", "", b"GET /v2/ explode");
    assert_eq!((wrong.status, wrong.body.as_slice()), (400, b"\"explode\" is no fault\n".as_slice()));
}

#[test]
fn a_bomb_is_small_and_opens_to_its_size() {
    let bomb = gzip_bomb(64 << 20);
    assert!(bomb.len() < 1 << 20);
    let mut plain = flate2::read::MultiGzDecoder::new(bomb.as_slice());
    assert_eq!(std::io::copy(&mut plain, &mut std::io::sink()).expect("gzip"), 64 << 20);
}

#[test]
fn plain_http_answers_tls_so_that_clients_understand() {
    let registry = Registry::start();
    let mut socket = TcpStream::connect(registry.host()).expect("a connection");
    socket.write_all(&[22, 3, 1, 0, 200, 1]).expect("the beginning of a handshake");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.0 400"), "{answer}");
    assert_eq!((registry.requests().len(), registry.connections()), (0, 1));
}

#[test]
fn the_proxy_leads_every_name_here() {
    let registry = Registry::builder().name("registry.example").start();
    let proxy = TestProxy::with_password("user", "word");
    let connect = |headers: &str| {
        let mut socket = TcpStream::connect(proxy.host()).expect("a connection");
        let head = format!(
            "CONNECT {} HTTP/1.1\r\n{headers}\r\nGET /v2/ HTTP/1.1\r\nConnection: close\r\n\r\n",
            registry.host()
        );
        socket.write_all(head.as_bytes()).expect("a request sent");
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer);
        answer
    };
    assert!(connect("").starts_with("HTTP/1.1 407"));
    let tunnel = connect(&format!("Proxy-Authorization: {}\r\n", auth::basic("user", "word")));
    assert!(tunnel.starts_with("HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK"), "{tunnel}");
    assert_eq!(proxy.asked(), [registry.host(), registry.host()]);
}
