//! Which proxy to go through: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, in capitals or not, as Go's programs (docker,
//! podman) understand them.

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    Environment, RegistryError, Secret,
    hosts::{authority, cidr::Cidr},
    url::unescape,
};

/// The port of a proxy that names none.
const PROXY_PORT: u16 = 80;

/// The proxies that settings name.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    https: Option<Proxy>,
    http: Option<Proxy>,
    direct: Vec<Direct>,
}

/// An HTTP proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The value of `Proxy-Authorization`, when its address has a name and password.
    pub authorization: Option<Secret>,
}

/// What is reached without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Direct {
    All,
    Addresses(Cidr),
    Address(IpAddr, Option<u16>),
    /// A host and all below it; with a leading dot only those below it.
    Domain(String, Option<u16>),
}

impl Proxies {
    /// Reads the variables.
    pub fn load(environment: &Environment) -> Result<Self, RegistryError> {
        let direct = first_of(environment, ["NO_PROXY", "no_proxy"])?;
        let direct = direct.map(|(_, list)| list.split(',').filter_map(Direct::parse).collect());
        Ok(Self {
            https: proxy(environment, ["HTTPS_PROXY", "https_proxy"])?,
            http: proxy(environment, ["HTTP_PROXY", "http_proxy"])?,
            direct: direct.unwrap_or_default(),
        })
    }

    /// The proxy for a connection to `host` and `port`; none when it is to be direct. This machine always is.
    #[must_use]
    pub fn get(&self, https: bool, host: &str, port: u16) -> Option<Proxy> {
        let proxy = if https { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
        let is_direct = self.direct.iter().any(|direct| direct.holds(&host, port));
        (!authority::is_loopback(&host) && !is_direct).then(|| proxy.clone())
    }
}

impl Direct {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text == "*" {
            return Some(Self::All);
        }
        if let Some(range) = Cidr::parse(&text) {
            return Some(Self::Addresses(range));
        }
        let (host, port) = authority::split(&text);
        if let Ok(address) = host.parse() {
            return Some(Self::Address(address, port));
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        (!host.is_empty()).then(|| Self::Domain(host.to_owned(), port))
    }

    fn holds(&self, host: &str, port: u16) -> bool {
        let port_fits = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        match self {
            Self::All => true,
            Self::Addresses(range) => host.parse().is_ok_and(|address| range.contains(address)),
            Self::Address(address, wanted) => {
                port_fits(wanted) && host.parse::<IpAddr>().is_ok_and(|host| host.to_canonical() == *address)
            }
            Self::Domain(domain, wanted) => port_fits(wanted) && is_in(host, domain),
        }
    }
}

fn is_in(host: &str, domain: &str) -> bool {
    match host.strip_suffix(domain) {
        Some("") => !domain.starts_with('.'),
        Some(rest) => domain.starts_with('.') || rest.ends_with('.'),
        None => false,
    }
}

fn first_of(
    environment: &Environment,
    names: [&'static str; 2],
) -> Result<Option<(&'static str, String)>, RegistryError> {
    for name in names {
        if let Some(text) = environment.text(name)? {
            return Ok(Some((name, text)));
        }
    }
    Ok(None)
}

fn proxy(environment: &Environment, names: [&'static str; 2]) -> Result<Option<Proxy>, RegistryError> {
    let Some((name, text)) = first_of(environment, names)? else { return Ok(None) };
    // The value may hold a password, so it is never quoted.
    let wrong = |reason: &str| RegistryError::Setting { what: format!("${name}"), reason: reason.to_owned() };
    parse(text.trim()).map(Some).map_err(wrong)
}

/// Reads `[http://][user:password@]host[:port][/]`.
fn parse(text: &str) -> Result<Proxy, &'static str> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(
            "only http proxies are spoken to: write http://host:port (https and socks5 proxies are not supported)",
        );
    }
    let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    if !authority::is_valid(place) {
        return Err("it is no address of a proxy: write http://[user:password@]host:port");
    }
    let (host, port) = authority::split(place);
    let authorization = login.map(|login| {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let plain = [unescape(user), b":".to_vec(), unescape(password)].concat();
        Secret::new(format!("Basic {}", STANDARD.encode(plain)))
    });
    Ok(Proxy { host: host.to_owned(), port: port.unwrap_or(PROXY_PORT), authorization })
}

#[cfg(test)]
mod tests;
