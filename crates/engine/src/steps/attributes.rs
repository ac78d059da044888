//! Attributes of directories that the engine itself makes on disk, for the store to take over.

use std::{io, os::unix::fs::PermissionsExt, path::Path};

use fs_err as fs;
use galley_oci::Meta;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};

/// Gives the directory `path` owner, mode and time of `meta`.
pub(crate) fn set(path: &Path, meta: &Meta) -> io::Result<()> {
    if (meta.uid, meta.gid) != (0, 0) {
        galley_store::give(path, meta.uid, meta.gid)?;
    }
    fs::set_permissions(path, std::fs::Permissions::from_mode(meta.mode.into()))?;
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(0, UTIME_OMIT),
        last_modification: time(meta.mtime.seconds, meta.mtime.nanoseconds.into()),
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
