//! What the name of an image tells about it. Only names that are well known say anything.

/// A reference as it is written, cut into its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// All of it.
    pub(super) name: String,
    /// Without registry defaults: `golang`, `gcr.io/distroless/static`.
    repository: String,
    /// Behind `:`, if one is written.
    pub(super) tag: Option<String>,
    /// Whether a digest is written.
    pub(super) pinned: bool,
}

/// The C library of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Libc {
    /// None at all.
    None,
    /// GNU.
    Glibc,
    /// Alpine's.
    Musl,
}

/// Images of the Docker library whose default user is root.
const ROOT: [&str; 31] = [
    "almalinux",
    "alpine",
    "amazoncorretto",
    "amazonlinux",
    "buildpack-deps",
    "busybox",
    "centos",
    "composer",
    "debian",
    "eclipse-temurin",
    "elixir",
    "erlang",
    "fedora",
    "gcc",
    "golang",
    "haskell",
    "httpd",
    "maven",
    "nginx",
    "node",
    "openjdk",
    "oraclelinux",
    "perl",
    "php",
    "pypy",
    "python",
    "rockylinux",
    "ruby",
    "rust",
    "swift",
    "ubuntu",
];

/// Further images of the Docker library.
const LIBRARY: [&str; 34] = [
    "archlinux",
    "caddy",
    "cassandra",
    "clojure",
    "consul",
    "docker",
    "drupal",
    "ghost",
    "gradle",
    "groovy",
    "haproxy",
    "hello-world",
    "influxdb",
    "joomla",
    "julia",
    "mariadb",
    "memcached",
    "mongo",
    "mysql",
    "nextcloud",
    "opensuse",
    "photon",
    "postgres",
    "r-base",
    "rabbitmq",
    "redis",
    "registry",
    "sonarqube",
    "tomcat",
    "traefik",
    "wordpress",
    "ibmjava",
    "jetty",
    "vault",
];

/// Images of the Docker library that are built on Debian or Ubuntu unless the tag says something else.
const DEBIAN: [&str; 14] = [
    "buildpack-deps",
    "debian",
    "eclipse-temurin",
    "elixir",
    "erlang",
    "gcc",
    "golang",
    "node",
    "openjdk",
    "perl",
    "python",
    "ruby",
    "rust",
    "ubuntu",
];

/// Distributions with the GNU C library.
const GLIBC: [&str; 6] = ["almalinux", "amazonlinux", "centos", "fedora", "oraclelinux", "rockylinux"];

impl Image {
    pub(super) fn new(name: &str) -> Self {
        let (plain, pinned) = name.split_once('@').map_or((name, false), |(plain, _)| (plain, true));
        let last = plain.rfind('/').map_or(0, |slash| slash + 1);
        let colon = plain.get(last..).and_then(|last| last.find(':')).map(|colon| last + colon);
        let repository = plain.get(..colon.unwrap_or(plain.len())).unwrap_or_default();
        let repository = ["docker.io/library/", "index.docker.io/library/", "docker.io/", "library/"]
            .into_iter()
            .find_map(|prefix| repository.strip_prefix(prefix))
            .unwrap_or(repository);
        let tag = colon.and_then(|colon| plain.get(colon + 1..)).map(str::to_owned);
        Self { name: name.to_owned(), repository: repository.to_owned(), tag, pinned }
    }

    /// The name with registry and tag.
    pub(super) fn canonical(&self) -> String {
        let first = self.repository.split_once('/').map(|(first, _)| first);
        let registry = match first {
            Some(first) if first.contains(['.', ':']) || first == "localhost" => "",
            Some(_) => "docker.io/",
            None => "docker.io/library/",
        };
        format!("{registry}{}:{}", self.repository, self.tag.as_deref().unwrap_or("latest"))
    }

    /// Whether it is this image of the Docker library.
    pub(super) fn is(&self, repository: &str) -> bool {
        self.repository == repository
    }

    /// Whether the name can only be that of an image: it has a slash, or is one of the Docker library.
    pub(super) fn is_well_known(&self) -> bool {
        let name = self.repository.as_str();
        name.contains('/') || ROOT.contains(&name) || LIBRARY.contains(&name)
    }

    /// Whether its default user is known to be root.
    pub(super) fn is_root(&self) -> bool {
        ROOT.contains(&self.repository.as_str())
            && !self.tag.as_deref().is_some_and(|tag| tag.contains("nonroot") || tag.contains("rootless"))
    }

    /// Whether the tag names a variant: `alpine` in `1.22-alpine3.20`.
    fn has_variant(&self, variant: &str) -> bool {
        let tag = self.tag.as_deref().unwrap_or_default();
        tag.split('-').any(|part| part.starts_with(variant))
    }

    pub(super) fn is_alpine(&self) -> bool {
        self.is("alpine") || (self.has_variant("alpine") && DEBIAN.contains(&self.repository.as_str()))
    }

    /// Images that hold one static program and neither a shell nor a C library.
    pub(super) fn is_static(&self) -> bool {
        self.distroless().is_some_and(|kind| kind.starts_with("static"))
            || matches!(&*self.repository, "cgr.dev/chainguard/static" | "chainguard/static")
    }

    /// Images of Google's distroless project, by the name behind the last slash.
    fn distroless(&self) -> Option<&str> {
        self.repository.strip_prefix("gcr.io/distroless/")
    }

    /// Whether there is certainly no shell in it.
    pub(super) fn has_no_shell(&self) -> bool {
        let debug = self.tag.as_deref().is_some_and(|tag| tag.contains("debug") || tag.contains("dev"));
        !debug && (self.is_static() || self.distroless().is_some())
    }

    /// The C library, when the name tells it.
    pub(super) fn libc(&self) -> Option<Libc> {
        let repository = self.repository.as_str();
        if self.is_static() {
            return Some(Libc::None);
        }
        if self.is_alpine() {
            return Some(Libc::Musl);
        }
        let windows = self.has_variant("windowsservercore") || self.has_variant("nanoserver");
        let glibc =
            DEBIAN.contains(&repository) || GLIBC.contains(&repository) || self.distroless().is_some();
        (glibc && !windows).then_some(Libc::Glibc)
    }

    /// The version that the tag begins with: `(1, 22)` of `1.22.3-alpine`.
    pub(super) fn version(&self) -> Option<(u32, u32)> {
        let tag = self.tag.as_deref()?;
        let mut numbers = tag.split(|character: char| !character.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::{Image, Libc};

    #[test]
    fn names_are_cut() {
        let image = Image::new("localhost:5000/a/golang:1.22-alpine@sha256:00");
        assert_eq!(
            (image.repository.as_str(), image.tag.as_deref(), image.pinned),
            ("localhost:5000/a/golang", Some("1.22-alpine"), true)
        );
        assert!(Image::new("docker.io/library/golang").is("golang"));
        assert!(!Image::new("me/golang").is("golang"));
        let canonical = |name| Image::new(name).canonical();
        assert_eq!(canonical("alpine"), "docker.io/library/alpine:latest");
        assert_eq!(canonical("docker.io/me/app:1"), "docker.io/me/app:1");
        assert_eq!(canonical("localhost:5000/app:1"), "localhost:5000/app:1");
        assert_eq!(Image::new("golang:1.19.3-alpine").version(), Some((1, 19)));
        assert_eq!(Image::new("golang:alpine").version(), None);
    }

    #[test]
    fn names_tell_the_library() {
        let libc = |name| Image::new(name).libc();
        assert_eq!(libc("golang:1.22"), Some(Libc::Glibc));
        assert_eq!(libc("golang:alpine"), Some(Libc::Musl));
        assert_eq!(libc("alpine"), Some(Libc::Musl));
        assert_eq!(libc("gcr.io/distroless/static-debian12:nonroot"), Some(Libc::None));
        assert_eq!(libc("gcr.io/distroless/base-debian12"), Some(Libc::Glibc));
        assert_eq!(libc("me/alpine-things:alpine"), None);
        assert_eq!(libc("busybox"), None);
    }

    #[test]
    fn names_tell_root_and_shells() {
        assert!(Image::new("nginx").is_root() && !Image::new("nginxinc/nginx-unprivileged").is_root());
        assert!(Image::new("gcr.io/distroless/cc").has_no_shell());
        assert!(!Image::new("gcr.io/distroless/base:debug").has_no_shell());
    }
}
