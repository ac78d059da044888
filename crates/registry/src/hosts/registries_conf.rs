//! containers' `registries.conf`, version 2: prefixes, mirrors, insecure and blocked registries.
//!
//! Files come in order: the main file, then drop-ins; a later entry with the same prefix replaces an earlier one, and
//! within one file the first counts. Short names are docker's here, so `unqualified-search-registries` and aliases are
//! not looked at.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use fs_err as fs;
use serde::{Deserialize, de::IgnoredAny};
use toml::Spanned;

use super::{
    PullBy,
    location::{Location, Prefix},
};
use crate::{Environment, RegistryError, settings_file};

/// The most drop-in files of one folder.
const DROP_INS_MAX: usize = 1024;

/// What the files say of the names below one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registry {
    pub(super) prefix: Prefix,
    /// Where the names really are; as written when there is none.
    pub(super) location: Option<Location>,
    pub(super) insecure: bool,
    pub(super) blocked: bool,
    pub(super) mirrors: Vec<Mirror>,
    /// The file that says so.
    pub(super) file: Arc<Path>,
}

/// A place to ask first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirror {
    pub(super) location: Location,
    pub(super) insecure: bool,
    pub(super) pull: PullBy,
}

/// The entries of all files that apply.
pub(super) fn load(environment: &Environment) -> Result<Vec<Registry>, RegistryError> {
    let mut registries = Vec::new();
    for path in files(environment)? {
        if let Some(bytes) = settings_file::read(&path)? {
            merge(&mut registries, parse(&path, &bytes)?);
        }
    }
    Ok(registries)
}

fn merge(registries: &mut Vec<Registry>, later: Vec<Registry>) {
    registries.retain(|earlier| !later.iter().any(|registry| registry.prefix == earlier.prefix));
    registries.extend(later);
}

/// The files that apply, in order. One that a variable names stands alone and must exist.
fn files(environment: &Environment) -> Result<Vec<PathBuf>, RegistryError> {
    if let Some(path) = environment.path("CONTAINERS_REGISTRIES_CONF") {
        fs::metadata(&path).map_err(settings_file::failed)?;
        return Ok(vec![path]);
    }
    let users = environment.config_home().map(|folder| folder.join("containers/registries.conf"));
    let systems = environment.system("etc/containers/registries.conf");
    let main = users.clone().filter(|path| path.exists()).unwrap_or_else(|| systems.clone());
    let mut files = vec![main];
    for folder in [Some(systems), users].into_iter().flatten() {
        files.extend(drop_ins(&folder.with_extension("conf.d"))?);
    }
    Ok(files)
}

fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, RegistryError> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(settings_file::failed)?.path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            files.push(path);
        }
        if files.len() > DROP_INS_MAX {
            return Err(settings_file::wrong(folder, format!("it has more than {DROP_INS_MAX} files")));
        }
    }
    files.sort();
    Ok(files)
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    registry: Vec<WrittenRegistry>,
    /// Version 1.
    registries: Option<Spanned<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WrittenRegistry {
    prefix: Option<Spanned<String>>,
    location: Option<Spanned<String>>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Spanned<WrittenMirror>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WrittenMirror {
    location: Spanned<String>,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<Spanned<String>>,
}

/// Something wrong, and the byte where it is.
struct Wrong(usize, String);

/// The entries of one file.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Registry>, RegistryError> {
    entries(path, bytes).map_err(|Wrong(offset, reason)| {
        let line = settings_file::line_at(bytes, offset);
        settings_file::wrong(path, format!("line {line}: {reason}"))
    })
}

fn entries(path: &Path, bytes: &[u8]) -> Result<Vec<Registry>, Wrong> {
    let text =
        str::from_utf8(bytes).map_err(|error| Wrong(error.valid_up_to(), "it is not UTF-8".to_owned()))?;
    let written: Written = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        Wrong(offset, error.message().lines().collect::<Vec<_>>().join(" "))
    })?;
    if let Some(old) = written.registries {
        let reason = "the table [registries] is version 1 of this format: write [[registry]] tables";
        return Err(Wrong(old.span().start, reason.to_owned()));
    }
    let file: Arc<Path> = path.into();
    let mut registries: Vec<Registry> = Vec::new();
    for written in written.registry {
        let registry = check(written, &file)?;
        if registries.iter().all(|earlier| earlier.prefix != registry.prefix) {
            registries.push(registry);
        }
    }
    Ok(registries)
}

fn check(written: WrittenRegistry, file: &Arc<Path>) -> Result<Registry, Wrong> {
    let location = written.location.filter(|location| !location.get_ref().is_empty());
    let prefix = written.prefix.filter(|prefix| !prefix.get_ref().is_empty()).or_else(|| location.clone());
    let Some(prefix) = prefix else {
        return Err(Wrong(0, "a [[registry]] has neither prefix nor location: give one of them".to_owned()));
    };
    let location = location.map(|location| at(&location, Location::parse)).transpose()?;
    let parsed = at(&prefix, Prefix::parse)?;
    if location.is_none() && matches!(parsed, Prefix::Place(_)) {
        let reason = format!("prefix {:?} has no location: add one", prefix.get_ref());
        return Err(Wrong(prefix.span().start, reason));
    }
    let digest_only = written.mirror_by_digest_only;
    let mirrors = written.mirror.into_iter().map(|mirror| check_mirror(mirror, digest_only));
    Ok(Registry {
        prefix: parsed,
        location,
        insecure: written.insecure,
        blocked: written.blocked,
        mirrors: mirrors.collect::<Result<_, _>>()?,
        file: Arc::clone(file),
    })
}

fn check_mirror(written: Spanned<WrittenMirror>, digest_only: bool) -> Result<Mirror, Wrong> {
    let mirror = written.into_inner();
    let pull = match &mirror.pull_from_mirror {
        None if digest_only => PullBy::Digest,
        None => PullBy::Any,
        Some(set) if digest_only => {
            let reason = "pull-from-mirror and the registry's mirror-by-digest-only exclude each other";
            return Err(Wrong(set.span().start, reason.to_owned()));
        }
        Some(set) => at(set, pull_by)?,
    };
    Ok(Mirror { location: at(&mirror.location, Location::parse)?, insecure: mirror.insecure, pull })
}

fn pull_by(text: &str) -> Result<PullBy, String> {
    match text {
        "" | "all" => Ok(PullBy::Any),
        "digest-only" => Ok(PullBy::Digest),
        "tag-only" => Ok(PullBy::Tag),
        other => Err(format!("pull-from-mirror is {other:?}: write all, digest-only or tag-only")),
    }
}

/// Reads a value; an error knows where it stands.
fn at<T>(text: &Spanned<String>, read: impl Fn(&str) -> Result<T, String>) -> Result<T, Wrong> {
    read(text.get_ref()).map_err(|reason| Wrong(text.span().start, reason))
}
