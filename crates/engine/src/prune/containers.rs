//! `container prune`.

use galley_oci::Time;
use galley_store::Store;

use super::Filter;
use crate::{Error, container, container::Container};

/// Removes the containers that do not run, and gives their ids and how much they held. Their volumes stay.
pub fn containers(store: &Store, filter: &Filter) -> Result<(Vec<String>, u64), Error> {
    let (mut removed, mut bytes) = (Vec::new(), 0);
    for container in container::list(store)? {
        if !is_stopped(&container)? || !wanted(&container, filter) {
            continue;
        }
        let (id, size) = (container.folder.id().to_owned(), store.disk_usage(container.folder.path()));
        container::remove(store, container, false, false)?;
        removed.push(id);
        bytes += size;
    }
    Ok((removed, bytes))
}

/// One that is about to start is held already.
fn is_stopped(container: &Container) -> Result<bool, Error> {
    Ok(!container.is_running() && !container.folder.is_held().map_err(super::failed)?)
}

fn wanted(container: &Container, filter: &Filter) -> bool {
    filter.takes(Time::parse_rfc3339(&container.config.created), &container.config.labels)
}
