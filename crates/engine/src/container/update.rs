//! `galley update` and `rename`: what of a container can be changed after it was created.

use galley_store::Store;

use super::{
    Container, Limits, Restart, ask::Ask, damaged_config, list::unless_gone, names, pause::asked,
    read_config, store_failed,
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
    unless_gone(container, updated(container, change))
}

fn updated(container: &Container, change: &Change) -> Result<(), Error> {
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
    let renamed = store.rename_container(&container.folder, name).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("cannot give the container {} another name", container.name))
            .because(error)
    });
    unless_gone(container, renamed)
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;
    use crate::container::testing::with_container;

    /// It goes while the change waits for another.
    #[test]
    fn what_is_removed_meanwhile_is_no_damage() {
        with_container(|store, container| {
            let lock = container.folder.lock_config().unwrap();
            thread::scope(|scope| {
                let updating = scope.spawn(|| update(&container, &Change::default()).unwrap_err());
                thread::sleep(Duration::from_millis(100));
                container.folder.clone().remove().unwrap();
                drop(lock);
                let error = updating.join().unwrap();
                assert_eq!((error.kind, &*error.message), (ErrorKind::NotFound, "no such container: app"));
            });
            let errors = [
                update(&container, &Change::default()).unwrap_err(),
                rename(store, &container, "other").unwrap_err(),
                super::super::changes(store, &container).unwrap_err(),
                super::super::export(store, &container, &mut Vec::new()).unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.message, "no such container: app");
            }
        });
    }
}
