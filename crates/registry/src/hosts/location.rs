//! Places of repositories: `example.com:5000/team`, and prefixes that match them.

use super::authority;

/// A host and the beginning of repository paths there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// Host, with its port.
    pub(super) authority: String,
    /// Path below it, without slashes at the ends; may be empty.
    pub(super) path: String,
}

impl Location {
    /// Reads `host[:port][/path]`; says what is wrong with anything else.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Err(format!(
                "{text:?} has a scheme: write host[:port][/path], and insecure = true for http"
            ));
        }
        let (authority, path) = text.split_once('/').unwrap_or((text, ""));
        let location = Self { authority: authority.to_owned(), path: path.trim_end_matches('/').to_owned() };
        if !authority::is_valid(&location.authority) {
            return Err(format!("{text:?} does not begin with a host: write host[:port][/path]"));
        }
        if !location.path.is_empty() && !location.path.split('/').all(is_component) {
            return Err(format!("{text:?} has a path that no repository can have: write host[:port][/path]"));
        }
        Ok(location)
    }

    /// The repository in which something lies that has the path `rest` below this place.
    pub(super) fn repository(&self, rest: &str) -> String {
        match (self.path.as_str(), rest) {
            ("", rest) => rest.to_owned(),
            (path, "") => path.to_owned(),
            (path, rest) => format!("{path}/{rest}"),
        }
    }
}

fn is_component(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(letter)
}

/// Which names an entry is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    /// A host, or a path below it.
    Place(String),
    /// Every host below a domain; the domain begins with a dot.
    Subdomains(String),
}

impl Prefix {
    /// Reads `host[:port][/path]` or `*.domain`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix('*') {
            Some(domain)
                if !domain.starts_with('.') || !authority::is_valid(&domain[1..]) || domain.contains(':') =>
            {
                Err(format!("{text:?} is no wildcard: write *.example.com, without port and path"))
            }
            Some(domain) => Ok(Self::Subdomains(domain.to_owned())),
            None => Location::parse(text).map(|_| Self::Place(text.trim_end_matches('/').to_owned())),
        }
    }

    /// What follows the prefix in `registry/repository`, when it matches.
    pub(super) fn rest_of<'a>(&self, registry: &str, name: &'a str) -> Option<&'a str> {
        match self {
            Self::Place(place) => match name.strip_prefix(place.as_str())? {
                "" => Some(""),
                rest => rest.strip_prefix('/'),
            },
            Self::Subdomains(domain) => {
                let (host, _) = authority::split(registry);
                let repository = name.split_once('/').map_or("", |(_, repository)| repository);
                (host.len() > domain.len() && host.ends_with(domain.as_str())).then_some(repository)
            }
        }
    }

    /// The more of a name a prefix holds, the more it counts.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Place(place) => place.len(),
            Self::Subdomains(domain) => domain.len() + 1,
        }
    }
}
