//! Registries that may have invalid certificates or no TLS at all.

use std::net::{IpAddr, ToSocketAddrs};

use super::{authority, cidr::Cidr};

/// The port of registries that name none.
const HTTPS_PORT: u16 = 443;

/// One registry, or all in a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Insecure {
    /// A host, with its port when it has one.
    Authority(String),
    /// Every host whose address is in the range.
    Addresses(Cidr),
}

/// Reads `host[:port]` or `address/bits`; a scheme before it is not looked at, as in docker.
pub(super) fn parse(text: &str) -> Result<Insecure, String> {
    let text = text.trim();
    let bare = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or(text);
    if let Some(range) = Cidr::parse(bare) {
        return Ok(Insecure::Addresses(range));
    }
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    if authority::is_valid(bare) {
        return Ok(Insecure::Authority(bare.to_owned()));
    }
    Err(format!("{text:?} is no registry: write host[:port], or a range of addresses as 10.0.0.0/8"))
}

/// Whether one of `entries` names `authority`. A host name is looked up only when there are ranges of addresses.
pub(super) fn names(entries: &[Insecure], authority: &str) -> bool {
    let ranges: Vec<&Cidr> = entries.iter().filter_map(range_of).collect();
    let named =
        |entry: &Insecure| matches!(entry, Insecure::Authority(name) if name.eq_ignore_ascii_case(authority));
    entries.iter().any(named)
        || (!ranges.is_empty()
            && addresses(authority).iter().any(|address| ranges.iter().any(|range| range.contains(*address))))
}

const fn range_of(entry: &Insecure) -> Option<&Cidr> {
    match entry {
        Insecure::Addresses(range) => Some(range),
        Insecure::Authority(_) => None,
    }
}

fn addresses(authority: &str) -> Vec<IpAddr> {
    let (host, _) = authority::split(authority);
    if let Ok(address) = host.parse() {
        return vec![address];
    }
    let found = (host, HTTPS_PORT).to_socket_addrs();
    found.map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default()
}
