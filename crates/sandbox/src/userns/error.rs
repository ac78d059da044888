//! What keeps an ordinary user out of a user namespace.

use std::io;
use std::path::PathBuf;

/// Failures of making and entering a user namespace.
#[derive(Debug, thiserror::Error)]
pub enum UserNsError {
    /// A table of id ranges cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    ReadRanges {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The user has no range of subordinate ids.
    #[error(
        "{} has no range for user {user} (uid {uid}); add one as root: \
         usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}",
        path.display()
    )]
    NoRange {
        /// The table.
        path: PathBuf,
        /// Name of the user.
        user: String,
        /// Number of the user.
        uid: u32,
    },
    /// newuidmap or newgidmap is not installed.
    #[error("{program} is not in PATH; install the package uidmap (Debian, Ubuntu) or shadow-utils (Fedora)")]
    NoHelper {
        /// Which.
        program: &'static str,
    },
    /// newuidmap or newgidmap refused.
    #[error("{program} failed: {message}")]
    Helper {
        /// Which.
        program: &'static str,
        /// What it wrote.
        message: String,
    },
    /// The kernel refused a new user namespace.
    #[error(
        "the kernel refuses a user namespace: {source}; `galley doctor` names the setting to change (in a chroot the \
         kernel always refuses it)"
    )]
    Refused {
        /// The kernel's answer.
        source: io::Error,
    },
    /// Something else on the way failed.
    #[error("cannot enter a user namespace: {action}: {source}")]
    Enter {
        /// What was being done.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}
