//! Clients with little patience, and the checks that every failure gets.

use std::{
    error::Error,
    ffi::OsString,
    fmt::Debug,
    io::{self, Cursor, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fs_err as fs;
use galley_oci::{Descriptor, Reference};
use galley_registry::{
    Certificates, Client, Credentials, Environment, Hosts, Kind, Limits, Options, Proxies, RegistryError,
    Uploaded,
};
use galley_testkit::registry::{Fault, Registry};
use tempfile::TempDir;

/// What every secret of these tests contains, and no error may.
pub(crate) const SECRET: &str = "s3cret";

/// `robot:s3cret-password`, as it is sent and kept.
const ENCODED: &str = "cm9ib3Q6czNjcmV0LXBhc3N3b3Jk";

/// A machine for one test: a home and an `/etc` of its own, and variables.
pub(crate) struct Machine {
    /// As long as its clients, which read files late.
    folder: Arc<TempDir>,
    variables: Vec<(String, String)>,
    stop: Arc<AtomicBool>,
    limits: Limits,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        fs::create_dir(folder.path().join("home")).unwrap();
        Self { folder, variables: Vec::new(), stop: Arc::default(), limits: limits() }
    }

    /// Writes a file, with the folders above it.
    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Logged in at these registries as the one whom test registries know.
    pub(crate) fn logged_in(self, registries: &[&Registry]) -> Self {
        let auth = |registry: &&Registry| format!("{:?}:{{\"auth\":{ENCODED:?}}}", registry.host());
        let auths: Vec<String> = registries.iter().map(auth).collect();
        self.file("home/.docker/config.json", format!("{{\"auths\":{{{}}}}}", auths.join(",")))
    }

    /// With little patience where this is a fault by which nothing comes for a while.
    pub(crate) fn against(self, fault: &Fault) -> Self {
        let slow = matches!(fault, Fault::Hang | Fault::Stall { .. } | Fault::Drip { .. });
        if slow { self.limits(hurry) } else { self }
    }

    pub(crate) fn path(&self, path: &str) -> String {
        self.folder.path().join(path).display().to_string()
    }

    /// What makes the client stop.
    pub(crate) fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    pub(crate) fn environment(&self) -> Environment {
        let variables = self.variables.clone();
        let find = move |wanted: &str| {
            variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| OsString::from(value))
        };
        Environment::new(find, Some(self.folder.path().join("home")), 1000).with_root(self.folder.path())
    }

    pub(crate) fn options(&self) -> Options {
        let environment = self.environment();
        let (stop, folder) = (self.stop(), Arc::clone(&self.folder));
        Options {
            hosts: Hosts::load(&environment, &[]).unwrap(),
            credentials: Credentials::load(&environment),
            certificates: Certificates::load(&environment),
            proxies: Proxies::load(&environment).unwrap(),
            stop: Arc::new(move || folder.path().as_os_str().is_empty() || stop.load(Ordering::SeqCst)),
            limits: self.limits.clone(),
            ..Options::default()
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.options()).unwrap()
    }
}

/// Limits for tests: all pauses are short, and nobody loses patience because the machine is busy.
pub(crate) fn limits() -> Limits {
    Limits {
        connect: Duration::from_secs(60),
        response: Duration::from_secs(60),
        commit: Duration::from_secs(60),
        stall: Duration::from_secs(60),
        slow_bytes: 1 << 10,
        slow_window: Duration::from_secs(60),
        attempts: 4,
        backoff_first: Duration::from_millis(2),
        backoff_max: Duration::from_millis(10),
        retry_after_max: Duration::from_secs(3),
        redirects: 5,
        ..Limits::default()
    }
}

/// Little patience, for tests of what happens when it ends. A busy machine may use it up as well, so these tests may not
/// count on answers that come in time.
pub(crate) fn hurry(limits: &mut Limits) {
    limits.response = Duration::from_millis(600);
    limits.commit = Duration::from_millis(600);
    limits.stall = Duration::from_millis(400);
    limits.slow_window = Duration::from_millis(800);
}

/// A client that nobody told anything.
pub(crate) fn client() -> Client {
    Machine::new().client()
}

/// `rest` is what follows the host: `library/app:1`.
pub(crate) fn reference(registry: &Registry, rest: &str) -> Reference {
    format!("{}/{rest}", registry.host()).parse().unwrap()
}

/// By digest.
pub(crate) fn pinned(registry: &Registry, repository: &str, of: &Descriptor) -> Reference {
    reference(registry, &format!("{repository}@{}", of.digest))
}

/// The failure, which must be of this kind and hold no secret.
#[track_caller]
pub(crate) fn failure<T: Debug>(result: Result<T, RegistryError>, kind: Kind) -> RegistryError {
    let error = result.expect_err("a failure");
    assert_no_secret(&error);
    assert_eq!(error.kind(), kind, "{error}: {error:?}");
    error
}

#[track_caller]
pub(crate) fn assert_no_secret(error: &RegistryError) {
    let mut texts = vec![format!("{error:?}")];
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    for text in texts {
        assert!(!text.contains(SECRET) && !text.contains(ENCODED), "a secret in {text}");
    }
}

/// All bytes of a blob.
pub(crate) fn fetch(
    client: &Client,
    repository: &Reference,
    blob: &Descriptor,
) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    let read = client.blob(repository, blob)?.read_to_end(&mut bytes);
    assert!(bytes.len() as u64 <= blob.size, "more bytes than the blob has");
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.downcast().expect("a registry error within")),
    }
}

/// Uploads these bytes.
pub(crate) fn upload(
    client: &Client,
    repository: &Reference,
    bytes: &[u8],
) -> Result<Uploaded, RegistryError> {
    upload_from(client, repository, bytes, &[])
}

pub(crate) fn upload_from(
    client: &Client,
    repository: &Reference,
    bytes: &[u8],
    mount_from: &[Reference],
) -> Result<Uploaded, RegistryError> {
    let blob = Descriptor::of("application/octet-stream", bytes);
    let content = || Ok(Box::new(Cursor::new(bytes.to_vec())) as Box<dyn Read + Send>) as io::Result<_>;
    client.upload(repository, &blob, &content, mount_from, &|_| {})
}

/// Bytes that look random and are always the same.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// What it took.
pub(crate) fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let result = act();
    (result, begun.elapsed())
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}
