//! What was asked, for tests that count.

use std::time::Instant;

use super::http::find;

/// One request, as the registry saw it.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `PUT`, …
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// All headers, in order.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body that came in.
    pub received: u64,
    /// The status that was answered; 0 when none was, or not yet.
    pub status: u16,
    /// Bytes of the body that went out, at least up to the socket.
    pub sent: u64,
    /// When its head was complete.
    pub at: Instant,
}

impl Request {
    /// A header's value, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Path without query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Whether method and path match; `*` stands for any method, and within the path for any text.
    #[must_use]
    pub fn matches(&self, method: &str, path: &str) -> bool {
        (method == "*" || method == self.method) && glob(path, self.path())
    }
}

/// `*` stands for any text, slashes too.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let tails = (0..=rest.len()).filter(|at| rest.is_char_boundary(*at));
            tails.into_iter().any(|at| glob(after, &rest[at..]))
        }),
    }
}
