//! The upper directory of an overlay before the first process runs on it: a step's or a container's.

use std::{
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use fs_err as fs;
use galley_oci::{Entry, Meta, Stack, stack::Last, tree::join};

use crate::{Error, ErrorKind, clock::now, steps::attributes};

/// Prepares the new directory `upper` above `stack` for a process in `working_directory`.
///
/// overlayfs takes the attributes of a directory from its topmost layer, those of the root too. A working directory that
/// nobody made is made here, for `owner`, and becomes part of the layer, as in Docker.
pub(crate) fn prepare(
    stack: &Stack,
    upper: &Path,
    working_directory: &[u8],
    owner: (u32, u32),
) -> Result<(), Error> {
    let failed = |error: io::Error| {
        Error::new(ErrorKind::Store, format!("cannot prepare the directory {}", upper.display()))
            .because(error)
    };
    let root = stack.get(b"").map_or_else(|| new_directory((0, 0)), |found| found.entry.meta.clone());
    let mut made = vec![(upper.to_owned(), root)];
    for (path, meta) in missing(stack, working_directory, owner)? {
        let dir = upper.join(OsStr::from_bytes(&path));
        fs::create_dir(&dir).map_err(failed)?;
        made.push((dir, meta));
    }
    // The deepest first: what is made in a directory changes its time.
    let mut deepest_first = made.iter().rev();
    deepest_first.try_for_each(|(dir, meta): &(PathBuf, Meta)| attributes::set(dir, meta)).map_err(failed)
}

/// Prepares `root`, a directory that shows `stack`, in the same way.
pub(crate) fn prepare_root(
    stack: &Stack,
    root: &Path,
    working_directory: &[u8],
    owner: (u32, u32),
) -> Result<(), Error> {
    let failed = |error: io::Error| {
        Error::new(ErrorKind::Store, format!("cannot prepare the directory {}", root.display()))
            .because(error)
    };
    let missing = missing(stack, working_directory, owner)?;
    let own = stack.get(b"").map_or_else(|| new_directory((0, 0)), |found| found.entry.meta.clone());
    if missing.is_empty() && stack.get(b"").is_some() {
        return Ok(());
    }
    let mut all = vec![(root.to_owned(), own)];
    for (path, meta) in missing {
        let dir = root.join(OsStr::from_bytes(&path));
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => all.push((dir, meta)),
        }
    }
    // Those that were there look as before.
    all.iter().rev().try_for_each(|(dir, meta)| attributes::set(dir, meta)).map_err(failed)
}

/// The directories that `upper` needs for a path that is not all there, with their attributes, from the top.
fn missing(stack: &Stack, path: &[u8], owner: (u32, u32)) -> Result<Vec<(Vec<u8>, Meta)>, Error> {
    let unusable = |why: String| {
        let path = String::from_utf8_lossy(path);
        Error::new(ErrorKind::Input, format!("cannot use the working directory {path:?}: {why}"))
    };
    if !path.starts_with(b"/") {
        return Err(unusable("it has to be an absolute path".to_owned()));
    }
    let resolved = stack.resolve(path, Last::Follow).map_err(|error| unusable(error.to_string()))?;
    let is_there = |path: &[u8]| stack.get(path).is_some_and(|found| found.entry.is_directory());
    if resolved.is_empty() || is_there(&resolved) {
        return Ok(Vec::new());
    }
    let (mut needed, mut at) = (Vec::new(), Vec::new());
    for name in resolved.split(|&byte| byte == b'/') {
        at = join(&at, name);
        let meta = match stack.get(&at).map(|found| found.entry) {
            Some(Entry { meta, .. }) if is_there(&at) => meta.clone(),
            Some(_) => return Err(unusable(format!("/{} is a file", String::from_utf8_lossy(&at)))),
            None => new_directory(owner),
        };
        needed.push((at.clone(), meta));
    }
    Ok(needed)
}

fn new_directory((uid, gid): (u32, u32)) -> Meta {
    Meta { uid, gid, mtime: now(), ..Meta::new(0o755) }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, sync::Arc};

    use galley_oci::{Kind, Time, Tree};

    use super::*;

    fn stack() -> Stack {
        let mtime = Time::from_seconds(7);
        let directory = |path: &str, mode| Entry {
            path: path.as_bytes().into(),
            meta: Meta { mtime, ..Meta::new(mode) },
            kind: Kind::Directory { opaque: false },
        };
        let link = Kind::Symlink { target: b"/srv".as_slice().into() };
        let entries = vec![
            directory("", 0o711),
            directory("srv", 0o750),
            Entry { path: b"www".as_slice().into(), meta: Meta::new(0o777), kind: link },
            Entry { path: b"pipe".as_slice().into(), meta: Meta::new(0o644), kind: Kind::Fifo },
        ];
        Stack::new(vec![Arc::new(Tree::from_entries(entries))])
    }

    #[test]
    fn directories_look_as_below_and_new_ones_are_plain() {
        let upper = tempfile::tempdir().unwrap();
        prepare(&stack(), upper.path(), b"/www/a", (0, 0)).unwrap();
        let look = |path: &str| {
            let metadata = fs::symlink_metadata(upper.path().join(path)).unwrap();
            let since = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
            (metadata.permissions().mode() & 0o7777, since.as_secs() == 7)
        };
        assert_eq!([look(""), look("srv"), look("srv/a")], [(0o711, true), (0o750, true), (0o755, false)]);
        assert!(!upper.path().join("www").exists());
    }

    #[test]
    fn nothing_is_made_for_what_is_there() {
        let upper = tempfile::tempdir().unwrap();
        for path in [&b"/"[..], b"/srv", b"/www/"] {
            prepare(&stack(), upper.path(), path, (0, 0)).unwrap();
        }
        assert_eq!(fs::read_dir(upper.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_working_directory_cannot_be_a_file_or_relative() {
        let upper = tempfile::tempdir().unwrap();
        let message =
            |path: &[u8]| prepare(&stack(), upper.path(), path, (0, 0)).unwrap_err().message.clone();
        assert_eq!(message(b"/pipe"), "cannot use the working directory \"/pipe\": /pipe is a file");
        assert_eq!(
            message(b"srv"),
            "cannot use the working directory \"srv\": it has to be an absolute path"
        );
    }
}
