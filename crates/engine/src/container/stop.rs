//! `galley stop`: the program is asked to end, and after a while made to.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Container, Request, control, store_failed};
use crate::{Error, ErrorKind};

/// How often a stopping container is looked at.
const POLL: Duration = Duration::from_millis(10);

/// How long a killed container may take to go: the kernel has to end its processes.
const KILL_TIME_MAX: Duration = Duration::from_secs(10);

/// Asks the program of `container` to end; when it has not after `patience`, ends it. One that does not run is no error.
pub fn stop(container: &Container, patience: Option<Duration>) -> Result<(), Error> {
    if !send(container, Request::Stop)? || ended_within(container, patience)? {
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
