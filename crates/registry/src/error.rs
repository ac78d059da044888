//! Why something failed. No text here holds a secret.

use std::{error::Error, io, path::PathBuf, time::Duration};

use galley_oci::Digest;

/// What sort of failure it is: what a caller decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The registry has no such thing.
    NotFound,
    /// The registry does not let us.
    Denied,
    /// No answer, or only failures.
    Unreachable,
    /// The answer is not what it says it is.
    Lied,
    /// A limit was passed.
    TooLarge,
    /// The caller wanted to stop.
    Stopped,
    /// A settings file is wrong, or forbids it.
    Config,
    /// Something failed on this machine.
    Io,
    /// The registry cannot do that.
    Unsupported,
}

/// Why something failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The caller wanted to stop.
    #[error("stopped")]
    Stopped,
    /// 404 and its relatives.
    #[error("{what} is not in {place}{}", said(.answer))]
    NotFound {
        /// What was asked for.
        what: String,
        /// The registry.
        place: String,
        /// The registry's words.
        answer: Option<String>,
    },
    /// 401 or 403.
    #[error("{place} denied access to {what}{}: {advice}", said(.answer))]
    Denied {
        /// What was asked for.
        what: String,
        /// The registry.
        place: String,
        /// The registry's words.
        answer: Option<String>,
        /// What to do.
        advice: String,
    },
    /// 429 until patience ended.
    #[error("{place} limits how often it is asked{}: {advice}", said(.answer))]
    RateLimited {
        /// The registry.
        place: String,
        /// The registry's words.
        answer: Option<String>,
        /// What to do.
        advice: String,
    },
    /// Any other status.
    #[error("{place} answered {doing} with status {status}{}", said(.answer))]
    Status {
        /// The registry.
        place: String,
        /// What was asked: `GET https://…`.
        doing: String,
        /// The number.
        status: u16,
        /// The registry's words.
        answer: Option<String>,
    },
    /// No answer.
    #[error("cannot reach {place}: {reason}")]
    Unreachable {
        /// The host and port.
        place: String,
        /// What happened.
        reason: String,
        /// The failure below.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The certificate is not trusted, or is for another name.
    #[error(
        "cannot trust {place}: {reason}; put its authority's certificate into /etc/docker/certs.d/{place}/ca.crt, or name the registry insecure"
    )]
    Untrusted {
        /// The host and port.
        place: String,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// The server answers in plain HTTP.
    #[error("{place} does not speak TLS: name the registry insecure if that is meant to be so")]
    NoTls {
        /// The host and port.
        place: String,
    },
    /// Nothing, or next to nothing, arrived for a long time.
    #[error("{place} is too slow: {bytes} bytes in {seconds} seconds", seconds = .time.as_secs())]
    TooSlow {
        /// The host and port.
        place: String,
        /// What arrived.
        bytes: u64,
        /// In which time.
        time: Duration,
    },
    /// The bytes have another digest.
    #[error("{place} sent {what} with digest {found}: it is damaged, or the registry lies")]
    WrongDigest {
        /// The host and port.
        place: String,
        /// What was asked for: a digest.
        what: Digest,
        /// What came.
        found: Digest,
    },
    /// The bytes are fewer or more than were announced.
    #[error("{place} sent {found} bytes of {what}, which has {wanted}: it is damaged, or the registry lies")]
    WrongLength {
        /// The host and port.
        place: String,
        /// What was asked for.
        what: String,
        /// The bytes that were to come.
        wanted: u64,
        /// The bytes that came; for answers without end those after which we stopped.
        found: String,
    },
    /// An answer that cannot be understood.
    #[error("{place} gave an answer to {doing} that makes no sense: {reason}")]
    Nonsense {
        /// The host and port.
        place: String,
        /// What was asked: `GET https://…`.
        doing: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Above a limit.
    #[error("{what} of {place} has more than {limit} bytes, which is the most that is accepted")]
    TooLarge {
        /// The host and port.
        place: String,
        /// What was asked for.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// A redirect that must not be followed.
    #[error("{place} redirects {doing} to {target}: {reason}")]
    Redirect {
        /// The host and port.
        place: String,
        /// What was asked: `GET https://…`.
        doing: String,
        /// Where to; without its query, which may hold a signature.
        target: String,
        /// Why not.
        reason: &'static str,
    },
    /// The registry has no such function.
    #[error("{place} cannot {what}{}", said(.answer))]
    Unsupported {
        /// The host and port.
        place: String,
        /// What it cannot do.
        what: String,
        /// The registry's words.
        answer: Option<String>,
    },
    /// Settings forbid this registry.
    #[error("registry {registry} is blocked by {path}", path = .path.display())]
    Blocked {
        /// The registry.
        registry: String,
        /// The file that says so.
        path: PathBuf,
    },
    /// A settings file is wrong. The reason never quotes the file, which may hold secrets.
    #[error("{path} is wrong: {reason}", path = .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A settings file cannot be read.
    #[error("cannot read settings")]
    Settings {
        /// Why, with the path.
        #[source]
        source: io::Error,
    },
    /// A setting that is not in a file is wrong.
    #[error("{what} is wrong: {reason}")]
    Setting {
        /// The flag, variable or value.
        what: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A credential helper failed.
    #[error("credential helper {program} failed: {reason}")]
    Helper {
        /// The program.
        program: String,
        /// What happened.
        reason: String,
    },
    /// A Docker engine failed, or refused what it was given.
    #[error("the Docker engine at {socket} did not take the image: {reason}", socket = .socket.display())]
    DockerEngine {
        /// Its socket.
        socket: PathBuf,
        /// What happened, or its words.
        reason: String,
    },
    /// Something failed on this machine.
    #[error("cannot {doing}")]
    Io {
        /// What was done.
        doing: String,
        /// The failure; it names the path.
        #[source]
        source: io::Error,
    },
}

fn said(answer: &Option<String>) -> String {
    answer.as_ref().map(|answer| format!(" ({answer})")).unwrap_or_default()
}

/// Readers of blobs fail with `io::Error`; `io::Error::downcast` gives this error back.
impl From<RegistryError> for io::Error {
    fn from(error: RegistryError) -> Self {
        Self::other(error)
    }
}

impl RegistryError {
    /// What sort of failure it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Stopped => Kind::Stopped,
            Self::NotFound { .. } => Kind::NotFound,
            Self::Denied { .. } => Kind::Denied,
            Self::RateLimited { .. }
            | Self::Status { .. }
            | Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::NoTls { .. }
            | Self::TooSlow { .. } => Kind::Unreachable,
            Self::WrongDigest { .. }
            | Self::WrongLength { .. }
            | Self::Nonsense { .. }
            | Self::Redirect { .. } => Kind::Lied,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::Blocked { .. }
            | Self::Config { .. }
            | Self::Settings { .. }
            | Self::Setting { .. }
            | Self::Helper { .. } => Kind::Config,
            Self::DockerEngine { .. } | Self::Io { .. } => Kind::Io,
        }
    }
}
