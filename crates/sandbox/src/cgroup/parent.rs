//! Below which cgroup.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::Error;

/// A path is sent in one message.
pub(crate) const PATH_MAX: usize = 4096;

/// A cgroup by its path below the root of every hierarchy: `/x` and `x` are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CgroupParent(PathBuf);

impl CgroupParent {
    /// Refuses `..`, which could lead to anything, and what the kernel would find too long.
    pub fn new(path: &Path) -> Result<Self, Error> {
        if path.as_os_str().len() > PATH_MAX {
            return Err(Error::Spec("the path of the parent cgroup is longer than 4096 bytes"));
        }
        let mut clean = PathBuf::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => return Err(Error::Spec("the path of the parent cgroup has ..")),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Ok(Self(clean))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// As it is sent to the helper process.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_os_str().as_bytes()
    }

    /// What was sent.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::new(Path::new(OsStr::from_bytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_below_the_root() {
        for (given, expected) in
            [("/x", "x"), ("x", "x"), ("//a/./b/", "a/b"), ("/", ""), ("", ""), ("..x", "..x")]
        {
            let parent = CgroupParent::new(Path::new(given)).unwrap();
            assert_eq!(parent.path(), Path::new(expected), "{given}");
            assert_eq!(CgroupParent::from_bytes(parent.as_bytes()).unwrap(), parent);
        }
        for given in ["..", "/a/../b", "a/.."] {
            assert!(CgroupParent::new(Path::new(given)).is_err(), "{given}");
        }
        assert!(CgroupParent::new(Path::new(&"a".repeat(PATH_MAX + 1))).is_err());
    }
}
