//! What docker's daemon is told about registries: mirrors of Docker Hub, insecure registries.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{
    authority,
    insecure::{self, Insecure},
};
use crate::{Environment, RegistryError, settings_file};

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Daemon {
    /// Servers to ask before Docker Hub.
    pub(super) mirrors: Vec<DaemonMirror>,
    /// Registries without valid certificates.
    pub(super) insecure: Vec<Insecure>,
}

/// A server to ask before Docker Hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DaemonMirror {
    /// Whether it speaks TLS.
    pub(super) https: bool,
    /// Host, with its port.
    pub(super) authority: String,
}

/// The first `daemon.json` there is: the user's (rootless docker), then the system's.
pub(super) fn load(environment: &Environment) -> Result<Daemon, RegistryError> {
    for path in files(environment) {
        if let Some(bytes) = settings_file::read_if_permitted(&path)? {
            return parse(&path, &bytes);
        }
    }
    Ok(Daemon::default())
}

fn files(environment: &Environment) -> impl Iterator<Item = PathBuf> {
    let users = environment.config_home().map(|folder| folder.join("docker/daemon.json"));
    users.into_iter().chain([environment.system("etc/docker/daemon.json")])
}

/// The file's content.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Daemon, RegistryError> {
    let value = settings_file::parse_json(bytes).map_err(|reason| settings_file::wrong(path, reason))?;
    let list = |key: &str| strings(path, bytes, &value, key);
    let line = |text: &str| settings_file::line_of(bytes, text);
    let at =
        |text: &str, reason: String| settings_file::wrong(path, format!("line {}: {reason}", line(text)));
    let mirrors = list("registry-mirrors")?;
    let mirrors = mirrors.iter().map(|text| mirror(text).map_err(|reason| at(text, reason)));
    let insecure = list("insecure-registries")?;
    let insecure = insecure.iter().map(|text| insecure::parse(text).map_err(|reason| at(text, reason)));
    Ok(Daemon { mirrors: mirrors.collect::<Result<_, _>>()?, insecure: insecure.collect::<Result<_, _>>()? })
}

fn strings(path: &Path, bytes: &[u8], value: &Value, key: &str) -> Result<Vec<String>, RegistryError> {
    let list = match value.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(|item| item.as_str().map(ToOwned::to_owned)).collect(),
        Some(_) => None,
    };
    list.ok_or_else(|| {
        let line = settings_file::line_of(bytes, key);
        settings_file::wrong(path, format!("line {line}: {key:?} is not a list of strings"))
    })
}

/// `https://host[:port]`, and nothing more, as docker wants it.
fn mirror(text: &str) -> Result<DaemonMirror, String> {
    let wrong =
        || "a registry mirror must be http://host[:port] or https://host[:port], and nothing more".to_owned();
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if !matches!(scheme, "http" | "https") || !authority::is_valid(authority) {
        return Err(wrong());
    }
    Ok(DaemonMirror { https: scheme == "https", authority: authority.to_owned() })
}
