//! Which servers answer for a registry's name.

use galley_oci::Reference;

use crate::RegistryError;

/// What is known about registries: mirrors, insecure and blocked ones.
#[derive(Clone, Debug, Default)]
pub struct Hosts {}

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

impl Hosts {
    /// The servers to ask for `reference`, in order: mirrors first, the registry itself last.
    pub fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>, RegistryError> {
        let host = match reference.registry.as_str() {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        Ok(vec![Endpoint {
            base: format!("https://{host}"),
            repository: reference.repository.clone(),
            registry: reference.registry.clone(),
            mirror: false,
            insecure: is_loopback(host),
            pull: PullBy::Any,
        }])
    }
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.starts_with("127.") || name == "[::1]"
}
