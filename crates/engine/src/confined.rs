//! Files below a directory that others write to: no link on the way leads out of it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat2},
    io::{Errno, Result},
    path::Arg,
};

/// How often it is asked again: that often in a row nobody meets a rename.
const RACES_MAX: usize = 1000;

/// Opens `path` below `root`. The kernel cannot tell whether `..` leads out while anything on the machine is renamed or mounted,
/// and wants to be asked again.
pub(crate) fn open(
    root: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd> {
    for _ in 0..RACES_MAX {
        match openat2(&root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::symlink,
        path::Path,
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use fs_err as fs;

    use super::*;

    #[test]
    fn renames_elsewhere_are_in_nobodys_way() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        symlink("/../../a/b/../b", folder.path().join("way")).unwrap();
        let root = fs::File::open(folder.path()).unwrap();
        let (one, two) = (elsewhere.path().join("1"), elsewhere.path().join("2"));
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                fs::write(&one, "").unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    fs::rename(&one, &two).unwrap();
                    fs::rename(&two, &one).unwrap();
                }
            });
            let open = |_| {
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                open(&root, Path::new("way"), flags, ResolveFlags::IN_ROOT).err()
            };
            let failed = (0..5000).find_map(open);
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(failed, None);
        });
    }
}
