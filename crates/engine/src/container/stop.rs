//! `galley stop`, `kill` and `wait`: the program is asked to end, and after a while made to; or somebody waits for that.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    Container, Request, control,
    list::{KILL_TIME_MAX, KILLED},
    store_failed,
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

/// Waits until `container` has ended and is not to start again; its exit code.
pub fn wait(container: &Container) -> Result<i32, Error> {
    if !container.is_running() {
        return Ok(container.state.exit_code.unwrap_or_default());
    }
    let noted = container.folder.wait_end().map_err(store_failed)?;
    // A supervisor that was killed has noted nothing.
    Ok(noted.and_then(|code| code.trim().parse().ok()).unwrap_or(KILLED))
}

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
