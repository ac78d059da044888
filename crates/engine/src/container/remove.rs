//! `galley rm`.

use std::time::Duration;

use galley_store::Store;

use super::{Container, MountFrom, find, stop, store_failed, turn::in_turn, volume::take_unused};
use crate::{Error, ErrorKind};

/// A container that is gone with all it changed.
#[derive(Debug, Default)]
pub struct Gone {
    /// Why volumes that were to go with it stay.
    pub volumes_stay: Option<Error>,
}

/// [Removes](remove) the container that `name` means; with `force` also one of which nobody can tell what it was made with. The
/// volumes of that one stay: nobody knows them.
pub fn remove_named(store: &Store, name: &str, force: bool, volumes: bool) -> Result<Gone, Error> {
    let unreadable = match find(store, name) {
        Err(error) if force && error.kind == ErrorKind::Store => error,
        found => return remove(store, &found?, force, volumes),
    };
    let Some(folder) = store.container(name).map_err(store_failed)? else { return Err(unreadable) };
    let Some(_lock) = folder.try_lock().map_err(store_failed)? else { return Err(unreadable) };
    folder.clone().remove().map_err(store_failed)?;
    Ok(Gone::default())
}

/// Removes `container` with all it changed; its anonymous volumes too with `volumes`. One that runs only with `force`.
pub fn remove(store: &Store, container: &Container, force: bool, volumes: bool) -> Result<Gone, Error> {
    let removed = in_turn(container, |now| {
        if now.is_running() {
            if !force {
                let name = &now.name;
                return Err(Error::new(ErrorKind::Usage, format!("container {name} is running"))
                    .help(format!("stop it first (`galley stop {name}`), or use --force")));
            }
            stop(now, None, Some(Duration::ZERO))?;
        }
        remove_unless_held(store, now, volumes)
    });
    // Else another was faster.
    removed.map(Option::unwrap_or_default)
}

/// Removes `container`; none when a process runs it, or is about to, or another is at it already.
pub(crate) fn remove_unless_held(
    store: &Store,
    container: &Container,
    volumes: bool,
) -> Result<Option<Gone>, Error> {
    // Held until it is gone: nobody can start it in between.
    let Some(_lock) = container.folder.try_lock().map_err(store_failed)? else { return Ok(None) };
    container.state.freezer.iter().for_each(|left| galley_sandbox::thaw(left));
    remove_held(store, container, volumes).map(Some)
}

/// Removes `container`, whose lock this process has.
pub(super) fn remove_held(store: &Store, container: &Container, volumes: bool) -> Result<Gone, Error> {
    container.folder.clone().remove().map_err(store_failed)?;
    let removed = if volumes { remove_anonymous(store, container) } else { Ok(()) };
    Ok(Gone { volumes_stay: removed.err() })
}

/// Removes the volumes that were made for `container`, which is gone, and that nobody has given to another.
fn remove_anonymous(store: &Store, container: &Container) -> Result<(), Error> {
    let names = container.config.mounts.iter().filter_map(|mount| match &mount.source {
        MountFrom::Anonymous(name) => Some(name.clone()),
        MountFrom::Volume(_) | MountFrom::Path(_) => None,
    });
    for (_, volume) in take_unused(store, &names.collect::<Vec<_>>())? {
        volume.delete().map_err(store_failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::container::{
        Status, VolumeSource, list,
        list::in_use,
        testing::{Pantry, with_container},
    };

    /// As when `container prune` has it in hand.
    #[test]
    fn what_another_removes_meanwhile_is_removed() {
        with_container(|store, container| {
            let other = find(store, "app").unwrap().folder;
            let lock = other.try_lock().unwrap().unwrap();
            thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(Duration::from_millis(100));
                    other.clone().remove().unwrap();
                    drop(lock);
                });
                remove(store, &container, false, false).unwrap();
            });
            assert_eq!(list(store).unwrap().len(), 0);
        });
    }

    /// Nobody can tell whether the other one needs the volume.
    #[test]
    fn volumes_stay_while_another_container_cannot_be_read() {
        let pantry = Pantry::new();
        let container = pantry.create("app", &[VolumeSource::Anonymous]).unwrap();
        let other = pantry.create("other", &[]).unwrap();
        fs_err::write(other.folder.path().join("config.json"), "").unwrap();
        let gone = remove(&pantry.store, &container, false, true).unwrap();
        assert!(gone.volumes_stay.is_some() && container.folder.is_gone());
        assert_eq!(pantry.store.volumes().unwrap().len(), 1);
    }

    #[test]
    fn what_is_gone_is_neither_found_nor_locked() {
        with_container(|store, container| {
            let again = find(store, "app").unwrap();
            remove(store, &container, false, false).unwrap();
            assert!(again.folder.try_lock().unwrap().is_none());
            assert!(Container::read_present(again.folder.clone()).unwrap().is_none());
            assert_eq!(in_use(&again).message, "no such container: app");
            assert!(
                remove_unless_held(store, &again, false).unwrap().is_none(),
                "it was not this one that removed it"
            );
            remove(store, &again, true, false).unwrap();
        });
    }

    #[test]
    fn what_is_held_is_passed_over() {
        with_container(|store, container| {
            let lock = find(store, "app").unwrap().folder.try_lock().unwrap().unwrap();
            assert!(remove_unless_held(store, &container, false).unwrap().is_none());
            drop(lock);
            assert!(remove_unless_held(store, &container, false).unwrap().is_some());
        });
    }

    /// As after a power cut: neither file is written back before it gets its name.
    #[test]
    fn what_cannot_be_read_is_removed_as_well() {
        with_container(|store, container| {
            let id = container.folder.id()[..12].to_owned();
            fs_err::write(container.folder.path().join("state.json"), "").unwrap();
            assert_eq!(list(store).unwrap()[0].status, Status::Exited { code: 137, finished: None });
            let lock = container.folder.try_lock().unwrap().unwrap();
            assert_eq!(list(store).unwrap()[0].status, Status::Running { started: None });
            drop(lock);
            fs_err::write(container.folder.path().join("config.json"), "").unwrap();
            let error = remove_named(store, "app", false, true).unwrap_err();
            assert_eq!(
                (&error.message, &error.help),
                (&format!("container {id} is damaged"), &vec![format!("`galley rm -f {id}` removes it")])
            );
            let lock = container.folder.try_lock().unwrap().unwrap();
            assert_eq!(remove_named(store, "app", true, true).unwrap_err().message, error.message, "it runs");
            drop(lock);
            remove_named(store, "app", true, true).unwrap();
            assert_eq!(store.containers().unwrap().len(), 0);
        });
        with_container(|store, container| {
            fs_err::write(container.folder.path().join("state.json"), "{").unwrap();
            remove_named(store, "app", false, false).unwrap();
        });
    }
}
