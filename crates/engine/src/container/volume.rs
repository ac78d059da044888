//! What a volume starts with.

use std::path::Path;

use fs_err as fs;
use galley_oci::stack::Last;
use galley_store::Store;

use super::store_failed;
use crate::{Error, ErrorKind, steps::files::Files};

/// Gives an empty volume what the image has at `target`: files, owner and mode of the directory, as Docker does. One
/// that holds anything is left alone.
pub(super) fn fill(store: &Store, files: &Files, target: &str, volume: &Path) -> Result<(), Error> {
    let failed = |error: std::io::Error| {
        let message = format!("cannot fill the volume at {}: {error}", volume.display());
        Error::new(ErrorKind::Store, message).because(error)
    };
    if fs::read_dir(volume).map_err(failed)?.next().is_some() {
        return Ok(());
    }
    // A target that leads nowhere is the sandbox's to refuse.
    let Ok(path) = files.stack().resolve(target.as_bytes(), Last::Follow) else { return Ok(()) };
    if path.is_empty() || !files.is_directory(&path) {
        return Ok(());
    }
    let temp = store.temp_dir("volume").map_err(store_failed)?;
    let filled = temp.path().join("data");
    files.copy_directory(store, &path, &filled)?;
    match rustix::fs::rename(&filled, volume) {
        // Another container was first.
        Ok(()) | Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(failed(errno.into())),
    }
}
