//! Collecting by itself: after a command that wrote to the store and made it larger than it should be.

use std::time::Duration;

use galley_engine::{Error, ErrorKind};
use galley_store::{Keep, Policy, Store};

use crate::{args::size, context::Context, message};

/// The size that a store is kept to: a size as docker writes them, or `none`.
pub(crate) const LIMIT: &str = "GALLEY_STORE_LIMIT";

/// A collection by itself takes no longer, but for the removal of one large thing.
const TIME: Duration = Duration::from_secs(5);
/// Room is made for the next builds: a tenth of the limit.
const ROOM: u64 = 10;
/// So much of the cache stays, a tenth of the limit, however large the images are.
const RESERVED: u64 = 10;
/// How much others come before this.
const NICENESS: i32 = 10;

/// The limit that was asked for, or the usual one; none when there is none.
pub(crate) fn limit(context: &Context, store: &Store) -> Result<Option<u64>, Error> {
    let default = || store.default_limit().map(Some).map_err(crate::failure::store_error);
    let Some(text) = context.environment.text(LIMIT).filter(|text| !text.is_empty()) else {
        return default();
    };
    if text == "none" {
        return Ok(None);
    }
    let wrong = |why: String| Error::new(ErrorKind::Usage, format!("{LIMIT}: {why}, or none"));
    size::parse(&text).map(Some).map_err(wrong)
}

/// What is left to do when a command has written to the store and nobody waits for what it made any more. What goes wrong here
/// is not the command's failure, and the next one tries again.
pub(crate) fn afterwards(context: &Context, store: &Store) {
    if !store.was_written() {
        return;
    }
    let _ = store.unpack_worn();
    keep_limit(context, store);
}

/// Brings the store below its limit when it may be above.
fn keep_limit(context: &Context, store: &Store) {
    let limit = match limit(context, store) {
        Ok(Some(limit)) => limit,
        Ok(None) => return,
        Err(error) => return message::warn(&error.message, Some("nothing is collected by itself")),
    };
    if !store.may_exceed(limit).unwrap_or(false) {
        return;
    }
    let _ = rustix::process::nice(NICENESS);
    // Counted first: most of the time what grew was somebody else's.
    if store.inventory().is_ok_and(|inventory| inventory.bytes() <= limit) {
        return;
    }
    let keep = Keep::Total { limit: limit - limit / ROOM, reserved: limit / RESERVED };
    let _ = store.collect_in(&Policy { images: true, ..Policy::new(keep) }, TIME);
}
