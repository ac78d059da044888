//! User namespaces: an ordinary user as root over its own ranges of ids.

mod error;

pub use error::UserNsError;

/// Whether the process is in a user namespace other than the machine's first one.
///
/// The first one maps every id to itself.
pub fn in_user_namespace() -> bool {
    let Ok(map) = fs_err::read_to_string("/proc/self/uid_map") else { return false };
    let numbers: Vec<&str> = map.split_whitespace().collect();
    numbers != ["0", "0", "4294967295"]
}
