//! `galley pause` and `unpause`: all processes of a container stop, without knowing of it, and go on.

use super::{
    Container, Status,
    ask::{self, Ask},
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

/// Asks for what needs nothing but an answer.
pub(super) fn asked(container: &Container, wanted: &Ask) -> Result<(), Error> {
    ask::ask(container, wanted, &[], &mut Vec::new()).map(drop).map_err(|(_, error)| error)
}
