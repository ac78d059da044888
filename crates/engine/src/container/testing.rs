//! Containers for tests of what is done with them.

use std::{collections::BTreeMap, path::Path};

use galley_oci::{Digest, Time};
use galley_store::{Image, OpenOptions, Store};

use super::{
    Container, ContainerConfig, CreateOptions, NetworkMode, Service, VolumeOption, VolumeSource, create, find,
};
use crate::{Error, clock, plan::Surroundings};

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
        image_id: Digest::sha256(b"app"),
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

/// A store with the image `app`, of no files, and what is made of it.
pub(crate) struct Pantry {
    pub(crate) store: Store,
    _folder: tempfile::TempDir,
}

impl Pantry {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pantry = Self { store: open(folder.path()), _folder: folder };
        pantry.image("app");
        pantry
    }

    /// The same store as another process sees it.
    pub(crate) fn reopened(&self) -> Store {
        Store::open(self.store.root(), OpenOptions::default()).unwrap()
    }

    /// Puts an image with this name into the store.
    pub(crate) fn image(&self, name: &str) -> Digest {
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","author":"{name}","config":{{"Cmd":["/app"]}}}}"#
        );
        let id = Digest::sha256(config.as_bytes());
        let (config, created) = (config.into_bytes(), Time::default());
        let image = Image { id, config, layers: Vec::new(), manifest: None, created };
        self.store.put_image(&image).unwrap();
        self.store.tag(&name.parse().unwrap(), &id).unwrap();
        id
    }

    pub(crate) fn create(&self, name: &str, volumes: &[VolumeSource]) -> Result<Container, Error> {
        let volumes = volumes.iter().enumerate().map(|(number, source)| VolumeOption {
            source: source.clone(),
            target: format!("/v{number}"),
            read_only: false,
        });
        let options = CreateOptions {
            image: "app".to_owned(),
            name: Some(name.to_owned()),
            volumes: volumes.collect(),
            ..CreateOptions::default()
        };
        let container = create(&self.store, &options)?;
        container.folder.hand_over();
        Ok(container)
    }
}

fn open(folder: &Path) -> Store {
    Store::open(&folder.join("store"), OpenOptions::default()).unwrap()
}
