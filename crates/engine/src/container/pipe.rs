//! A pipe of the supervisor's own.

use crate::{Error, ErrorKind};

/// A pipe whose ends no other process inherits by accident.
pub(super) struct Pipe {
    pub(super) read: std::fs::File,
    pub(super) write: std::fs::File,
}

impl Pipe {
    pub(super) fn new() -> Result<Self, Error> {
        let ends = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (read, write) = ends.map_err(|errno| {
            Error::new(ErrorKind::Machine, "cannot make a pipe").because(std::io::Error::from(errno))
        })?;
        Ok(Self { read: read.into(), write: write.into() })
    }
}
