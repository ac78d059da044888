//! docker's `config.json` and podman's `auth.json`: who logs in where, in one file.

use std::path::{Path, PathBuf};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};

use super::{Credential, key};
use crate::{RegistryError, Secret, settings_file};

/// Base64 as docker writes it; a missing `=` is forgiven.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What one file says.
#[derive(Clone, Default)]
pub(super) struct AuthFile {
    /// Its path, or the variable it comes from.
    origin: PathBuf,
    content: Map<String, Value>,
}

/// Where to look further.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// In the file itself.
    Credential(Credential),
    /// A credential helper knows.
    Helper(String),
}

impl AuthFile {
    /// Reads a file; none when it is not there.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, RegistryError> {
        settings_file::read(path)?.map(|bytes| Self::parse(path, &bytes)).transpose()
    }

    /// Understands the content of a file.
    pub(super) fn parse(origin: &Path, bytes: &[u8]) -> Result<Self, RegistryError> {
        let value =
            settings_file::parse_json(bytes).map_err(|reason| settings_file::wrong(origin, reason))?;
        let Value::Object(content) = value else {
            return Err(settings_file::wrong(origin, "it is not a JSON object"));
        };
        let file = Self { origin: origin.to_owned(), content };
        file.object("auths")?;
        file.object("credHelpers")?;
        file.string(&file.content, "credsStore")?;
        Ok(file)
    }

    /// A file that is to be.
    pub(super) fn empty(origin: &Path) -> Self {
        Self { origin: origin.to_owned(), content: Map::new() }
    }

    /// Its path, or the variable it comes from.
    pub(super) fn origin(&self) -> &Path {
        &self.origin
    }

    /// The whole content, to be changed and written again.
    pub(super) fn into_content(self) -> Map<String, Value> {
        self.content
    }

    /// What it says of a repository: the registry's own helper, else the most specific entry, else the helper for all.
    pub(super) fn find(&self, registry: &str, repository: &str) -> Result<Option<Found>, RegistryError> {
        if let Some(helper) = self.helper_of(registry)? {
            return Ok(Some(Found::Helper(helper)));
        }
        for (name, entry) in self.fitting(registry, repository)? {
            let credential = self.credential(&name, entry)?;
            if credential != Credential::Anonymous {
                return Ok(Some(Found::Credential(credential)));
            }
        }
        Ok(self.helper_of_all()?.map(Found::Helper))
    }

    /// The helper of one registry: `credHelpers`.
    pub(super) fn helper_of(&self, registry: &str) -> Result<Option<String>, RegistryError> {
        let Some(helpers) = self.object("credHelpers")? else { return Ok(None) };
        let named = helpers.keys().find(|name| key::normalize(name) == registry);
        named.map_or(Ok(None), |name| self.string(helpers, name))
    }

    /// The helper of all others: `credsStore`.
    pub(super) fn helper_of_all(&self) -> Result<Option<String>, RegistryError> {
        self.string(&self.content, "credsStore")
    }

    /// Whether there is an entry with a secret for a whole registry.
    pub(super) fn find_entry(&self, registry: &str) -> Result<bool, RegistryError> {
        let entries = self.fitting(registry, "")?;
        Ok(entries.iter().any(|(_, entry)| is_secret(entry)))
    }

    /// Whether the file itself holds a password or token.
    pub(super) fn holds_secrets(&self) -> bool {
        let entries = self.content.get("auths").and_then(Value::as_object);
        entries.is_some_and(|entries| entries.values().any(is_secret))
    }

    /// The entries for a repository with their normalized keys, the most specific one first.
    fn fitting(&self, registry: &str, repository: &str) -> Result<Vec<(String, &Value)>, RegistryError> {
        let Some(entries) = self.object("auths")? else { return Ok(Vec::new()) };
        let mut fitting = Vec::new();
        for (written, entry) in entries {
            let name = key::normalize(written);
            if let Some(fit) = key::fit(&name, registry, repository) {
                // Of two ways to write the same, the plain one is the newer.
                fitting.push(((fit, *written == name), name, entry));
            }
        }
        fitting.sort_by(|(one, ..), (other, ..)| other.cmp(one));
        Ok(fitting.into_iter().map(|(_, name, entry)| (name, entry)).collect())
    }

    fn credential(&self, name: &str, entry: &Value) -> Result<Credential, RegistryError> {
        let Some(entry) = entry.as_object() else {
            return Err(self.wrong(name, "is not an object"));
        };
        let field = |field: &str| match entry.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(self.wrong(name, &format!("has a field {field:?} that is no string"))),
        };
        if let Some(token) = field("identitytoken")? {
            return Ok(Credential::IdentityToken(Secret::new(token)));
        }
        if let Some(auth) = field("auth")? {
            let (user, password) = decode(auth).map_err(|reason| self.wrong(name, reason))?;
            return Ok(Credential::Basic { user, password });
        }
        if field("username")?.is_some() || field("password")?.is_some() {
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            let password = Secret::new(text(field("password")?));
            return Ok(Credential::Basic { user: text(field("username")?), password });
        }
        if field("registrytoken")?.is_some() {
            return Err(self.wrong(name, "has only a registrytoken, which cannot be used: log in again"));
        }
        Ok(Credential::Anonymous)
    }

    fn wrong(&self, name: &str, reason: &str) -> RegistryError {
        settings_file::wrong(&self.origin, format!("the entry of {name:?} {reason}"))
    }

    fn object(&self, name: &str) -> Result<Option<&Map<String, Value>>, RegistryError> {
        match self.content.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(_) => Err(settings_file::wrong(&self.origin, format!("{name:?} is not an object"))),
        }
    }

    fn string(&self, object: &Map<String, Value>, name: &str) -> Result<Option<String>, RegistryError> {
        match object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(settings_file::wrong(&self.origin, format!("{name:?} is not a string"))),
        }
    }
}

fn is_secret(entry: &Value) -> bool {
    let text = |name| entry.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    ["auth", "password", "identitytoken", "registrytoken"].into_iter().any(text)
}

/// `user:password` in base64. Old files have zero bytes after it.
fn decode(auth: &str) -> Result<(String, Secret), &'static str> {
    let compact: Vec<u8> = auth.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let bytes = BASE64.decode(compact).map_err(|_| "has an auth that is not base64: log in again")?;
    let text = String::from_utf8(bytes).map_err(|_| "has an auth that is not UTF-8: log in again")?;
    let (user, password) = text.split_once(':').ok_or("has an auth without a colon: log in again")?;
    Ok((user.to_owned(), Secret::new(password.trim_end_matches('\0'))))
}

/// The field `auth` of a name and password.
pub(super) fn encode(user: &str, password: &str) -> String {
    BASE64.encode(format!("{user}:{password}"))
}
