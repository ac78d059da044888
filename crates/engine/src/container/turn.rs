//! Waiting for one's turn at a container: somebody else starts it, removes it, copies into it, or only looks at it.

use std::{
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use galley_store::FileLock;

use super::{
    Container,
    list::{in_use, no_such},
    store_failed,
};
use crate::Error;

/// How long somebody else may be at a container that does not run, and how often it is looked at.
const BUSY_TIME_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// What `attempt` gives, tried for as long as somebody else may be at `container`, each time with what is true of that by
/// then. None when another has removed it.
pub(super) fn in_turn<T>(
    container: &Container,
    mut attempt: impl FnMut(&Container) -> Result<Option<T>, Error>,
) -> Result<Option<T>, Error> {
    let until = Instant::now() + BUSY_TIME_MAX;
    let mut newer = None;
    loop {
        let now = newer.as_ref().unwrap_or(container);
        if let Some(done) = attempt(now)? {
            return Ok(Some(done));
        }
        if Instant::now() >= until {
            return Err(in_use(now));
        }
        thread::sleep(POLL);
        newer = Container::read_present(container.folder.clone())?;
        if newer.is_none() {
            return Ok(None);
        }
    }
}

/// The lock on `container`, for who is about to run it.
pub(super) fn lock(container: &Container) -> Result<FileLock, Error> {
    let lock = in_turn(container, |now| match now.folder.try_lock().map_err(store_failed)? {
        None if now.is_running() => Err(in_use(now)),
        lock => Ok(lock),
    })?;
    lock.ok_or_else(|| no_such(&container.name))
}

/// The same for another process, which is to inherit it; none when one runs the container already.
pub fn lend_lock(container: &Container) -> Result<Option<OwnedFd>, Error> {
    let lent = in_turn(container, |now| match now.folder.lend_lock().map_err(store_failed)? {
        None if now.is_running() => Ok(Some(None)),
        lock => Ok(lock.map(Some)),
    })?;
    lent.ok_or_else(|| no_such(&container.name))
}

#[cfg(test)]
mod tests {
    use galley_store::Store;
    use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

    use super::*;
    use crate::container::{ContainerState, Phase, find, testing::with_container, write_state};

    /// As when who looks at the container loses the processor before it lets go again.
    fn beside_a_look(test: impl FnOnce(&Store, &Container)) {
        with_container(|store, container| {
            let path = container.folder.path().join("lock");
            let look = open(path, OFlags::RDONLY, Mode::empty()).unwrap();
            flock(&look, FlockOperation::LockShared).unwrap();
            thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(Duration::from_millis(300));
                    drop(look);
                });
                test(store, &container);
            });
        });
    }

    #[test]
    fn a_look_keeps_nobody_from_running_it() {
        beside_a_look(|_, container| drop(lock(container).unwrap()));
        beside_a_look(|_, container| assert!(lend_lock(container).unwrap().is_some()));
    }

    #[test]
    fn what_runs_is_neither_locked_nor_lent() {
        with_container(|store, container| {
            let lock = container.folder.try_lock().unwrap().unwrap();
            let other = find(store, "app").unwrap();
            thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(Duration::from_millis(100));
                    let state = ContainerState { phase: Phase::Running, ..ContainerState::default() };
                    write_state(&container.folder, &state).unwrap();
                });
                assert!(lend_lock(&other).unwrap().is_none());
            });
            assert!(super::lock(&other).unwrap_err().message.contains("is running already"));
            container.folder.clone().remove().unwrap();
            drop(lock);
            for error in [lend_lock(&other).unwrap_err(), super::lock(&other).unwrap_err()] {
                assert_eq!(error.message, "no such container: app");
            }
        });
    }
}
