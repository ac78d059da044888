//! The registry client of this process, and its errors in our words.

use std::{
    error::Error as _,
    fmt,
    io::{self, Read},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use galley_engine::{Cancel, Error, ErrorKind, ports::BlobSource};
use galley_oci::{Descriptor, Reference};
use galley_registry::{
    Certificates, Client, Credentials, Engine, Environment as Settings, Hosts, Kind, Options, Proxies,
    RegistryError, Stop,
};

use crate::{args::VERSION, context::Context, environment::Environment, message, namespace};

/// Where registries are asked. The client is made when the first one is: a build that asks none reads no settings.
#[derive(Clone)]
pub(crate) struct Registries(Arc<Inner>);

struct Inner {
    environment: Environment,
    /// Registries that flags name insecure.
    insecure: Vec<String>,
    /// `--offline`: nothing is asked.
    offline: bool,
    stop: Cancel,
    client: Mutex<Option<Client>>,
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registries").field("offline", &self.0.offline).finish_non_exhaustive()
    }
}

impl Registries {
    /// Those that the settings of `context` lead to, until `stop`.
    pub(crate) fn new(context: &Context, stop: &Cancel) -> Self {
        Self(Arc::new(Inner {
            environment: context.environment.clone(),
            insecure: context.insecure_registries.clone(),
            offline: false,
            stop: stop.clone(),
            client: Mutex::new(None),
        }))
    }

    /// The same; with `--offline` every question is an error.
    pub(crate) fn offline(self, offline: bool) -> Self {
        Self(Arc::new(Inner { offline, ..self.parts() }))
    }

    /// The same, where these registries too may have any certificate, or speak plain HTTP.
    pub(crate) fn insecure(self, more: Vec<String>) -> Self {
        let mut parts = self.parts();
        parts.insecure.extend(more);
        Self(Arc::new(parts))
    }

    fn parts(&self) -> Inner {
        Inner {
            environment: self.0.environment.clone(),
            insecure: self.0.insecure.clone(),
            offline: self.0.offline,
            stop: self.0.stop.clone(),
            client: Mutex::new(None),
        }
    }

    /// Whether nothing may be asked.
    pub(crate) fn is_offline(&self) -> bool {
        self.0.offline
    }

    /// The client, made by the first who asks.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        if self.0.offline {
            return Err(Error::new(ErrorKind::NotFound, "--offline forbids to ask registries"));
        }
        let mut client = self.0.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let made = self.make().map_err(|error| failed("cannot ask registries", error))?;
        *client = Some(made.clone());
        Ok(made)
    }

    fn make(&self) -> Result<Client, RegistryError> {
        let settings = settings(&self.0.environment);
        let credentials = Credentials::load(&settings);
        // Inside of the user namespace, the process outside has said it.
        if !self.0.environment.inside_namespace() {
            warn_of_modes(&credentials);
        }
        Client::new(Options {
            hosts: Hosts::load(&settings, &self.0.insecure)?,
            credentials,
            certificates: Certificates::load(&settings),
            proxies: Proxies::load(&settings)?,
            stop: self.stop(),
            user_agent: format!("galley/{VERSION}"),
            ..Options::default()
        })
    }

    /// Asked while one waits for the other side.
    pub(crate) fn stop(&self) -> Stop {
        let stop = self.0.stop.clone();
        Arc::new(move || stop.is_cancelled())
    }

    /// The Docker engine of this machine, if one runs.
    pub(crate) fn docker_engine(&self) -> Result<Option<Engine>, Error> {
        let found = Engine::find(&settings(&self.0.environment), &self.stop());
        found.map_err(|error| failed("cannot find the docker engine", error))
    }

    /// The blobs of a repository.
    pub(crate) fn blobs(&self, repository: &Reference) -> Arc<dyn BlobSource> {
        let repository = Reference { tag: None, digest: None, ..repository.clone() };
        Arc::new(RepositoryBlobs { registries: self.clone(), repository })
    }
}

/// Files with passwords that others may read. Those that cannot be read are somebody else's error.
fn warn_of_modes(credentials: &Credentials) {
    for file in credentials.readable_by_others().unwrap_or_default() {
        message::warn(&file.to_string(), None);
    }
}

/// What the registry crate takes from the environment.
pub(crate) fn settings(environment: &Environment) -> Settings {
    let variables = environment.clone();
    let home = environment.nonempty("HOME").map(PathBuf::from);
    // Inside of the user namespace the settings are still those of the person.
    let uid = namespace::user(environment);
    Settings::new(move |name| variables.raw(name).map(ToOwned::to_owned), home, uid)
}

/// The blobs of one repository.
#[derive(Debug)]
struct RepositoryBlobs {
    registries: Registries,
    repository: Reference,
}

impl BlobSource for RepositoryBlobs {
    fn name(&self) -> String {
        self.repository.name()
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, Error> {
        let what = format!("cannot fetch {} of {}", blob.digest.short(), self.name());
        if self.registries.is_offline() {
            let message = format!("{what}: --offline forbids to ask registries");
            return Err(Error::new(ErrorKind::NotFound, message)
                .help("a build without --offline fetches it, and the next one can go without"));
        }
        let client = self.registries.client()?;
        let inner = client.blob(&self.repository, blob).map_err(|error| failed(&what, error))?;
        Ok(Box::new(Explained { inner, what }))
    }

    fn repository(&self) -> Option<&Reference> {
        Some(&self.repository)
    }
}

/// A reader whose errors are ours.
struct Explained<R> {
    inner: R,
    what: String,
}

impl<R: Read> Read for Explained<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| match error.downcast::<RegistryError>() {
            Ok(error) => io::Error::other(failed(&self.what, error)),
            Err(error) => error,
        })
    }
}

/// What failed, because of `error`.
pub(crate) fn failed(what: &str, error: RegistryError) -> Error {
    let kind = match error.kind() {
        Kind::Stopped => return Error::new(ErrorKind::Cancelled, "cancelled"),
        Kind::NotFound => ErrorKind::NotFound,
        Kind::Io => return of_this_machine(what, error),
        Kind::Denied | Kind::Unreachable | Kind::Lied | Kind::TooLarge | Kind::Config | Kind::Unsupported => {
            ErrorKind::Registry
        }
    };
    Error::new(kind, what).because(error)
}

/// A blob that is sent may come from somewhere else: then that is what failed.
fn of_this_machine(what: &str, error: RegistryError) -> Error {
    let RegistryError::Io { doing, source } = error else {
        return Error::new(ErrorKind::Store, what).because(error);
    };
    match source.downcast::<Error>() {
        Ok(error) => error,
        Err(source) => Error::new(ErrorKind::Store, what).because(RegistryError::Io { doing, source }),
    }
}

/// Whether the registry could not be asked at all, which an older answer may make good.
pub(super) fn unreachable(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<RegistryError>());
    cause.is_some_and(|cause| cause.kind() == Kind::Unreachable)
}
