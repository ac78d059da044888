//! The working directory of a container, made when the image does not have it, as Docker does.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use fs_err as fs;
use galley_oci::{Kind, Meta, stack::Last};
use galley_store::ContainerDir;
use rustix::fs::{CWD, Gid, Mode, Uid};

use crate::{Error, ErrorKind, steps::files::Files};

/// Makes the directories of `path` that the image lacks, in the container's own layer.
pub(super) fn ensure(files: &Files, folder: &ContainerDir, path: &str) -> Result<(), Error> {
    let wrong = |why: String| {
        Error::new(ErrorKind::Usage, format!("cannot use the working directory {path:?}: {why}"))
    };
    if !path.starts_with('/') {
        return Err(wrong("it has to be an absolute path".to_owned()));
    }
    let resolved =
        files.stack().resolve(path.as_bytes(), Last::Follow).map_err(|error| wrong(error.to_string()))?;
    if files.stack().get(&resolved).is_some_and(|found| matches!(found.entry.kind, Kind::Directory { .. })) {
        return Ok(());
    }
    let mut below = folder.upper();
    let ends = (0..resolved.len()).filter(|&index| resolved[index] == b'/').chain([resolved.len()]);
    for end in ends {
        let name = resolved[..end].rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        below.push(OsStr::from_bytes(name));
        let made;
        let meta = match files.stack().get(&resolved[..end]).map(|found| found.entry) {
            Some(entry) if matches!(entry.kind, Kind::Directory { .. }) => &entry.meta,
            Some(_) => return Err(wrong("there is a file of that name".to_owned())),
            None => {
                made = Meta::new(0o755);
                &made
            }
        };
        make(&below, meta).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(())
}

/// A directory of the upper layer decides about mode and owner, so it takes those of the one below.
fn make(path: &Path, meta: &Meta) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir(path)?;
    rustix::fs::chownat(
        CWD,
        path,
        Some(Uid::from_raw(meta.uid)),
        Some(Gid::from_raw(meta.gid)),
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )?;
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(u32::from(meta.mode)))?)
}
