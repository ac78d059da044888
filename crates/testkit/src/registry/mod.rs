//! A registry for tests: OCI distribution 1.1 in this process, in memory, with faults on request.
//!
//! It serves manifests, blobs (with ranges), uploads (monolithic, in one `POST`, in chunks), mounts, tags and referrers,
//! asks for passwords or tokens when told so, speaks TLS when told so (feature `tls`), writes down every request, and
//! breaks in the ways a [`Fault`] names, when a [`Rule`] says so. It ends when it is dropped.
//!
//! ```
//! use galley_testkit::registry::{Auth, Fault, Registry, Rule};
//!
//! let registry = Registry::builder().auth(Auth::token()).start();
//! let image = registry.put_image("library/app", "1", &[b"a layer".to_vec()]);
//! let blobs = format!("/v2/library/app/blobs/{}", image.layers[0].digest);
//! // The first fetch of the layer breaks after three bytes, the second is told to come back later.
//! registry.inject(Rule::on("GET", &blobs, Fault::Cut { after: 3, reset: true }));
//! registry.inject(Rule::on("GET", &blobs, Fault::too_many("1")));
//! // … a client pulls `{registry.host()}/library/app:1` …
//! assert_eq!(registry.count("GET", "/v2/*/blobs/*"), 0);
//! assert_eq!(registry.bytes_sent("/v2/*/blobs/*"), 0);
//! ```
//!
//! Where the specification leaves a choice, it takes the one that is harder for clients: `Location` is relative and
//! changes with each write, only the newest is good; manifests are refused before their blobs are there; a mount wants
//! a token for both repositories. Requests are counted from their head on, so those that are never answered are too.
//!
//! Shell scripts start it as `cargo run -p galley-testkit --example registry`, and set rules and read the record by HTTP:
//! `curl -d 'GET /v2/*/blobs/* cut=1000' $HOST/_rules`, `curl $HOST/_requests`.
//!
//! Concurrency: a thread for each connection; storage, rules and record are behind one lock each, never held while
//! bytes are sent.

mod auth;
mod control;
mod faults;
mod http;
mod proxy;
mod record;
mod routes;
mod server;
mod storage;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::IntoRawFd,
    sync::Arc,
};

use galley_oci::{Descriptor, Digest, media_type};
use rustix::net::{AddressFamily, SocketType, socket};
use serde_json::json;

pub use auth::{Auth, Lifetime, TokenAuth};
pub use faults::{Fault, Meeting, Rule};
pub use proxy::TestProxy;
pub use record::Request;
#[cfg(feature = "tls")]
pub use tls::{Identity, TEST_AUTHORITY};

use server::{Server, Shared};
use storage::StoredManifest;

/// How the registry is, where registries differ.
#[derive(Clone, Debug)]
struct Settings {
    auth: Auth,
    referrers: bool,
    referrers_page: usize,
    filter_referrers: bool,
    absolute_locations: bool,
    chunk_min: Option<u64>,
    address: SocketAddr,
    /// The name it is reached by.
    name: String,
    #[cfg(feature = "tls")]
    tls: Option<Identity>,
    /// `http://host:port`; known once it listens.
    base: String,
}

/// A registry to be.
#[derive(Clone, Debug)]
pub struct Builder(Settings);

impl Builder {
    /// What it asks of clients.
    #[must_use]
    pub fn auth(self, auth: Auth) -> Self {
        Self(Settings { auth, ..self.0 })
    }

    /// Whether it has the referrers API; without it, clients must keep lists under tags.
    #[must_use]
    pub fn referrers(self, referrers: bool) -> Self {
        Self(Settings { referrers, ..self.0 })
    }

    /// At most so many referrers in one answer, the others behind a `Link`.
    #[must_use]
    pub fn referrers_page(self, referrers_page: usize) -> Self {
        Self(Settings { referrers_page, ..self.0 })
    }

    /// Does not look at `artifactType` of a referrers query: clients must filter.
    #[must_use]
    pub fn unfiltered_referrers(self) -> Self {
        Self(Settings { filter_referrers: false, ..self.0 })
    }

    /// `Location` with scheme and host.
    #[must_use]
    pub fn absolute_locations(self) -> Self {
        Self(Settings { absolute_locations: true, ..self.0 })
    }

    /// Says `OCI-Chunk-Min-Length`.
    #[must_use]
    pub fn chunk_min(self, bytes: u64) -> Self {
        Self(Settings { chunk_min: Some(bytes), ..self.0 })
    }

    /// Speaks TLS with this certificate.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, identity: Identity) -> Self {
        Self(Settings { tls: Some(identity), ..self.0 })
    }

    /// Calls itself `name` rather than `127.0.0.1`: `localhost`, or any name for those who go through a [`TestProxy`].
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        Self(Settings { name: name.to_owned(), ..self.0 })
    }

    /// Listens there and not at any free port of 127.0.0.1.
    #[must_use]
    pub fn listen(self, address: SocketAddr) -> Self {
        Self(Settings { address, ..self.0 })
    }

    /// The registry, listening.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn start(self) -> Registry {
        Registry { server: Server::start(self.0) }
    }
}

/// A registry that listens, until it is dropped.
#[derive(Debug)]
pub struct Registry {
    server: Server,
}

/// What [`Registry::put_image`] has put.
#[derive(Clone, Debug)]
pub struct TestImage {
    /// The manifest.
    pub manifest: Descriptor,
    /// The bytes of the manifest.
    pub bytes: Vec<u8>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
}

impl Registry {
    /// One without passwords, TLS or faults.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// One to be described.
    #[must_use]
    pub fn builder() -> Builder {
        Builder(Settings {
            auth: Auth::None,
            referrers: true,
            referrers_page: usize::MAX,
            filter_referrers: true,
            absolute_locations: false,
            chunk_min: None,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            name: "127.0.0.1".to_owned(),
            #[cfg(feature = "tls")]
            tls: None,
            base: String::new(),
        })
    }

    fn shared(&self) -> &Shared {
        &self.server.shared
    }

    /// `127.0.0.1:port`: what references begin with.
    #[must_use]
    pub fn host(&self) -> String {
        let (_, host) = self.base().split_once("://").expect("an address with a scheme");
        host.to_owned()
    }

    /// `http://127.0.0.1:port`, or `https://…`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.shared().settings.base
    }

    /// Adds a rule behind those there are.
    pub fn inject(&self, rule: Rule) {
        self.shared().faults().add(rule);
    }

    /// Adds rules for one kind of request: the first that comes gets the first fault, and so on.
    pub fn script(&self, method: &str, path: &str, faults: impl IntoIterator<Item = Fault>) {
        for fault in faults {
            self.inject(Rule::on(method, path, fault));
        }
    }

    /// Forgets all rules.
    pub fn heal(&self) {
        self.shared().faults().clear();
    }

    /// Everything that was asked, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared().record().clone()
    }

    /// Forgets what was asked.
    pub fn forget_requests(&self) {
        self.shared().record().forget();
    }

    /// Those requests that match; `*` stands for any method, and within the path for any text.
    #[must_use]
    pub fn matching(&self, method: &str, path: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.matches(method, path)).collect()
    }

    /// How many requests match.
    #[must_use]
    pub fn count(&self, method: &str, path: &str) -> usize {
        self.matching(method, path).len()
    }

    /// Bytes of bodies that went out to matching requests.
    #[must_use]
    pub fn bytes_sent(&self, path: &str) -> u64 {
        self.matching("*", path).iter().map(|request| request.sent).sum()
    }

    /// Bytes of bodies that came in with matching requests.
    #[must_use]
    pub fn bytes_received(&self, path: &str) -> u64 {
        self.matching("*", path).iter().map(|request| request.received).sum()
    }

    /// Connections that were opened, those that spoke TLS in vain included.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared().connected()
    }

    /// The most blobs that were fetched at the same time.
    #[must_use]
    pub fn most_parallel(&self) -> usize {
        self.shared().most_parallel()
    }

    /// Stores a blob.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> Descriptor {
        let digest = Digest::sha256(bytes);
        self.put_blob_as(repository, &digest, bytes);
        descriptor("application/octet-stream", digest, bytes.len())
    }

    /// Stores a blob under a digest, which may be a lie.
    pub fn put_blob_as(&self, repository: &str, digest: &Digest, bytes: &[u8]) {
        self.shared().storage().put_blob(repository, &digest.to_string(), bytes.to_vec());
    }

    /// Stores a manifest; `tag` may be empty.
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> Descriptor {
        let manifest = StoredManifest { media_type: media_type.to_owned(), bytes: Arc::new(bytes.to_vec()) };
        let tag = Some(tag).filter(|tag| !tag.is_empty());
        self.shared().storage().put_manifest(repository, tag, manifest);
        descriptor(media_type, Digest::sha256(bytes), bytes.len())
    }

    /// Stores a manifest under a digest, which may be a lie.
    pub fn put_manifest_as(&self, repository: &str, digest: &Digest, media_type: &str, bytes: &[u8]) {
        let manifest = StoredManifest { media_type: media_type.to_owned(), bytes: Arc::new(bytes.to_vec()) };
        self.shared().storage().repository(repository).manifests.insert(digest.to_string(), manifest);
    }

    /// Stores an image of these layers, which are taken as they are, under a tag. Its configuration calls them plain
    /// tars, which matters only to who unpacks them.
    pub fn put_image(&self, repository: &str, tag: &str, layers: &[Vec<u8>]) -> TestImage {
        let put = |media_type: &str, bytes: &[u8]| {
            let put = self.put_blob(repository, bytes);
            descriptor(media_type, put.digest, bytes.len())
        };
        let layers: Vec<Descriptor> = layers.iter().map(|layer| put(media_type::OCI_LAYER, layer)).collect();
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.digest.to_string()).collect();
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = put(media_type::OCI_CONFIG, config.to_string().as_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": layers,
        });
        let bytes = manifest.to_string().into_bytes();
        let manifest = self.put_manifest(repository, tag, media_type::OCI_MANIFEST, &bytes);
        TestImage { manifest, bytes, config, layers }
    }

    /// What a repository has of a blob.
    #[must_use]
    pub fn blob(&self, repository: &str, digest: &Digest) -> Option<Vec<u8>> {
        self.shared().storage().blob(repository, &digest.to_string()).map(|bytes| bytes.to_vec())
    }

    /// Media type and bytes of a manifest, by tag or digest.
    #[must_use]
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Vec<u8>)> {
        let (_, manifest) = self.shared().storage().manifest(repository, reference)?;
        Some((manifest.media_type, manifest.bytes.to_vec()))
    }

    /// The tags of a repository, sorted.
    #[must_use]
    pub fn tags(&self, repository: &str) -> Vec<String> {
        self.shared().storage().repository(repository).tags.keys().cloned().collect()
    }

    /// Uploads that were begun and neither finished nor cancelled.
    #[must_use]
    pub fn open_uploads(&self) -> usize {
        self.shared().storage().uploads.len()
    }
}

fn descriptor(media_type: &str, digest: Digest, size: usize) -> Descriptor {
    Descriptor::new(media_type, digest, size as u64)
}

/// An address where connections are taken and nothing is ever said; the listener must be kept.
///
/// # Panics
/// When it cannot listen.
#[must_use]
pub fn silent_listener() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port to listen at");
    let address = listener.local_addr().expect("the port").to_string();
    (listener, address)
}

/// An address where nobody listens, and nobody will: the port stays taken as long as this process runs.
///
/// # Panics
/// When no port is free.
#[must_use]
pub fn closed_port() -> String {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
    let address = rustix::net::getsockname(&socket).expect("the port");
    let address = SocketAddr::try_from(address).expect("an address of the kind that was asked for");
    let _kept = socket.into_raw_fd();
    address.to_string()
}

/// A small gzip file that has about `bytes` zeros inside.
///
/// # Panics
/// Never: it is written to memory.
#[must_use]
pub fn gzip_bomb(bytes: u64) -> Vec<u8> {
    const MEMBER_BYTES: usize = 16 << 20;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&vec![0; MEMBER_BYTES]).expect("memory to write to");
    let member = encoder.finish().expect("memory to write to");
    let members = usize::try_from(bytes.div_ceil(MEMBER_BYTES as u64)).expect("a size that fits");
    member.repeat(members)
}
