//! `galley attach`: a container that runs already is seen, and typed to.

use std::{io::Write, os::fd::OwnedFd, sync::Arc};

use galley_sandbox::{Pty, message};
use galley_store::EndNote;
use rustix::io::Errno;

use super::{
    Container,
    ask::{self, Answer, Ask},
    audience::Scene,
    store_failed,
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
    end: Option<EndNote>,
}

/// How what was looked at came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The exit code.
    pub code: i32,
    /// Whether all was shown that the program wrote. Who watches a container waits only so long for somebody slow.
    pub whole: bool,
}

/// Looks at `container` from now on.
pub fn attach(container: &Container) -> Result<Attached, Error> {
    let mut files = Vec::new();
    // Before it can be over: a container may be removed then.
    let end = container.folder.end_note().map_err(store_failed)?;
    let connection = ask::ask(container, &Ask::Attach, &[], &mut files).map_err(|(_, error)| error)?;
    let file = files.pop();
    Ok(match container.config.tty {
        true => {
            Attached { connection, pty: file.map(|file| Arc::new(Pty::from_master(file))), stdin: None, end }
        }
        false => Attached { connection, pty: None, stdin: file.map(std::fs::File::from), end },
    })
}

impl Attached {
    /// Shows what the program writes to its end.
    pub fn watch(&self, show: impl FnMut(Stream, &[u8])) -> Result<Seen, Error> {
        match self.told(show) {
            Ok(code) => Ok(Seen { code, whole: true }),
            // Whoever tells is gone, and has left word unless it was killed.
            Err(error) => match self.noted() {
                Some(code) => Ok(Seen { code, whole: false }),
                None => Err(error),
            },
        }
    }

    fn noted(&self) -> Option<i32> {
        self.end.as_ref()?.read().ok()??.trim().parse().ok()
    }

    fn told(&self, mut show: impl FnMut(Stream, &[u8])) -> Result<i32, Error> {
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
    while let Some(scene) = seat.scene() {
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

#[cfg(test)]
mod tests {
    use galley_store::{OpenOptions, Store};
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    use super::*;

    /// As when whoever watches a container has waited long enough for somebody slow.
    #[test]
    fn an_end_that_nobody_tells_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), OpenOptions::default()).unwrap();
        let container = store.create_container("app", b"{}").unwrap();
        let lock = container.try_lock().unwrap().unwrap();
        let pair = || {
            let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
            rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap()
        };
        let attached = || {
            let ((connection, other), end) = (pair(), container.end_note().unwrap());
            message::send(&other, b"1abc", &[]).unwrap();
            Attached { connection, pty: None, stdin: None, end }
        };
        let (killed, ended) = (attached(), attached());
        assert!(killed.watch(|_, _| {}).is_err(), "nothing is noted");
        lock.note("7");
        drop(lock);
        // As with --rm.
        container.remove().unwrap();
        let mut seen = Vec::new();
        let end = ended.watch(|_, bytes| seen.extend_from_slice(bytes)).unwrap();
        assert_eq!((end, &*seen), (Seen { code: 7, whole: false }, &b"abc"[..]));
    }
}
