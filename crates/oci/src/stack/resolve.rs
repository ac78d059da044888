//! Finding what a path means inside a stack: symbolic links lead around in the image, never out of it.

use super::Stack;
use crate::tree::{Kind, MAX_PATH_BYTES, join, parent};

/// How many symbolic links one path may pass.
pub const MAX_SYMLINKS: usize = 255;

/// What to do when the last component is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// Go where it points.
    Follow,
    /// Stop at the link itself.
    Keep,
}

/// Why a path leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// More than [`MAX_SYMLINKS`].
    #[error("{path:?} passes more than {MAX_SYMLINKS} symbolic links: is there a loop?")]
    TooManyLinks {
        /// The path that was to be resolved, for people.
        path: String,
    },
    /// Above [`MAX_PATH_BYTES`] after links were followed.
    #[error("{path:?} leads to a path of more than {MAX_PATH_BYTES} bytes")]
    TooLong {
        /// The path that was to be resolved, for people.
        path: String,
    },
    /// Something that is no directory is used as one.
    #[error("{path:?} cannot be reached: {file:?} is not a directory")]
    NotADirectory {
        /// The path that was to be resolved, for people.
        path: String,
        /// What is in the way, for people.
        file: String,
    },
}

impl Stack {
    /// Where `path` leads inside the root. `.` and empty components vanish, `..` stops at the root, symbolic links are
    /// followed. From the first name that does not exist on, the rest is joined as it is.
    pub fn resolve(&self, path: &[u8], last: Last) -> Result<Vec<u8>, ResolveError> {
        let mut todo: Vec<Vec<u8>> = components(path).map(<[u8]>::to_vec).rev().collect();
        let mut at = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == b".." {
                let length = parent(&at).map_or(0, <[u8]>::len);
                at.truncate(length);
                continue;
            }
            let next = join(&at, &name);
            if next.len() > MAX_PATH_BYTES {
                return Err(ResolveError::TooLong { path: lossy(path) });
            }
            let keep = todo.is_empty() && last == Last::Keep;
            match self.get(&next).map(|found| &found.entry.kind) {
                Some(Kind::Symlink { target }) if !keep => {
                    links += 1;
                    if links > MAX_SYMLINKS {
                        return Err(ResolveError::TooManyLinks { path: lossy(path) });
                    }
                    if target.starts_with(b"/") {
                        at.clear();
                    }
                    todo.extend(components(target).map(<[u8]>::to_vec).rev());
                }
                None | Some(Kind::Directory { .. }) => at = next,
                Some(_) if todo.is_empty() => at = next,
                Some(_) => return Err(ResolveError::NotADirectory { path: lossy(path), file: lossy(&next) }),
            }
        }
        Ok(at)
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b"."))
}

fn lossy(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path).trim_start_matches('/'))
}
