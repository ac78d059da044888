//! Who logs in where.
//!
//! ```text
//! $REGISTRY_AUTH_FILE ─▶ $DOCKER_AUTH_CONFIG ─▶ docker's config.json ─▶ containers' auth.json (runtime, then settings)
//!        each: credHelpers of the registry ─▶ the most specific key of auths ─▶ credsStore
//! ```
//!
//! The first that knows something counts. Files are read when a registry is asked for the first time, and helpers are
//! asked once in a while; nothing here prints or keeps what is secret anywhere but in memory.

mod auth_file;
mod helper;
mod key;
mod login;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    ffi::OsString,
    fmt,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use fs_err as fs;

pub use self::login::{Forgotten, Kept};
use self::{
    auth_file::{AuthFile, Found},
    helper::{HELPER_TIME_MAX, Helper},
};
use crate::{Environment, RegistryError, Secret};

/// How long an answer of a helper counts: shorter than the life of any token that helpers hand out.
const ANSWER_LIFE: Duration = Duration::from_secs(300);

/// The variable with the content of a docker `config.json`.
const CONTENT_VARIABLE: &str = "DOCKER_AUTH_CONFIG";

/// Where credentials are kept. Cheap to clone; what was read is shared by all clones.
#[derive(Clone, Default)]
pub struct Credentials {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    sources: Vec<Source>,
    /// Whether the first file is one to write to.
    has_own_file: bool,
    /// Where helpers are looked for.
    path: Option<OsString>,
    helper_time_max: Duration,
    files: OnceLock<Vec<AuthFile>>,
    answers: Mutex<HashMap<(Helper, String), (Instant, Credential)>>,
}

/// A place with credentials, in order of preference.
enum Source {
    File(PathBuf, Kind),
    Content(OsString),
}

/// Whose file it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Docker,
    Containers,
}

/// What a registry is told about who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    #[default]
    Anonymous,
    /// A name and a password, or an access token in its place.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token that the registry's token server handed out at login.
    IdentityToken(Secret),
}

/// A file with secrets that others than its owner may read: something to warn about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadableByOthers {
    /// The file.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

impl fmt::Display for ReadableByOthers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(
            f,
            "{path} holds passwords and has mode {:04o}: make it readable by you alone with chmod 600",
            self.mode
        )
    }
}

impl Credentials {
    /// Notes where credentials are; nothing is read yet.
    #[must_use]
    pub fn load(environment: &Environment) -> Self {
        let inner = Inner {
            has_own_file: ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG"]
                .iter()
                .any(|name| environment.variable(name).is_some())
                || environment.home().is_some(),
            sources: sources(environment),
            path: environment.variable("PATH"),
            helper_time_max: HELPER_TIME_MAX,
            ..Inner::default()
        };
        Self { inner: Arc::new(inner) }
    }

    /// What to tell `registry` when asking for `repository`. [`Credential::Anonymous`] when nothing is kept.
    pub fn get(&self, registry: &str, repository: &str) -> Result<Credential, RegistryError> {
        let registry = key::normalize(registry);
        for file in self.files()? {
            let credential = match file.find(&registry, repository)? {
                None => continue,
                Some(Found::Credential(credential)) => credential,
                Some(Found::Helper(name)) => self.ask(&self.helper(&name, file.origin())?, &registry)?,
            };
            if credential != Credential::Anonymous {
                return Ok(credential);
            }
        }
        Ok(Credential::Anonymous)
    }

    /// Files with secrets that others than their owner may read.
    pub fn readable_by_others(&self) -> Result<Vec<ReadableByOthers>, RegistryError> {
        let secret = self.files()?.iter().filter(|file| file.holds_secrets());
        let modes = secret.filter_map(|file| {
            let mode = fs::metadata(file.origin()).ok()?.permissions().mode() & 0o7777;
            (mode & 0o077 != 0).then(|| ReadableByOthers { path: file.origin().to_owned(), mode })
        });
        Ok(modes.collect())
    }

    fn files(&self) -> Result<&[AuthFile], RegistryError> {
        if let Some(files) = self.inner.files.get() {
            return Ok(files);
        }
        let read = self.inner.sources.iter().filter_map(|source| source.read().transpose());
        let files = read.collect::<Result<Vec<_>, _>>()?;
        Ok(self.inner.files.get_or_init(|| files))
    }

    fn helper(&self, name: &str, origin: &Path) -> Result<Helper, RegistryError> {
        Helper::find(name, self.inner.path.as_deref(), origin, self.inner.helper_time_max)
    }

    /// Asks a helper, or remembers. The lock is held meanwhile, so that a person is asked for one password once.
    fn ask(&self, helper: &Helper, registry: &str) -> Result<Credential, RegistryError> {
        let mut answers = self.inner.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let question = (helper.clone(), registry.to_owned());
        if let Some((when, credential)) = answers.get(&question)
            && when.elapsed() < ANSWER_LIFE
        {
            return Ok(credential.clone());
        }
        let credential = helper.get(key::for_docker(registry))?;
        answers.insert(question, (Instant::now(), credential.clone()));
        Ok(credential)
    }
}

impl Source {
    fn read(&self) -> Result<Option<AuthFile>, RegistryError> {
        match self {
            Self::File(path, _) => AuthFile::read(path),
            Self::Content(content) => {
                let origin = format!("${CONTENT_VARIABLE}");
                AuthFile::parse(Path::new(&origin), content.as_encoded_bytes()).map(Some)
            }
        }
    }
}

fn sources(environment: &Environment) -> Vec<Source> {
    let docker = environment.path("DOCKER_CONFIG").or_else(|| Some(environment.home()?.join(".docker")));
    let containers = |folder: PathBuf| Source::File(folder.join("containers/auth.json"), Kind::Containers);
    let runtime = match environment.path("XDG_RUNTIME_DIR") {
        Some(folder) => containers(folder),
        None => Source::File(
            environment.system(&format!("run/containers/{}/auth.json", environment.uid())),
            Kind::Containers,
        ),
    };
    let named = environment.path("REGISTRY_AUTH_FILE").map(|path| Source::File(path, Kind::Containers));
    let content = environment.variable(CONTENT_VARIABLE).map(Source::Content);
    let docker = docker.map(|folder| Source::File(folder.join("config.json"), Kind::Docker));
    let settings = environment.config_home().map(containers);
    [named, content, docker, Some(runtime), settings].into_iter().flatten().collect()
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.inner.sources.iter().filter_map(|source| match source {
            Source::File(path, _) => Some(path),
            Source::Content(_) => None,
        });
        f.debug_struct("Credentials").field("files", &files.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}
