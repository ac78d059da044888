//! `container prune`.

use galley_oci::Time;
use galley_store::Store;

use super::Filter;
use crate::{Error, container, container::Container};

/// Removes the containers that neither run nor are about to, and gives their ids and how much they held. Their volumes stay.
pub fn containers(store: &Store, filter: &Filter) -> Result<(Vec<String>, u64), Error> {
    let (mut removed, mut bytes) = (Vec::new(), 0);
    for container in container::list(store)? {
        if container.is_running() || !wanted(&container, filter) {
            continue;
        }
        let (id, size) = (container.folder.id().to_owned(), store.disk_usage(container.folder.path()));
        if container::remove_unless_held(store, &container, false)?.is_some() {
            removed.push(id);
            bytes += size;
        }
    }
    Ok((removed, bytes))
}

fn wanted(container: &Container, filter: &Filter) -> bool {
    filter.takes(Time::parse_rfc3339(&container.config.created), &container.config.labels)
}
