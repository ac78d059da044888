//! User namespaces: an ordinary user as root over its own ranges of ids.
//!
//! galley enters one by running itself again inside ([`enter_and_reexec`]); from then on the same code runs as for
//! root. The child waits until `newuidmap` and `newgidmap`, which are setuid, have written its maps. It keeps the
//! user's supplementary groups, which may be what lets it read the context; every sandbox replaces them.

use std::sync::OnceLock;

mod enter;
mod error;
mod maps;

pub use enter::{MARKER, enter_and_reexec, entered, try_maps};
pub use error::UserNsError;
pub use maps::{IdMaps, IdRange};

/// Whether the process is in a user namespace other than the machine's first one.
///
/// The first one maps every id to itself.
pub fn in_user_namespace() -> bool {
    let Ok(map) = fs_err::read_to_string("/proc/self/uid_map") else { return false };
    let numbers: Vec<&str> = map.split_whitespace().collect();
    numbers != ["0", "0", "4294967295"]
}

/// Whether the process is in a user namespace in which one user is mapped: then no file can have another owner.
pub fn has_one_id() -> bool {
    static ONE: OnceLock<bool> = OnceLock::new();
    *ONE.get_or_init(|| {
        let map = fs_err::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let numbers: Vec<&str> = map.split_whitespace().collect();
        matches!(numbers.as_slice(), [_, _, "1"])
    })
}
