//! `galley rm`.

use std::time::Duration;

use galley_store::Store;

use super::{Container, MountFrom, stop, store_failed};
use crate::{Error, ErrorKind};

/// Removes `container` with all it changed; its anonymous volumes too with `volumes`. One that runs only with `force`.
pub fn remove(store: &Store, container: Container, force: bool, volumes: bool) -> Result<(), Error> {
    if container.is_running() {
        if !force {
            let name = &container.name;
            return Err(Error::new(ErrorKind::Usage, format!("container {name} is running"))
                .help(format!("stop it first (`galley stop {name}`), or use --force")));
        }
        stop(&container, Some(Duration::ZERO))?;
    }
    if !container.folder.path().exists() {
        return Ok(());
    }
    // Held until it is gone: nobody can start it in between.
    let lock = container.folder.try_lock().map_err(store_failed)?;
    let lock = lock.ok_or_else(|| {
        Error::new(ErrorKind::Usage, format!("container {} is being started", container.name))
    })?;
    container.state.freezer.iter().for_each(|left| galley_sandbox::thaw(left));
    container.folder.remove().map_err(store_failed)?;
    drop(lock);
    for mount in container.config.mounts {
        if let (MountFrom::Anonymous(name), true) = (mount.source, volumes) {
            store.remove_volume(&name).map_err(store_failed)?;
        }
    }
    Ok(())
}
