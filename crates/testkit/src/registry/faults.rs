//! What goes wrong, when it is told to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{http::Answer, record::glob};

/// What happens to a request instead of, or on top of, the right thing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing: lets a request through, so that a script can say "the second".
    None,
    /// This answer, and nothing is done.
    Answer {
        /// The status.
        status: u16,
        /// Headers besides `Content-Length`.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// This status before the body of the request is read, and nothing is done; then a close.
    Early(u16),
    /// The right answer with this body, and its length.
    Body(Vec<u8>),
    /// The right answer with one bit of the body's last byte turned.
    Corrupt,
    /// The right answer with a header replaced or, with `None`, missing.
    Header(&'static str, Option<String>),
    /// The right body under a `Content-Length` that is off by this.
    LengthOff(i64),
    /// The right body without `Content-Length`: the end of the connection is its end.
    NoLength,
    /// The right answer in chunks, of which so many bytes come, all when there are fewer; then the end without its mark
    /// when some are missing.
    Chunked {
        /// Bytes of the body that come.
        after: u64,
    },
    /// Status 200 and zeros for ever, without `Content-Length`.
    Endless,
    /// Status 200 and this many bytes of white space, with the right `Content-Length`.
    Huge(u64),
    /// The right answer, cut after this many bytes of its body.
    Cut {
        /// Bytes of the body that still come.
        after: u64,
        /// By a reset; else by an ordinary close.
        reset: bool,
    },
    /// The right answer up to this many bytes of its body, then nothing; the connection stays open.
    Stall {
        /// Bytes of the body that come.
        after: u64,
    },
    /// The request is carried out, and the connection closed before an answer.
    NoAnswer,
    /// The connection is reset before anything is done.
    Reset,
    /// Of the request's body this many bytes are read; then a reset. An upload keeps them when told so.
    CutUpload {
        /// Bytes that are read.
        after: u64,
        /// Whether the session holds them afterwards.
        keep: bool,
    },
    /// Of a PATCH only this many bytes are stored, and the answer is 416 with the `Range` that is there.
    PartialPatch(u64),
    /// The upload session is gone: 404.
    LoseUpload,
    /// The right answer, so many bytes at a time with a pause before each.
    Drip {
        /// Bytes at a time.
        bytes: usize,
        /// The pause.
        pause: Duration,
    },
    /// The right answer, later.
    Delay(Duration),
    /// The right answer, once several requests wait for theirs; see [`Fault::together`].
    Together(Meeting),
    /// No answer, ever; the connection stays open.
    Hang,
    /// 307 to this address; `{path}` and `{query}` in it are replaced by those of the request.
    Redirect(String),
    /// The range of the request is not looked at: 200 with everything.
    IgnoreRange,
    /// The right answer; then the tag means another manifest of the repository.
    MoveTag {
        /// The repository.
        repository: String,
        /// The tag.
        tag: String,
        /// What it means from now on.
        digest: String,
    },
}

impl Fault {
    /// This status with an error in the specification's shape.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let answer = Answer::error(status, "SCRIPTED", "the test wants it so");
        Self::Answer { status, headers: answer.headers, body: answer.body.to_vec() }
    }

    /// 429 with `Retry-After` in this spelling.
    #[must_use]
    pub fn too_many(retry_after: &str) -> Self {
        let headers = vec![("Retry-After".to_owned(), retry_after.to_owned())];
        Self::Answer { status: 429, headers, body: Vec::new() }
    }

    /// Status 200 and a page as captive portals serve it.
    #[must_use]
    pub fn html() -> Self {
        let headers = vec![("Content-Type".to_owned(), "text/html; charset=utf-8".to_owned())];
        Self::Answer {
            status: 200,
            headers,
            body: b"<!doctype html><html><body>Please sign in</body></html>".to_vec(),
        }
    }

    /// The right answer, held until so many requests wait for theirs at the same time. Those that come later are not held.
    #[must_use]
    pub fn together(requests: usize) -> Self {
        Self::Together(Meeting { wanted: requests, waiting: Arc::default(), complete: Arc::default() })
    }

    /// 307 to the same address, for ever.
    #[must_use]
    pub fn redirect_loop() -> Self {
        Self::Redirect("{path}{query}".to_owned())
    }
}

/// Requests that wait for each other.
#[derive(Clone, Debug)]
pub struct Meeting {
    wanted: usize,
    waiting: Arc<AtomicUsize>,
    complete: Arc<AtomicBool>,
}

impl Meeting {
    pub(super) fn enter(&self) {
        if self.waiting.fetch_add(1, Ordering::SeqCst) + 1 >= self.wanted {
            self.complete.store(true, Ordering::SeqCst);
        }
    }

    pub(super) fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::SeqCst)
    }
}

/// When a [`Fault`] strikes: at requests of a method and path, some of them.
#[derive(Clone, Debug)]
pub struct Rule {
    method: String,
    path: String,
    skip: usize,
    times: usize,
    fault: Fault,
}

impl Rule {
    /// At the next request that matches; `*` stands for any method, and within the path for any text.
    #[must_use]
    pub fn on(method: &str, path: &str, fault: Fault) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), skip: 0, times: 1, fault }
    }

    /// Not at the first so many.
    #[must_use]
    pub fn skip(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    /// At so many.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// At all from then on.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }

    fn strikes(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let strikes = self.times > 0;
        self.times = self.times.saturating_sub(1);
        strikes
    }
}

/// The rules in the order they were given: the first that matches and is not used up decides.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Rule>);

impl Faults {
    pub(super) fn add(&mut self, rule: Rule) {
        self.0.push(rule);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn strike(&mut self, method: &str, path: &str) -> Fault {
        let matching = self.0.iter_mut().filter(|rule| {
            (rule.method == "*" || rule.method == method) && glob(&rule.path, path) && rule.times > 0
        });
        for rule in matching {
            if rule.strikes() {
                return rule.fault.clone();
            }
        }
        Fault::None
    }
}
