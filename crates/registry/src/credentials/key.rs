//! The keys under which credentials are kept.
//!
//! docker writes hosts, and `https://index.docker.io/v1/` for Docker Hub; old files have URLs; podman writes hosts and
//! paths below them.

use crate::hosts::DEFAULT_REGISTRY;

/// docker's key for Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// `host[:port][/path]` of a key of whatever form. A name or password in a URL is left out.
pub(super) fn normalize(key: &str) -> String {
    let (key, is_url) = match key.split_once("://") {
        Some((_, rest)) => (rest, true),
        None => (key, false),
    };
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host).to_ascii_lowercase();
    let path = path.trim_matches('/');
    let host = match host.as_str() {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => {
            DEFAULT_REGISTRY.to_owned()
        }
        _ => host,
    };
    if is_url || path.is_empty() || path == "v1" || path == "v2" { host } else { format!("{host}/{path}") }
}

/// The key under which docker's file and credential helpers know a registry.
pub(super) fn for_docker(registry: &str) -> &str {
    if registry == DEFAULT_REGISTRY { HUB_KEY } else { registry }
}

/// How well a normalized key fits a repository: the longer the better; not at all is none.
pub(super) fn fit(key: &str, registry: &str, repository: &str) -> Option<usize> {
    let registry = registry.to_ascii_lowercase();
    let fits = match key.strip_prefix(registry.as_str()).map(|path| path.strip_prefix('/').ok_or(path)) {
        Some(Err(path)) => path.is_empty(),
        Some(Ok(path)) => {
            repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        None => false,
    };
    fits.then_some(key.len())
}
