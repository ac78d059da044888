//! Keeping and forgetting credentials: `login` and `logout`.
//!
//! They go where docker puts them: into the file that `$REGISTRY_AUTH_FILE` names, else docker's `config.json`; with the
//! credential helper that this file asks for, else in the file itself. All else in the file stays as it is.

use std::{
    fmt,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process,
};

use fs_err::{self as fs, os::unix::fs::OpenOptionsExt as _};
use serde::Serialize as _;
use serde_json::{Map, Value, json, ser::PrettyFormatter};

use super::{
    Credential, Credentials, Kind, Source,
    auth_file::{self, AuthFile},
    key,
};
use crate::{RegistryError, Secret};

/// Where a credential went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Readable by whoever can read this file.
    File(PathBuf),
    /// In the keychain of this credential helper.
    Helper(String),
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Helper(program) => f.write_str(program),
        }
    }
}

/// What `logout` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Where the credential was taken out.
    pub from: Vec<Kept>,
    /// Whether another file still has one, which is used from now on.
    pub others_remain: bool,
}

impl Credentials {
    /// Keeps what logged `user` in at `registry`: the password, or the identity token that the registry gave for it.
    pub fn login(
        &self,
        registry: &str,
        user: &str,
        password: &Secret,
        identity_token: Option<&Secret>,
    ) -> Result<Kept, RegistryError> {
        let registry = key::normalize(registry);
        let (path, kind) = self.own_file()?;
        let file = AuthFile::read(&path)?.unwrap_or_else(|| AuthFile::empty(&path));
        if let Some(name) = helper_name(&file, &registry)? {
            let credential = match identity_token {
                Some(token) => Credential::IdentityToken(token.clone()),
                None => Credential::Basic { user: user.to_owned(), password: password.clone() },
            };
            let helper = self.helper(&name, file.origin())?;
            helper.store(key::for_docker(&registry), &credential)?;
            // docker marks with an empty entry that a helper has the secret.
            set(file, kind, &registry, json!({}))?;
            return Ok(Kept::Helper(helper.name().to_owned()));
        }
        let entry = match identity_token {
            Some(token) => json!({ "auth": auth_file::encode(user, ""), "identitytoken": token.reveal() }),
            None => json!({ "auth": auth_file::encode(user, password.reveal()) }),
        };
        set(file, kind, &registry, entry)?;
        Ok(Kept::File(path))
    }

    /// Forgets what is kept for `registry` where [`Self::login`] keeps it. These credentials still know what they read.
    pub fn logout(&self, registry: &str) -> Result<Forgotten, RegistryError> {
        let registry = key::normalize(registry);
        let (path, _) = self.own_file()?;
        let mut forgotten = Forgotten::default();
        if let Some(file) = AuthFile::read(&path)? {
            if let Some(name) = helper_name(&file, &registry)? {
                let helper = self.helper(&name, file.origin())?;
                if helper.erase(key::for_docker(&registry))? {
                    forgotten.from.push(Kept::Helper(helper.name().to_owned()));
                }
            }
            let held_secret = file.find_entry(&registry)?;
            let mut content = file.into_content();
            if remove(&mut content, &registry) {
                replace(&path, &content)?;
                forgotten.from.extend(held_secret.then(|| Kept::File(path.clone())));
            }
        }
        forgotten.others_remain = self.others(&path, &registry)?;
        Ok(forgotten)
    }

    /// The file that is written to.
    fn own_file(&self) -> Result<(PathBuf, Kind), RegistryError> {
        let mut files = self.inner.sources.iter().filter_map(|source| match source {
            Source::File(path, kind) => Some((path.clone(), *kind)),
            Source::Content(_) => None,
        });
        files.next().filter(|_| self.inner.has_own_file).ok_or_else(|| RegistryError::Setting {
            what: "the place for credentials".to_owned(),
            reason: "there is no home directory: set DOCKER_CONFIG or REGISTRY_AUTH_FILE".to_owned(),
        })
    }

    /// Whether a source besides `path` knows the registry.
    fn others(&self, path: &Path, registry: &str) -> Result<bool, RegistryError> {
        for source in &self.inner.sources {
            if matches!(source, Source::File(other, _) if other == path) {
                continue;
            }
            // What is wrong with another file is told when it is needed; this one has been changed.
            if let Ok(Some(file)) = source.read()
                && (file.find_entry(registry)? || file.helper_of(registry)?.is_some())
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn helper_name(file: &AuthFile, registry: &str) -> Result<Option<String>, RegistryError> {
    Ok(match file.helper_of(registry)? {
        Some(name) => Some(name),
        None => file.helper_of_all()?,
    })
}

/// Puts the entry of a registry in, in the place of whatever was there for the same registry.
fn set(file: AuthFile, kind: Kind, registry: &str, entry: Value) -> Result<(), RegistryError> {
    let path = file.origin().to_owned();
    let mut content = file.into_content();
    let written = match kind {
        Kind::Docker => key::for_docker(registry),
        Kind::Containers => registry,
    };
    let auths = content.entry("auths").or_insert_with(|| Value::Object(Map::new()));
    if !auths.is_object() {
        *auths = Value::Object(Map::new());
    }
    if let Some(auths) = auths.as_object_mut() {
        auths.retain(|name, _| name == written || key::normalize(name) != registry);
        auths.insert(written.to_owned(), entry);
    }
    replace(&path, &content)
}

/// Takes the entries of a registry out; whether there were any.
fn remove(content: &mut Map<String, Value>, registry: &str) -> bool {
    let Some(auths) = content.get_mut("auths").and_then(Value::as_object_mut) else { return false };
    let before = auths.len();
    auths.retain(|name, _| key::normalize(name) != registry);
    auths.len() != before
}

/// Writes the file whole or not at all, readable by its owner alone. A link stays a link.
fn replace(path: &Path, content: &Map<String, Value>) -> Result<(), RegistryError> {
    let failed = |source| RegistryError::Io { doing: "keep credentials".to_owned(), source };
    let text = pretty(content).map_err(|error| failed(error.into()))?;
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        make_folder(folder).map_err(failed)?;
    }
    let mut temporary = path.clone().into_os_string();
    temporary.push(format!(".{}.tmp", process::id()));
    let temporary = PathBuf::from(temporary);
    let written = write(&temporary, &text).and_then(|()| fs::rename(&temporary, &path));
    written.map_err(|error| {
        // Best effort: the error at hand says more than one about the left-over.
        let _ = fs::remove_file(&temporary);
        failed(error)
    })
}

fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// With tabs, as docker writes it.
fn pretty(content: &Map<String, Value>) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::new();
    content.serialize(&mut serde_json::Serializer::with_formatter(
        &mut text,
        PrettyFormatter::with_indent(b"\t"),
    ))?;
    Ok(text)
}
