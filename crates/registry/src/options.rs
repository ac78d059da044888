//! What a client is made from.

use std::{fmt, sync::Arc, time::Duration};

use crate::{Certificates, Credentials, Hosts, Proxies};

/// Whether to stop. Asked at least once a second, also while a server is waited for.
pub type Stop = Arc<dyn Fn() -> bool + Send + Sync>;

/// What a [`crate::Client`] is made from.
#[derive(Clone)]
pub struct Options {
    /// Which servers answer for which names.
    pub hosts: Hosts,
    /// Who logs in where.
    pub credentials: Credentials,
    /// Whom to trust.
    pub certificates: Certificates,
    /// Which proxies to go through.
    pub proxies: Proxies,
    /// Whether to stop.
    pub stop: Stop,
    /// What to call ourselves: `galley/0.1.0`.
    pub user_agent: String,
    /// Bounds on patience and memory.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hosts: Hosts::default(),
            credentials: Credentials::default(),
            certificates: Certificates::default(),
            proxies: Proxies::default(),
            stop: Arc::new(|| false),
            user_agent: concat!("galley/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: Limits::default(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = f.debug_struct("Options");
        options.field("hosts", &self.hosts).field("credentials", &self.credentials);
        options.field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Bounds on patience and memory. The defaults are for the world; tests make them small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For finding a host's addresses, connecting and TLS, together.
    pub connect: Duration,
    /// For the head of a response, from the end of the request on.
    pub response: Duration,
    /// For the head of a response to a blob or manifest that was sent: registries check it first, and may move it.
    pub commit: Duration,
    /// The longest time without a byte in either direction.
    pub stall: Duration,
    /// Fewer bytes than this in a [`Self::slow_window`] are as good as none.
    pub slow_bytes: u64,
    /// The time over which [`Self::slow_bytes`] must arrive.
    pub slow_window: Duration,
    /// How often the same thing is tried in a row without a byte of progress.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles with each.
    pub backoff_first: Duration,
    /// The longest pause of our own choice.
    pub backoff_max: Duration,
    /// The longest pause that a server's `Retry-After` gets.
    pub retry_after_max: Duration,
    /// Redirects of one request.
    pub redirects: u32,
    /// The longest manifest or index; 4 MiB is what registries must accept.
    pub manifest_bytes: u64,
    /// The longest answer of a token server, list of tags or upload status.
    pub answer_bytes: u64,
    /// As much of an error's body is read.
    pub error_bytes: u64,
    /// Blobs above this size are sent in chunks of this size. `None`: whole, and in chunks only where a registry
    /// refuses that.
    pub upload_chunk_bytes: Option<u64>,
    /// The size of chunks where a registry wants chunks.
    pub fallback_chunk_bytes: u64,
    /// Pages of a referrers list.
    pub referrer_pages: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            response: Duration::from_secs(60),
            commit: Duration::from_secs(300),
            stall: Duration::from_secs(30),
            slow_bytes: 16 << 10,
            slow_window: Duration::from_secs(60),
            attempts: 6,
            backoff_first: Duration::from_millis(250),
            backoff_max: Duration::from_secs(15),
            retry_after_max: Duration::from_secs(60),
            redirects: 10,
            manifest_bytes: 4 << 20,
            answer_bytes: 1 << 20,
            error_bytes: 64 << 10,
            upload_chunk_bytes: None,
            fallback_chunk_bytes: 4 << 20,
            referrer_pages: 100,
        }
    }
}
