//! Mount points that a sandbox had to make and that the step left empty.

use std::{
    collections::HashSet,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use galley_sandbox::{MadeMountPoint, MountPointKind};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};

/// Directories that stay although they are made for a mount: BuildKit leaves them in the layer, and so every container
/// finds them. It takes them away again as the parents of what a step asked to be mounted.
const KEPT: [&str; 3] = ["proc", "dev", "sys"];

/// Those of `made` that are still as they were made, relative to the directory `upper`. `asked` is where the step's own
/// mounts are.
pub(super) fn empty<'a>(
    upper: &Path,
    made: &[MadeMountPoint],
    asked: impl Iterator<Item = &'a Path> + Clone,
) -> Vec<Box<[u8]>> {
    let mut empty: HashSet<PathBuf> = HashSet::new();
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let Ok(root) = rustix::fs::open(upper, flags, Mode::empty()) else { return Vec::new() };
    // What was made later may be below what was made before.
    for point in made.iter().rev() {
        let path = point.path.strip_prefix("/").unwrap_or(&point.path);
        let kept = KEPT.iter().any(|kept| path == Path::new(kept))
            && !asked.clone().any(|target| target.starts_with(&point.path));
        if !kept && is_empty(&root, path, point.kind, &empty) {
            empty.insert(path.to_owned());
        }
    }
    empty.into_iter().map(|path| path.as_os_str().as_bytes().into()).collect()
}

/// Whether `path` below `root` holds nothing but mount points that are to be left out.
fn is_empty(root: &OwnedFd, path: &Path, kind: MountPointKind, left_out: &HashSet<PathBuf>) -> bool {
    // The step may have put links anywhere; nothing may lead out of its own directory.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match kind {
        MountPointKind::File => {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(file) = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) else {
                return false;
            };
            rustix::fs::fstat(file.as_fd()).is_ok_and(|stat| {
                FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0
            })
        }
        MountPointKind::Directory => {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(dir) = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) else {
                return false;
            };
            let Ok(entries) = Dir::read_from(dir) else { return false };
            entries.flatten().map(|entry| entry.file_name().to_bytes().to_vec()).all(|name| {
                let name = std::ffi::OsStr::from_bytes(&name);
                name == "." || name == ".." || left_out.contains(&path.join(name))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs_err as fs;

    fn made(path: &str, kind: MountPointKind) -> MadeMountPoint {
        MadeMountPoint { path: path.into(), kind, parent_mtime: (0, 0) }
    }

    #[test]
    fn only_what_is_still_empty_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["root/.cache/go", "proc", "w/t", "gone"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("root/.cache/other"), "").unwrap();
        fs::write(dir.path().join("w/f"), "").unwrap();
        fs::write(dir.path().join("w/g"), "text").unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("link")).unwrap();
        let points = [
            made("/root", MountPointKind::Directory),
            made("/root/.cache", MountPointKind::Directory),
            made("/root/.cache/go", MountPointKind::Directory),
            made("/proc", MountPointKind::Directory),
            made("/w/t", MountPointKind::Directory),
            made("/w/f", MountPointKind::File),
            made("/w/g", MountPointKind::File),
            made("/link/tmp", MountPointKind::Directory),
            made("/never", MountPointKind::Directory),
        ];
        let mut empty = empty(dir.path(), &points, std::iter::empty());
        empty.sort();
        assert_eq!(empty, [&b"root/.cache/go"[..], b"w/f", b"w/t"].map(Box::from));
    }

    #[test]
    fn a_directory_with_nothing_but_stubs_is_a_stub() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let points = [made("/a", MountPointKind::Directory), made("/a/b", MountPointKind::Directory)];
        assert_eq!(empty(dir.path(), &points, std::iter::empty()).len(), 2);
    }

    #[test]
    fn what_holds_a_mount_of_the_step_is_a_stub() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("dev")).unwrap();
        let points = [made("/dev", MountPointKind::Directory)];
        let asked = |target: &'static str| empty(dir.path(), &points, [Path::new(target)].into_iter()).len();
        assert_eq!((asked("/dev/shm"), asked("/devices")), (1, 0));
    }
}
