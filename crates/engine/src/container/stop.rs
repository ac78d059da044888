//! `galley stop`, `kill` and `wait`: the program is asked to end, and after a while made to; or somebody waits for that.

use std::{
    thread,
    time::{Duration, Instant},
};

use galley_store::{ContainerDir, EndNote, Store};

use super::{
    Container, Request, Status, control,
    list::{KILL_TIME_MAX, KILLED, folder_of, no_such},
    store_failed,
    turn::in_turn,
};
use crate::{Error, ErrorKind};

/// How long `stop` waits.
const STOP_SECONDS: i64 = 10;

/// The signal that no program can do anything about.
const SIGKILL: i32 = 9;

/// How often a stopping container is looked at.
const POLL: Duration = Duration::from_millis(10);

/// How long `stop` waits unless it is told otherwise: what the container was created with, else ten seconds; none is for ever.
#[must_use]
pub fn patience(container: &Container) -> Option<Duration> {
    u64::try_from(container.config.service.stop_timeout.unwrap_or(STOP_SECONDS)).ok().map(Duration::from_secs)
}

/// Sends a signal to the first process of `container`, which has to run. After SIGKILL it has ended.
pub fn signal(container: &Container, signal: i32) -> Result<(), Error> {
    if !container.is_running() || !send(container, Request::Signal(signal))? {
        return Err(Error::new(ErrorKind::Usage, format!("container {} is not running", container.name)));
    }
    if signal != SIGKILL || ended_within(container, Some(KILL_TIME_MAX))? {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Internal, format!("container {} does not end", container.name)))
}

/// Waits until the container that `name` means has ended and is not to start again; its exit code.
pub fn wait(store: &Store, name: &str) -> Result<i32, Error> {
    let folder = folder_of(store, name)?;
    // Before anything is known of it: it may end and be removed from then on.
    let note = folder.end_note().map_err(store_failed)?;
    end_of(folder, note.as_ref(), name)
}

/// The exit code of a container whose note was open before it was looked at.
fn end_of(folder: ContainerDir, note: Option<&EndNote>, name: &str) -> Result<i32, Error> {
    let found = Container::read_present(folder)?.map(|container| container.status);
    match found {
        Some(Status::Created) => return Ok(0),
        Some(Status::Exited { code, .. }) => return Ok(code),
        _ => {}
    }
    let noted = note.map(EndNote::wait).transpose().map_err(|error| {
        Error::new(ErrorKind::Store, "cannot wait for the end of the container").because(error)
    })?;
    match noted.flatten().and_then(|code| code.trim().parse().ok()) {
        Some(code) => Ok(code),
        None if found.is_none() => Err(no_such(name)),
        // A supervisor that was killed has noted nothing.
        None => Ok(KILLED),
    }
}

/// Asks the program of `container` to end, by `signal` or its own; when it has not after `patience`, ends it. One that does
/// not run is no error.
pub fn stop(container: &Container, signal: Option<i32>, patience: Option<Duration>) -> Result<(), Error> {
    let request = signal.map_or(Request::Stop, Request::StopBy);
    // Who is about to run it has its lock before it listens.
    let asked = in_turn(container, |now| match now.folder.is_held().map_err(store_failed)? {
        true => Ok(send(now, request)?.then_some(true)),
        false => Ok(Some(false)),
    })?;
    if asked != Some(true) || ended_within(container, patience)? {
        return Ok(());
    }
    send(container, Request::Kill)?;
    if ended_within(container, Some(KILL_TIME_MAX))? {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Internal, format!("container {} does not end", container.name)))
}

/// Sends one request to whoever supervises `container`; `false` when it does not run.
fn send(container: &Container, request: Request) -> Result<bool, Error> {
    if !container.folder.is_held().map_err(store_failed)? {
        return Ok(false);
    }
    control::send(&container.folder.path().join("control"), request)
}

fn ended_within(container: &Container, patience: Option<Duration>) -> Result<bool, Error> {
    let start = Instant::now();
    loop {
        if !container.folder.is_held().map_err(store_failed)? {
            return Ok(true);
        }
        if patience.is_some_and(|patience| start.elapsed() >= patience) {
            return Ok(false);
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use galley_store::FileLock;

    use super::*;
    use crate::container::{ContainerState, Phase, find, testing::with_container, write_state};

    /// Has it run, as far as the store knows.
    fn run(container: &Container) -> FileLock {
        let lock = container.folder.try_lock().unwrap().unwrap();
        let state = ContainerState { phase: Phase::Running, ..ContainerState::default() };
        write_state(&container.folder, &state).unwrap();
        lock
    }

    /// It may do so between the two, as with --rm.
    #[test]
    fn what_is_found_and_gone_has_ended_as_it_noted() {
        with_container(|_, container| {
            let lock = run(&container);
            let note = container.folder.end_note().unwrap();
            lock.note("7");
            container.folder.clone().remove().unwrap();
            drop(lock);
            assert_eq!(end_of(container.folder, note.as_ref(), "app").unwrap(), 7);
        });
    }

    #[test]
    fn what_is_waited_for_may_go() {
        with_container(|store, container| {
            let lock = run(&container);
            let folder = container.folder.clone();
            let note = folder.end_note().unwrap();
            thread::scope(|scope| {
                let waiting = scope.spawn(|| end_of(folder, note.as_ref(), "app").unwrap());
                thread::sleep(Duration::from_millis(100));
                assert!(!waiting.is_finished());
                lock.note("7");
                container.folder.clone().remove().unwrap();
                drop(lock);
                assert_eq!(waiting.join().unwrap(), 7);
            });
            assert_eq!(wait(store, "app").unwrap_err().message, "no such container: app");
        });
    }

    /// As when `start` has begun, and the program does not run yet.
    #[test]
    fn who_is_about_to_run_it_is_asked_as_soon_as_they_listen() {
        with_container(|store, container| {
            let lock = Mutex::new(container.folder.try_lock().unwrap());
            let found = find(store, "app").unwrap();
            let (sender, receiver) = mpsc::channel();
            thread::scope(|scope| {
                scope.spawn(move || {
                    thread::sleep(Duration::from_millis(100));
                    control::listen(&container.folder.path().join("control"), move |request| {
                        sender.send(request).unwrap();
                        drop(lock.lock().unwrap().take());
                    })
                });
                stop(&found, None, None).unwrap();
            });
            assert_eq!(receiver.try_recv(), Ok(Request::Stop));
            stop(&found, None, None).unwrap();
            assert!(receiver.try_recv().is_err(), "it does not run");
        });
    }

    #[test]
    fn what_never_ran_is_waited_for_no_more_than_what_was_killed() {
        with_container(|store, container| {
            assert_eq!(wait(store, "app").unwrap(), 0);
            drop(run(&container));
            assert_eq!(wait(store, "app").unwrap(), KILLED);
            let note = container.folder.end_note().unwrap();
            container.folder.clone().remove().unwrap();
            let error = end_of(container.folder, note.as_ref(), "app").unwrap_err();
            assert_eq!(error.message, "no such container: app");
        });
    }
}
