//! What is had from elsewhere by its address: URLs and git repositories, for ADD and for contexts.
//!
//! ```text
//! ADD word ─▶ Address ─┬─ HttpAddress ─▶ WebSource (the port): asked with what is remembered, unchanged or a download
//!                      └─ GitAddress ─▶ the program git: a reference to a commit, a commit to files
//! ```
//!
//! What came is known by its content: a file by its SHA-256, files of git by the commit. [`step`] makes layers of them.
//! The store remembers what each address meant when it was last asked ([`galley_store::Seen`]); so a second build asks
//! whether that is still true, and one with `--offline` goes on with it.

mod address;
mod git;
mod http;
mod step;
mod url;

pub use self::{
    address::{Address, AddressError, GitAddress, HttpAddress, redacted},
    git::{Commit, GitSettings},
    http::Download,
    step::Obtained,
};

use std::fmt;

use galley_oci::Time;
use galley_store::{Seen, Store};

use crate::{
    Cancel, Error, ErrorKind,
    clock::now,
    ports::{Remotes, Secrets},
    steps::files::store_error,
};

/// Gets what addresses mean.
#[derive(Clone, Copy)]
pub struct Remote<'a> {
    /// Where is remembered what addresses meant.
    pub store: &'a Store,
    /// The ways to other machines.
    pub remotes: Remotes<'a>,
    /// Tokens are among them: `HTTP_AUTH_TOKEN_<host>`, `GIT_AUTH_TOKEN`, …
    pub secrets: &'a Secrets,
    /// Ctrl-C.
    pub stop: &'a Cancel,
    /// Called when something has to be fetched.
    pub began: &'a (dyn Fn() + Sync),
}

impl fmt::Debug for Remote<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("remotes", &self.remotes).finish_non_exhaustive()
    }
}

impl Remote<'_> {
    /// What the store remembers of `name`, and whether that need not be asked again in this build.
    fn remembered(&self, name: &str) -> Result<Option<(Seen, bool)>, Error> {
        let seen = self.store.seen(name).map_err(store_error)?;
        Ok(seen.map(|seen| {
            let holds = self.remotes.offline || seen.asked >= self.remotes.since;
            (seen, holds)
        }))
    }

    fn remember(&self, name: &str, seen: Seen) -> Result<(), Error> {
        self.store.put_seen(name, &Seen { asked: now(), ..seen }).map_err(store_error)
    }

    /// `--offline` where the store does not know enough.
    fn forbidden(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!("{what} is not in the store, and --offline forbids to fetch it"),
        )
        .help("a build without --offline fetches it, and the next one can go without")
    }

    /// What `id` was given on the command line.
    fn secret(&self, id: &str) -> Option<Vec<u8>> {
        self.secrets.get(id).map(|secret| secret.expose().to_vec())
    }
}

/// Nothing yet.
fn unseen(content: String) -> Seen {
    Seen { content, etag: None, modified: None, reference: None, asked: Time::default() }
}
