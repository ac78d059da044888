//! What a sandbox leaves behind when it ends.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::raw;

/// How a sandbox ended and what it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How its first process ended; the others were killed then.
    pub exit: Exit,
    /// What its first process and the children it waited for used.
    pub usage: Usage,
    /// Whether the kernel ended one of its processes because the memory of its cgroup was used up.
    #[serde(default)]
    pub oom_killed: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// The code of a shell and of docker: 128 + n for signal n.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }

    /// Whether it ended by itself with code 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }

    /// From the number that wait(2) gives.
    pub(crate) fn from_wait_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Signal(libc::WTERMSIG(status))
        } else {
            Self::Code(libc::WEXITSTATUS(status))
        }
    }
}

/// Memory and time of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The largest resident memory of any one process, in bytes.
    pub max_rss_bytes: u64,
    /// Processor time in user mode.
    pub user_time: Duration,
    /// Processor time in the kernel.
    pub system_time: Duration,
}

/// A mount point that did not exist and was made in the root (or in a mount below).
///
/// Who keeps the root may remove it again when it is still an empty directory or an empty file, as Docker does after
/// a build step; the last one made goes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeMountPoint {
    /// Its path inside the root, free of symbolic links.
    #[serde(with = "raw")]
    pub path: PathBuf,
    /// What was made.
    pub kind: MountPointKind,
    /// The time of change that its parent directory had before, as seconds and nanoseconds.
    ///
    /// It was set back to this after the mount point was made.
    pub parent_mtime: (i64, u32),
}

/// What a [`MadeMountPoint`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountPointKind {
    /// An empty file.
    File,
    /// An empty directory.
    Directory,
}
