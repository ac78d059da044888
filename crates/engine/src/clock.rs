//! The time now, in the form that files and images carry.

use std::time::{SystemTime, UNIX_EPOCH};

use galley_oci::Time;

/// Now. A clock before 1970 counts as 1970.
#[must_use]
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanoseconds: since.subsec_nanos() }
}
