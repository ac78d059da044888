//! Names of images, by the grammar of Docker's `distribution/reference`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::digest::{Algorithm, Digest, ParseDigestError};

/// The registry of names that name none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag of references that have neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";
/// The longest repository path.
pub const MAX_REPOSITORY_BYTES: usize = 255;
/// The longest tag.
pub const MAX_TAG_BYTES: usize = 128;
/// The longest text that is looked at.
pub const MAX_REFERENCE_BYTES: usize = 4096;

const LEGACY_REGISTRY: &str = "index.docker.io";
const OFFICIAL: &str = "library/";

/// The name of an image: where it is, and which one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Host and port, `docker.io` when none was written.
    pub registry: String,
    /// Path in the registry, `library/` included for Docker's official images.
    pub repository: String,
    /// The tag, when one was written.
    pub tag: Option<String>,
    /// The digest, when one was written; always SHA-256.
    pub digest: Option<Digest>,
}

/// Why a text names no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseReferenceError {
    /// No text.
    #[error("image name is empty")]
    Empty,
    /// Above [`MAX_REFERENCE_BYTES`].
    #[error("image name has more than {MAX_REFERENCE_BYTES} bytes")]
    TooLong,
    /// 64 hex digits: an id, not a name.
    #[error("image name {0:?} is 64 hex digits, which is an image id: a name must not look like one")]
    Identifier(String),
    /// The repository has upper-case letters.
    #[error("image name {name:?} is invalid: repository {repository:?} must be lower case")]
    UpperCase {
        /// The whole text.
        name: String,
        /// Its repository.
        repository: String,
    },
    /// Neither a host name nor an address, or a bad port.
    #[error("image name {name:?} is invalid: {registry:?} is no registry host")]
    Registry {
        /// The whole text.
        name: String,
        /// Its registry.
        registry: String,
    },
    /// A path component breaks the rules.
    #[error(
        "image name {name:?} is invalid: {component:?} is no path component \
         (lower-case letters and digits, separated by one `.`, one or two `_`, or any number of `-`)"
    )]
    Component {
        /// The whole text.
        name: String,
        /// The component.
        component: String,
    },
    /// Above [`MAX_REPOSITORY_BYTES`].
    #[error("image name {0:?} is invalid: its repository has more than {MAX_REPOSITORY_BYTES} characters")]
    RepositoryTooLong(String),
    /// The tag breaks the rules.
    #[error(
        "image name {name:?} is invalid: {tag:?} is no tag \
         (1 to {MAX_TAG_BYTES} letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`)"
    )]
    Tag {
        /// The whole text.
        name: String,
        /// Its tag.
        tag: String,
    },
    /// The digest breaks the rules.
    #[error("image name {name:?} is invalid")]
    Digest {
        /// The whole text.
        name: String,
        /// Why.
        #[source]
        source: ParseDigestError,
    },
}

impl Reference {
    /// The same reference with `latest` when it has neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// Registry and repository, without tag and digest: `docker.io/library/alpine`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The name as people write it: `alpine`, `user/app`, `localhost/app`.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        let short = match self.repository.strip_prefix(OFFICIAL) {
            Some(short) if !short.contains('/') => short,
            _ => &self.repository,
        };
        let ambiguous = is_identifier(short) || split_registry(short).1 != short;
        if ambiguous { self.name() } else { short.to_owned() }
    }

    /// As people write it, with tag and digest: `alpine:3.20`.
    #[must_use]
    pub fn familiar(&self) -> String {
        self.familiar_name() + &self.suffix()
    }

    /// In full: `docker.io/library/alpine:3.20`.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.name() + &self.suffix()
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.map(|digest| format!("@{digest}")).unwrap_or_default();
        tag + &digest
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use ParseReferenceError as E;
        let name = || text.to_owned();
        if text.len() > MAX_REFERENCE_BYTES {
            return Err(E::TooLong);
        }
        if text.is_empty() {
            return Err(E::Empty);
        }
        if is_identifier(text) {
            return Err(E::Identifier(name()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(text, digest)?)),
            None => (text, None),
        };
        let (registry, rest) = split_registry(rest);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let repository = full_repository(registry, path);
        check_registry(registry)
            .ok_or_else(|| E::Registry { name: name(), registry: registry.to_owned() })?;
        check_repository(text, path, &repository)?;
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(E::Tag { name: name(), tag: tag.to_owned() });
        }
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.map(ToOwned::to_owned), digest })
    }
}

fn parse_digest(text: &str, digest: &str) -> Result<Digest, ParseReferenceError> {
    let supported = digest.parse().and_then(|digest: Digest| match digest.algorithm() {
        Algorithm::Sha256 => Ok(digest),
        other @ Algorithm::Blake3 => Err(ParseDigestError::UnknownAlgorithm(other.name().to_owned())),
    });
    supported.map_err(|source| ParseReferenceError::Digest { name: text.to_owned(), source })
}

fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The first component is a registry when it looks like a host: `localhost`, a dot, a colon or an upper-case letter.
fn split_registry(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((LEGACY_REGISTRY, rest)) => (DEFAULT_REGISTRY, rest),
        Some((first, rest)) if is_registry(first) => (first, rest),
        _ => (DEFAULT_REGISTRY, text),
    }
}

fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.chars().any(char::is_uppercase)
}

fn full_repository(registry: &str, path: &str) -> String {
    if registry == DEFAULT_REGISTRY && !path.contains('/') {
        format!("{OFFICIAL}{path}")
    } else {
        path.to_owned()
    }
}

fn check_registry(registry: &str) -> Option<()> {
    let (host, port) = match registry.rfind(':') {
        Some(colon) if !registry.ends_with(']') => (&registry[..colon], Some(&registry[colon + 1..])),
        _ => (registry, None),
    };
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let valid = match address {
        Some(address) => {
            !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
        }
        None => host.split('.').all(is_host_label),
    };
    (valid && port.is_none_or(digits)).then_some(())
}

fn is_host_label(label: &str) -> bool {
    let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
}

fn check_repository(text: &str, path: &str, repository: &str) -> Result<(), ParseReferenceError> {
    let name = text.to_owned();
    if path.chars().any(char::is_uppercase) {
        return Err(ParseReferenceError::UpperCase { name, repository: path.to_owned() });
    }
    if let Some(component) = path.split('/').find(|component| !is_component(component)) {
        return Err(ParseReferenceError::Component { name, component: component.to_owned() });
    }
    if repository.len() > MAX_REPOSITORY_BYTES {
        return Err(ParseReferenceError::RepositoryTooLong(name));
    }
    Ok(())
}

/// Runs of letters and digits with a separator between any two: `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator = |text: &str| matches!(text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    let whole = component.starts_with(alphanumeric) && component.ends_with(alphanumeric);
    whole && component.split(alphanumeric).all(separator)
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let first = tag.bytes().next().is_some_and(word);
    first && tag.len() <= MAX_TAG_BYTES && tag.bytes().all(|byte| word(byte) || b".-".contains(&byte))
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str) -> Reference {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn familiar_and_canonical_names() {
        for (text, familiar, canonical) in [
            ("alpine", "alpine", "docker.io/library/alpine"),
            ("alpine:3.20", "alpine:3.20", "docker.io/library/alpine:3.20"),
            ("library/alpine", "alpine", "docker.io/library/alpine"),
            ("docker.io/alpine", "alpine", "docker.io/library/alpine"),
            ("index.docker.io/library/alpine", "alpine", "docker.io/library/alpine"),
            ("user/app", "user/app", "docker.io/user/app"),
            ("localhost/app", "localhost/app", "localhost/app"),
            ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"),
            ("host:5000/a/b", "host:5000/a/b", "host:5000/a/b"),
            ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
            ("Host/app", "Host/app", "Host/app"),
            ("a__b/c--d.e_f", "a__b/c--d.e_f", "docker.io/a__b/c--d.e_f"),
            ("docker.io/library/a/b", "library/a/b", "docker.io/library/a/b"),
            ("app:5000", "app:5000", "docker.io/library/app:5000"),
        ] {
            assert_eq!(parse(text).familiar(), familiar, "{text}");
            assert_eq!(parse(text).canonical(), canonical, "{text}");
        }
    }

    #[test]
    fn tag_and_digest_together() {
        let reference = parse(&format!("ghcr.io/a/b:v1@{DIGEST}"));
        assert_eq!(reference.tag.as_deref(), Some("v1"));
        assert_eq!(reference.digest, Some(DIGEST.parse().unwrap()));
        assert_eq!(reference.familiar(), format!("ghcr.io/a/b:v1@{DIGEST}"));
        assert_eq!(parse("a").with_default_tag().familiar(), "a:latest");
        assert_eq!(parse(&format!("a@{DIGEST}")).with_default_tag().tag, None);
    }

    #[test]
    fn bad_names_say_why() {
        let component = "is no path component \
            (lower-case letters and digits, separated by one `.`, one or two `_`, or any number of `-`)";
        let tag = "is no tag (1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`)";
        for (text, wanted) in [
            ("", "image name is empty".to_owned()),
            ("App", r#"image name "App" is invalid: repository "App" must be lower case"#.to_owned()),
            ("a:", format!(r#"image name "a:" is invalid: "" {tag}"#)),
            ("a:.b", format!(r#"image name "a:.b" is invalid: ".b" {tag}"#)),
            ("a//b", format!(r#"image name "a//b" is invalid: "" {component}"#)),
            ("a___b", format!(r#"image name "a___b" is invalid: "a___b" {component}"#)),
            ("-host.x/b", r#"image name "-host.x/b" is invalid: "-host.x" is no registry host"#.to_owned()),
            (
                "host:port/b",
                r#"image name "host:port/b" is invalid: "host:port" is no registry host"#.to_owned(),
            ),
            ("a@sha256:00", r#"image name "a@sha256:00" is invalid"#.to_owned()),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap_err().to_string(), wanted);
        }
        let long = "a/".repeat(130) + "a";
        assert!(matches!(long.parse::<Reference>(), Err(ParseReferenceError::RepositoryTooLong(_))));
        let id = &DIGEST[7..];
        assert!(matches!(id.parse::<Reference>(), Err(ParseReferenceError::Identifier(_))));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_names_are_stable(
            text in "\\PC{0,60}|([a-zA-Z0-9.:@/_-]|\\[|\\]){0,60}|([a-z0-9]{1,8}[.:/_-]){1,4}[a-z0-9]{1,8}",
        ) {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(parse(&reference.canonical()), reference.clone());
                prop_assert_eq!(parse(&reference.familiar()), reference);
            }
        }
    }
}
