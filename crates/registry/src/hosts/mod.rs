//! Which servers answer for a registry's name.
//!
//! ```text
//! reference ─▶ registries.conf: blocked? ─▶ its mirrors ─▶ daemon.json's mirrors (Docker Hub) ─▶ the registry itself
//! ```
//!
//! Insecure is what registries.conf, daemon.json, a flag or a variable names so, and this machine itself.

pub(crate) mod authority;
pub(crate) mod cidr;
mod daemon_json;
mod insecure;
mod location;
mod registries_conf;
#[cfg(test)]
mod tests;

use galley_oci::Reference;

use self::{
    daemon_json::{Daemon, DaemonMirror},
    insecure::Insecure,
    location::Location,
    registries_conf::{Mirror, Registry},
};
use crate::{Environment, RegistryError, settings_file};

/// The name of Docker Hub, the registry of names that name none.
pub(crate) const DEFAULT_REGISTRY: &str = "docker.io";
/// The server behind [`DEFAULT_REGISTRY`].
pub(crate) const DOCKER_HUB: &str = "registry-1.docker.io";
/// Names more insecure registries, separated by commas or spaces.
const INSECURE_VARIABLE: &str = "GALLEY_INSECURE_REGISTRIES";

/// What is known about registries: mirrors, insecure and blocked ones.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    registries: Vec<Registry>,
    hub_mirrors: Vec<DaemonMirror>,
    insecure: Vec<Insecure>,
}

/// A server that may have what is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://registry-1.docker.io`: scheme, host and port, without a slash at the end.
    pub base: String,
    /// The repository there, after rewriting of prefixes.
    pub repository: String,
    /// The registry's name, for messages and as the key of credentials: `docker.io`, or the mirror's `host:port`.
    pub registry: String,
    /// Whether it stands in for the registry that was named: never pushed to, and a failure leads to the next one.
    pub mirror: bool,
    /// Whether any certificate is accepted there, and plain HTTP when the server does not speak TLS.
    pub insecure: bool,
    /// Which references may be asked of it.
    pub pull: PullBy,
}

/// Which references a mirror is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullBy {
    /// All.
    #[default]
    Any,
    /// Only those with a digest.
    Digest,
    /// Only those with a tag.
    Tag,
}

impl PullBy {
    const fn permits(self, reference: &Reference) -> bool {
        match self {
            Self::Any => true,
            Self::Digest => reference.digest.is_some(),
            Self::Tag => reference.digest.is_none(),
        }
    }
}

impl Hosts {
    /// Reads `registries.conf`, `daemon.json` and `$GALLEY_INSECURE_REGISTRIES`; `insecure` is what flags name.
    pub fn load(environment: &Environment, insecure: &[String]) -> Result<Self, RegistryError> {
        let Daemon { mirrors, insecure: daemons } = daemon_json::load(environment)?;
        let mut all = parse_insecure(insecure.iter().map(String::as_str), "--insecure-registry")?;
        let variable = environment.text(INSECURE_VARIABLE)?.unwrap_or_default();
        let words = variable.split([',', ' ']).filter(|word| !word.is_empty());
        all.extend(parse_insecure(words, "$GALLEY_INSECURE_REGISTRIES")?);
        all.extend(daemons);
        Ok(Self { registries: registries_conf::load(environment)?, hub_mirrors: mirrors, insecure: all })
    }

    /// The servers to pull `reference` from, in order: mirrors first, the registry itself last. Mirrors that are not
    /// to be asked for it are left out.
    pub fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>, RegistryError> {
        let name = reference.name();
        let mut endpoints = Vec::new();
        let mut primary = self.named(reference, false);
        if let Some((registry, rest)) = self.entry(reference, &name)? {
            for mirror in registry.mirrors.iter().filter(|mirror| mirror.pull.permits(reference)) {
                endpoints.push(self.mirror(mirror, registry, rest)?);
            }
            primary = match &registry.location {
                Some(location) => self.moved(location, registry, rest)?,
                None => self.named(reference, registry.insecure),
            };
        }
        if reference.registry == DEFAULT_REGISTRY {
            endpoints.extend(self.hub_mirrors.iter().map(|mirror| self.hub_mirror(mirror, reference)));
        }
        endpoints.push(primary);
        Ok(endpoints)
    }

    /// The server to push `reference` to and to log in at: the one its name says, as no settings send pushes elsewhere.
    pub fn push_endpoint(&self, reference: &Reference) -> Result<Endpoint, RegistryError> {
        let name = reference.name();
        let insecure = self.entry(reference, &name)?.is_some_and(|(registry, _)| registry.insecure);
        Ok(self.named(reference, insecure))
    }

    /// The entry with the longest prefix of a name, and what of the name follows it.
    fn entry<'a, 'b>(
        &'a self,
        reference: &Reference,
        name: &'b str,
    ) -> Result<Option<(&'a Registry, &'b str)>, RegistryError> {
        let matching = self.registries.iter().filter_map(|registry| {
            let rest = registry.prefix.rest_of(&reference.registry, name)?;
            Some((registry, rest))
        });
        let longest = matching.max_by_key(|(registry, _)| registry.prefix.weight());
        match longest {
            Some((registry, _)) if registry.blocked => Err(RegistryError::Blocked {
                registry: reference.registry.clone(),
                path: registry.file.to_path_buf(),
            }),
            other => Ok(other),
        }
    }

    fn mirror(&self, mirror: &Mirror, registry: &Registry, rest: &str) -> Result<Endpoint, RegistryError> {
        let endpoint = self.at(&mirror.location, registry, rest)?;
        let insecure = endpoint.insecure || mirror.insecure;
        Ok(Endpoint { mirror: true, insecure, pull: mirror.pull, ..endpoint })
    }

    fn moved(&self, location: &Location, registry: &Registry, rest: &str) -> Result<Endpoint, RegistryError> {
        let endpoint = self.at(location, registry, rest)?;
        Ok(Endpoint { insecure: endpoint.insecure || registry.insecure, ..endpoint })
    }

    fn at(&self, location: &Location, registry: &Registry, rest: &str) -> Result<Endpoint, RegistryError> {
        let repository = location.repository(rest);
        if repository.is_empty() {
            let place = &location.authority;
            let reason =
                format!("location {place:?} has no repository for its prefix: write {place}/REPOSITORY");
            return Err(settings_file::wrong(&registry.file, reason));
        }
        Ok(self.endpoint(&location.authority, repository))
    }

    fn hub_mirror(&self, mirror: &DaemonMirror, reference: &Reference) -> Endpoint {
        let endpoint = self.endpoint(&mirror.authority, reference.repository.clone());
        if mirror.https {
            return Endpoint { mirror: true, ..endpoint };
        }
        Endpoint { base: format!("http://{}", mirror.authority), mirror: true, ..endpoint }
    }

    fn named(&self, reference: &Reference, insecure: bool) -> Endpoint {
        let endpoint = self.endpoint(&reference.registry, reference.repository.clone());
        Endpoint { insecure: endpoint.insecure || insecure, ..endpoint }
    }

    fn endpoint(&self, registry: &str, repository: String) -> Endpoint {
        let hub = matches!(registry, DEFAULT_REGISTRY | DOCKER_HUB | "index.docker.io");
        let (registry, host) = if hub { (DEFAULT_REGISTRY, DOCKER_HUB) } else { (registry, registry) };
        Endpoint {
            base: format!("https://{host}"),
            repository,
            registry: registry.to_owned(),
            mirror: false,
            insecure: authority::is_loopback(host) || insecure::names(&self.insecure, registry),
            pull: PullBy::Any,
        }
    }
}

fn parse_insecure<'a>(
    words: impl Iterator<Item = &'a str>,
    what: &str,
) -> Result<Vec<Insecure>, RegistryError> {
    let wrong = |reason| RegistryError::Setting { what: what.to_owned(), reason };
    words.map(|word| insecure::parse(word).map_err(wrong)).collect()
}
