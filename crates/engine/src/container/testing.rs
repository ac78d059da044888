//! Containers for tests of what is done with them.

use std::collections::BTreeMap;

use galley_store::{OpenOptions, Store};

use super::{Container, ContainerConfig, NetworkMode, Service, find};
use crate::{clock, plan::Surroundings};

/// Runs `test` with a store and a container of it, named `app`, that never ran.
pub(super) fn with_container(test: impl FnOnce(&Store, Container)) {
    with_container_of(&config(), test);
}

/// The same of this config.
pub(super) fn with_container_of(config: &ContainerConfig, test: impl FnOnce(&Store, Container)) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store"), OpenOptions::default()).unwrap();
    store.create_container("app", &serde_json::to_vec(config).unwrap()).unwrap().hand_over();
    let container = find(&store, "app").unwrap();
    test(&store, container);
}

/// Of a container of an image that is in no store.
pub(super) fn config() -> ContainerConfig {
    ContainerConfig {
        image: "app".to_owned(),
        image_id: galley_oci::Digest::sha256(b"app"),
        arguments: vec!["/app".to_owned()],
        entrypoint: 0,
        environment: Vec::new(),
        working_directory: "/".to_owned(),
        user: String::new(),
        hostname: String::new(),
        mounts: Vec::new(),
        ports: Vec::new(),
        network: NetworkMode::None,
        tty: false,
        open_stdin: false,
        remove: false,
        stop_signal: 15,
        labels: BTreeMap::new(),
        created: clock::now().rfc3339(),
        surroundings: Surroundings::default(),
        service: Service::default(),
    }
}
