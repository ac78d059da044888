//! Volumes of containers: made with them, filled before they run, removed when no container needs them.

use std::{collections::BTreeSet, path::PathBuf};

use galley_oci::stack::Last;
use galley_store::{RemovedVolume, Store, StoreError, Volumes};

use super::{MountFrom, list::configs};
use crate::{Error, ErrorKind, steps::files::Files};

/// Volumes of a container that is being made. Until this is dropped no volume comes or goes; dropped before the container is
/// there, it removes those that were made for it.
pub(super) struct NewVolumes<'a> {
    store: &'a Store,
    lock: Option<Volumes<'a>>,
    made: Vec<String>,
}

impl<'a> NewVolumes<'a> {
    pub(super) const fn new(store: &'a Store) -> Self {
        Self { store, lock: None, made: Vec::new() }
    }

    /// The volume `name` is there from now on.
    pub(super) fn need(&mut self, name: &str) -> Result<(), Error> {
        let lock = match self.lock.take() {
            Some(lock) => lock,
            None => self.store.lock_volumes().map_err(failed)?,
        };
        let lock = self.lock.insert(lock);
        if lock.make(name).map_err(failed)? {
            self.made.push(name.to_owned());
        }
        Ok(())
    }

    /// The container is there, and needs them.
    pub(super) fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for NewVolumes<'_> {
    fn drop(&mut self) {
        for name in &self.made {
            // What stays is a volume that nobody needs: `volume prune` takes it.
            let _ = self.lock.as_ref().map(|lock| lock.remove(name));
        }
    }
}

/// The directory of the volume `name`, which a container needs. An empty one is given what the image has at `target`: files,
/// owner and mode of the directory, as Docker does.
pub(super) fn directory(store: &Store, files: &Files, name: &str, target: &str) -> Result<PathBuf, Error> {
    let missing = || Error::new(ErrorKind::Store, format!("volume {name} cannot be made"));
    if store.volume(name).map_err(failed)?.is_none() {
        store.lock_volumes().and_then(|volumes| volumes.make(name)).map_err(failed)?;
    }
    let path = store.volume(name).map_err(failed)?.ok_or_else(missing)?;
    let cannot = |error| {
        let message = format!("cannot fill the volume at {}", path.display());
        Error::new(ErrorKind::Store, message).because(error)
    };
    let Some(filling) = store.begin_filling(name).map_err(cannot)? else { return Ok(path) };
    // A target that leads nowhere is the sandbox's to refuse.
    let Ok(source) = files.stack().resolve(target.as_bytes(), Last::Follow) else { return Ok(path) };
    if source.is_empty() || !files.is_directory(&source) {
        return Ok(path);
    }
    files.copy_directory(store, &source, &filling.path())?;
    filling.finish().map_err(cannot)?;
    Ok(path)
}

/// Takes away those of the volumes `names` that no container needs, and gives them with their names. The lock is free again
/// when their files are removed.
pub(crate) fn take_unused(store: &Store, names: &[String]) -> Result<Vec<(String, RemovedVolume)>, Error> {
    let mut taken = Vec::new();
    if names.is_empty() {
        return Ok(taken);
    }
    let lock = store.lock_volumes().map_err(failed)?;
    let needed = needed(store)?;
    for name in names.iter().filter(|name| !needed.contains(*name)) {
        taken.extend(lock.remove(name).map_err(failed)?.map(|volume| (name.clone(), volume)));
    }
    Ok(taken)
}

/// Removes the volume `name`, which no container may need.
pub fn remove_volume(store: &Store, name: &str) -> Result<(), Error> {
    let missing = || {
        let error = Error::new(ErrorKind::NotFound, format!("no such volume: {name}"));
        error.help("`galley volume ls` lists all of them")
    };
    let removed = {
        let lock = store.lock_volumes().map_err(failed)?;
        match store.volume(name) {
            Ok(Some(_)) => {}
            Ok(None) | Err(StoreError::BadName { .. }) => return Err(missing()),
            Err(error) => return Err(failed(error)),
        }
        if needed(store)?.contains(name) {
            return Err(Error::new(ErrorKind::Usage, format!("volume {name} is in use"))
                .help("remove the containers that use it first: `galley ps -a`"));
        }
        lock.remove(name).map_err(failed)?.ok_or_else(missing)?
    };
    removed.delete().map_err(failed)
}

/// The volumes that containers need. One whose config cannot be read may need any of them.
fn needed(store: &Store) -> Result<BTreeSet<String>, Error> {
    let mounts = configs(store)?.into_iter().flat_map(|(_, config)| config.mounts);
    let names = mounts.filter_map(|mount| match mount.source {
        MountFrom::Volume(name) | MountFrom::Anonymous(name) => Some(name),
        MountFrom::Path(_) => None,
    });
    Ok(names.collect())
}

fn failed(error: StoreError) -> Error {
    Error::new(ErrorKind::Store, "cannot use the store's volumes").because(error)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::MetadataExt, sync::Arc};

    use fs_err as fs;
    use galley_store::{OpenOptions, ScanOptions};

    use super::{
        super::{Container, ContainerConfig, ContainerMount, VolumeSource, remove, testing::Pantry},
        *,
    };
    use crate::prune::{self, Filter};

    struct Image {
        folder: tempfile::TempDir,
        store: Store,
        files: Files,
    }

    /// An image with these directories and files, those that end in a slash being empty directories.
    fn image(paths: &[&str]) -> Image {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), OpenOptions::default()).unwrap();
        let root = folder.path().join("image");
        for path in paths {
            let path = root.join(path);
            match path.to_string_lossy().ends_with('/') {
                true => fs::create_dir_all(path).unwrap(),
                false => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, "image").unwrap();
                }
            }
        }
        let tree = store.scan(&root, &ScanOptions::default()).unwrap();
        let files = Files::of_directory(&root, Arc::new(tree));
        Image { folder, store, files }
    }

    /// A container that runs has the directory mounted: another one in its place would be a volume that it does not see.
    #[test]
    fn a_volume_stays_the_directory_that_it_is() {
        for paths in [&["home/"][..], &["home/d/f", "home/g"]] {
            let image = image(paths);
            image.store.lock_volumes().unwrap().make("shared").unwrap();
            let volume = image.store.volume("shared").unwrap().unwrap();
            let inode = fs::metadata(&volume).unwrap().ino();
            assert_eq!(directory(&image.store, &image.files, "shared", "/home").unwrap(), volume);
            assert_eq!(fs::metadata(&volume).unwrap().ino(), inode, "{paths:?}");
            assert_eq!(volume.join("d/f").exists(), paths.len() == 2);
            drop(image.folder);
        }
    }

    fn named(name: &str) -> VolumeSource {
        VolumeSource::Volume(name.to_owned())
    }

    fn anonymous_of(container: &Container) -> String {
        match &container.config.mounts[0].source {
            MountFrom::Anonymous(name) => name.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// As when `create` has found its volume, or made it, and its container is not there yet.
    #[test]
    fn a_volume_that_a_container_is_about_to_need_stays() {
        for by_prune in [true, false] {
            let pantry = Pantry::new();
            let mut volumes = NewVolumes::new(&pantry.store);
            volumes.need("data").unwrap();
            std::thread::scope(|scope| {
                let store = pantry.reopened();
                let other = scope.spawn(move || match by_prune {
                    true => assert_eq!(prune::volumes(&store, true, &Filter::default()).unwrap().0.len(), 0),
                    false => {
                        let error = remove_volume(&store, "data").unwrap_err();
                        assert_eq!(error.message, "volume data is in use");
                    }
                });
                // It has looked at what there is, and waits.
                std::thread::sleep(std::time::Duration::from_millis(50));
                let config = pantry.create("template", &[]).unwrap().config;
                let source = MountFrom::Volume("data".to_owned());
                let mount = ContainerMount { target: "/d".to_owned(), source, read_only: false };
                let config = ContainerConfig { mounts: vec![mount], ..config };
                pantry
                    .store
                    .create_container("web", &serde_json::to_vec(&config).unwrap())
                    .unwrap()
                    .hand_over();
                volumes.keep();
                other.join().unwrap();
            });
            assert_eq!(pantry.store.volumes().unwrap(), ["data"]);
        }
    }

    #[test]
    fn what_another_container_needs_is_not_removed_with_the_first() {
        let pantry = Pantry::new();
        let first = pantry.create("first", &[VolumeSource::Anonymous, VolumeSource::Anonymous]).unwrap();
        let name = anonymous_of(&first);
        let second = pantry.create("second", &[named(&name)]).unwrap();
        remove(&pantry.store, &first, false, true).unwrap();
        assert_eq!(pantry.store.volumes().unwrap(), [name]);
        // To the second it is a volume like any other.
        remove(&pantry.store, &second, false, true).unwrap();
        assert_eq!(pantry.store.volumes().unwrap().len(), 1);
        assert_eq!(prune::volumes(&pantry.store, false, &Filter::default()).unwrap().0.len(), 1);
    }

    #[test]
    fn a_container_that_cannot_be_made_leaves_no_volumes() {
        let pantry = Pantry::new();
        pantry.create("web", &[named("old")]).unwrap();
        let error = pantry.create("web", &[VolumeSource::Anonymous, named("old"), named("new")]).unwrap_err();
        assert_eq!(error.message, "cannot create the container \"web\"");
        pantry.create("other", &[VolumeSource::Anonymous, named("../new")]).unwrap_err();
        assert_eq!(pantry.store.volumes().unwrap(), ["old"]);
    }

    /// What it needs nobody can tell.
    #[test]
    fn beside_a_container_that_cannot_be_read_no_volume_goes() {
        let pantry = Pantry::new();
        let container = pantry.create("web", &[named("data")]).unwrap();
        fs::write(container.folder.path().join("config.json"), "").unwrap();
        let error = prune::volumes(&pantry.store, true, &Filter::default()).unwrap_err();
        let said = format!("container {} is damaged", container.short_id());
        assert_eq!(error.message, said);
        assert_eq!(remove_volume(&pantry.store, "data").unwrap_err().message, said);
        assert_eq!(pantry.store.volumes().unwrap(), ["data"]);
    }

    /// As when `volume rm` and `volume prune` remove the same.
    #[test]
    fn what_another_removes_at_the_same_moment_is_no_failure() {
        let pantry = Pantry::new();
        for _ in 0..20 {
            pantry.store.lock_volumes().unwrap().make("data").unwrap();
            let path = pantry.store.volume("data").unwrap().unwrap();
            (0..50).for_each(|number| fs::write(path.join(number.to_string()), "").unwrap());
            let stores = [pantry.reopened(), pantry.reopened()];
            std::thread::scope(|scope| {
                let [first, second] = stores;
                let removed = scope.spawn(move || remove_volume(&first, "data"));
                prune::volumes(&second, true, &Filter::default()).unwrap();
                if let Err(error) = removed.join().unwrap() {
                    assert_eq!(error.message, "no such volume: data");
                }
            });
            assert_eq!(pantry.store.volumes().unwrap(), Vec::<String>::new());
        }
    }
}
