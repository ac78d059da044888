//! How many bytes the files of a directory have, which may change meanwhile.

use std::{collections::HashSet, ffi::CStr, os::fd::OwnedFd, path::Path, sync::Arc};

use rustix::fs::FileType;

use super::walk::{self, Found, Visit, Visitor};
use crate::{Store, StoreError};

#[derive(Default)]
struct Count {
    bytes: u64,
    /// Files with several names, each of which counts once.
    linked: HashSet<(u64, u64)>,
}

impl Store {
    /// The bytes of all files below `root`, as they are called and not as they lie on the disk; nothing is read.
    pub fn bytes_of_files(&self, root: &Path) -> Result<u64, StoreError> {
        let mut count = Count::default();
        walk::walk(root, &mut count)?;
        Ok(count.bytes)
    }
}

impl Visitor for Count {
    fn consider(&mut self, _: &[u8], _: bool) -> Visit {
        Visit::Report
    }

    fn directory(&mut self, _: &Found<'_>, _: &OwnedFd, _: Visit) -> Result<(), StoreError> {
        Ok(())
    }

    fn leave(&mut self) {}

    fn file(&mut self, found: &Found<'_>, _: &Arc<OwnedFd>, _: &CStr) -> Result<(), StoreError> {
        let again = found.stat.stx_nlink > 1 && !self.linked.insert((found.device(), found.stat.stx_ino));
        if found.file_type() == FileType::RegularFile && !again {
            self.bytes = self.bytes.saturating_add(found.stat.stx_size);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use crate::{OpenOptions, Store};

    #[test]
    fn each_file_counts_once_and_links_and_directories_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), OpenOptions::default()).unwrap();
        let files = folder.path().join("files");
        fs::create_dir_all(files.join("below")).unwrap();
        fs::write(files.join("one"), [0; 1000]).unwrap();
        fs::hard_link(files.join("one"), files.join("below/again")).unwrap();
        fs::write(files.join("below/two"), [0; 20]).unwrap();
        std::os::unix::fs::symlink("one", files.join("link")).unwrap();
        assert_eq!(store.bytes_of_files(&files).unwrap(), 1020);
    }
}
