//! The two ways in which the helper process makes sandboxes.

use std::ffi::{CStr, OsStr};

/// How sandboxes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// With namespaces and mounts.
    Namespaces,
    /// By chroot alone, where neither is allowed: see [`crate::guard`].
    Chroot,
}

const CHROOT: &CStr = c"chroot";
const NAMESPACES: &CStr = c"namespaces";

impl Manner {
    /// How the helper process is told.
    pub(crate) const fn argument(self) -> &'static CStr {
        match self {
            Self::Namespaces => NAMESPACES,
            Self::Chroot => CHROOT,
        }
    }

    /// What it was told.
    pub(crate) fn of_argument(argument: Option<&OsStr>) -> Self {
        let chroot = argument.is_some_and(|word| word.as_encoded_bytes() == CHROOT.to_bytes());
        if chroot { Self::Chroot } else { Self::Namespaces }
    }
}
