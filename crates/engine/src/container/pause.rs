//! `galley pause` and `unpause`: all processes of a container stop, without knowing of it, and go on.

use std::os::fd::OwnedFd;

use galley_sandbox::message;
use rustix::net::Shutdown;

use super::{
    Container, ContainerConfig, Status,
    ask::{self, Answer, Ask},
    exec,
    watch::Watch,
};
use crate::{Error, ErrorKind};

/// Stops all processes of `container`.
pub fn pause(container: &Container) -> Result<(), Error> {
    if matches!(container.status, Status::Paused { .. }) {
        return Err(Error::new(ErrorKind::Usage, format!("container {} is paused already", container.name)));
    }
    asked(container, &Ask::Pause)
}

/// Lets them go on.
pub fn unpause(container: &Container) -> Result<(), Error> {
    if container.is_running() && !matches!(container.status, Status::Paused { .. }) {
        return Err(Error::new(ErrorKind::Usage, format!("container {} is not paused", container.name)));
    }
    asked(container, &Ask::Unpause)
}

/// A container that stands still until this is dropped, or this process ends in whatever way.
#[derive(Debug)]
pub(super) struct Still(OwnedFd);

impl Drop for Still {
    fn drop(&mut self) {
        // The answer says that it goes on; one that has ended meanwhile gives none.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Write);
        drop(ask::receive(&self.0, &mut Vec::new()));
    }
}

/// Stops all processes of `container` for a while.
pub(super) fn hold(container: &Container) -> Result<Still, Error> {
    ask::ask(container, &Ask::Hold, &[], &mut Vec::new()).map(Still).map_err(|(_, error)| error)
}

/// Lets the container stand still until the connection ends.
pub(super) fn serve(connection: &OwnedFd, config: &ContainerConfig, watch: &Watch) {
    let pause = match watch.pause(config) {
        Ok(pause) => pause,
        Err(error) => return ask::answer(connection, &Answer::failed(exec::NOT_RUNNING, &error), &[]),
    };
    ask::answer(connection, &Answer::Done, &[]);
    // Nothing more is said: this is its end.
    let _ = message::receive(connection, &mut [0], &mut Vec::new());
    drop(watch.unpause_of(pause));
    ask::answer(connection, &Answer::Done, &[]);
}

/// Asks for what needs nothing but an answer.
pub(super) fn asked(container: &Container, wanted: &Ask) -> Result<(), Error> {
    ask::ask(container, wanted, &[], &mut Vec::new()).map(drop).map_err(|(_, error)| error)
}
