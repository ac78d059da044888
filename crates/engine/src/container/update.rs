//! `galley update` and `rename`: what of a container can be changed after it was created.

use galley_store::Store;

use super::{
    Container, Limits, Restart, ask::Ask, damaged_config, names, pause::asked, read_config, store_failed,
};
use crate::{Error, ErrorKind};

/// What is to be other; what is not given stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Limits.
    pub limits: Limits,
    /// What happens when it ends.
    pub restart: Option<Restart>,
}

/// Changes `container`, at once when it runs.
pub fn update(container: &Container, change: &Change) -> Result<(), Error> {
    // From here to the end: another change would be lost.
    let _lock = container.folder.lock_config().map_err(store_failed)?;
    let mut config = read_config(&container.folder)?;
    if !change.limits.is_empty() {
        config.service.limits = change.limits.over(&config.service.limits);
    }
    config.service.restart = change.restart.unwrap_or(config.service.restart);
    config.service.check()?;
    if config.remove && config.service.restart != Restart::No {
        return Err(Error::new(ErrorKind::Usage, "--restart: the container is removed when it ends")
            .help("it was created with --rm"));
    }
    if container.is_running() {
        let limits = (!change.limits.is_empty()).then(|| Box::new(config.service.limits.clone()));
        asked(container, &Ask::Change { limits, restart: change.restart })?;
    }
    let bytes = serde_json::to_vec(&config).map_err(damaged_config)?;
    container.folder.write_config(&bytes).map_err(store_failed)
}

/// Gives `container` another name.
pub fn rename(store: &Store, container: &Container, name: &str) -> Result<(), Error> {
    // Docker takes one with the slash that it shows.
    let name = name.strip_prefix('/').unwrap_or(name);
    if !names::is_valid(name) {
        return Err(names::invalid(name));
    }
    store.rename_container(&container.folder, name).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("cannot give the container {} another name", container.name))
            .because(error)
    })
}
