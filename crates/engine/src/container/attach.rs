//! `galley attach`: a container that runs already is seen, and typed to.

use std::{io::Write, os::fd::OwnedFd, sync::Arc};

use galley_sandbox::{Pty, message};
use rustix::io::Errno;

use super::{
    Container,
    ask::{self, Answer, Ask},
    audience::Scene,
    watch::Watch,
};
use crate::{Error, events::Stream};

/// The longest piece of output: what the supervisor reads at once, and its stream.
const PIECE_BYTES_MAX: usize = (64 << 10) + 1;
/// The first byte of a piece of output, for each stream; answers begin with a brace.
const STDOUT: u8 = b'1';
const STDERR: u8 = b'2';

/// A container that is looked at.
#[derive(Debug)]
pub struct Attached {
    connection: OwnedFd,
    /// Its terminal, when it has one.
    pub pty: Option<Arc<Pty>>,
    /// Where the program reads, when it has no terminal and standard input was kept open.
    pub stdin: Option<std::fs::File>,
}

/// Looks at `container` from now on.
pub fn attach(container: &Container) -> Result<Attached, Error> {
    let mut files = Vec::new();
    let connection = ask::ask(container, &Ask::Attach, &[], &mut files).map_err(|(_, error)| error)?;
    let file = files.pop();
    Ok(match container.config.tty {
        true => Attached { connection, pty: file.map(|file| Arc::new(Pty::from_master(file))), stdin: None },
        false => Attached { connection, pty: None, stdin: file.map(std::fs::File::from) },
    })
}

impl Attached {
    /// Shows what the program writes to its end; the exit code.
    pub fn watch(&self, mut show: impl FnMut(Stream, &[u8])) -> Result<i32, Error> {
        let mut buffer = vec![0; PIECE_BYTES_MAX];
        loop {
            let length =
                message::receive(&self.connection, &mut buffer, &mut Vec::new()).map_err(ask::lost)?;
            let piece = buffer.get(..length).unwrap_or_default();
            match piece.split_first() {
                Some((&STDOUT, bytes)) => show(Stream::Stdout, bytes),
                Some((&STDERR, bytes)) => show(Stream::Stderr, bytes),
                _ => {
                    return match serde_json::from_slice(piece) {
                        Ok(Answer::Ended { code }) => Ok(code),
                        _ => Err(ask::lost(Errno::PIPE)),
                    };
                }
            }
        }
    }
}

/// Shows one who asked what there is to see, until the program ends or they leave.
pub(super) fn serve(connection: &OwnedFd, watch: &Watch) {
    let seat = watch.audience.sit_down();
    let Some(inside) = watch.inside() else {
        let error = Error::new(crate::ErrorKind::Usage, "the container does not run just now");
        return ask::answer(connection, &Answer::failed(super::exec::NOT_RUNNING, &error), &[]);
    };
    let files = match &inside.pty {
        Some(pty) => ask::fds(Some(&**pty)),
        None => ask::fds(inside.stdin.as_ref()),
    };
    ask::answer(connection, &Answer::Done, &files);
    drop(files);
    drop(inside);
    let mut packet = Vec::new();
    for scene in &seat.scenes {
        match scene {
            Scene::Wrote(stream, bytes) => {
                packet.clear();
                packet.push(if matches!(stream, Stream::Stdout) { STDOUT } else { STDERR });
                drop(packet.write_all(&bytes));
                if message::send(connection, &packet, &[]).is_err() {
                    return;
                }
            }
            Scene::Ended(code) => return ask::answer(connection, &Answer::Ended { code }, &[]),
        }
    }
}
