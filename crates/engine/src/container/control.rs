//! How other galley processes reach the one that supervises a container: a named pipe in the container's folder.
//!
//! A pipe and not a socket, whose path may have only a hundred bytes; and not a signal to a process id, which may be
//! somebody else's by then.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    thread,
    time::Duration,
};

use fs_err as fs;
use rustix::{
    fs::{CWD, FileType, Mode, OFlags},
    io::Errno,
};

use crate::{Error, ErrorKind};

/// No request is longer.
const LINE_BYTES_MAX: u64 = 256;
/// The pause after the pipe could not be read.
const PAUSE: Duration = Duration::from_millis(100);

/// What a supervisor may be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Pass a signal on to the container's first process.
    Signal(i32),
    /// Ask the program to end in its own way.
    Stop,
    /// Ask it to end by another signal than its own.
    StopBy(i32),
    /// End every process of the container.
    Kill,
}

impl Request {
    fn line(self) -> String {
        match self {
            Self::Signal(signal) => format!("signal {signal}\n"),
            Self::Stop => "stop\n".to_owned(),
            Self::StopBy(signal) => format!("stop {signal}\n"),
            Self::Kill => "kill\n".to_owned(),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ') {
            Some(("signal", number)) => number.parse().ok().map(Self::Signal),
            Some(("stop", number)) => number.parse().ok().map(Self::StopBy),
            None if line == "stop" => Some(Self::Stop),
            None if line == "kill" => Some(Self::Kill),
            _ => None,
        }
    }
}

/// Listens on the pipe at `path` until this process ends, and calls `act` for each request.
pub(super) fn listen(path: &Path, act: impl Fn(Request) + Send + 'static) -> Result<(), Error> {
    let failed = |source: std::io::Error| {
        Error::new(ErrorKind::Store, format!("cannot listen on {}", path.display())).because(source)
    };
    match rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    // Open for writing too: so the pipe never ends while nobody else has it open.
    let pipe = fs::OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
    let requests = move || {
        let (mut pipe, mut line) = (BufReader::new(pipe), Vec::new());
        loop {
            line.clear();
            // It never ends; whatever goes wrong goes wrong once, and what is no request is passed over.
            if Read::take(&mut pipe, LINE_BYTES_MAX).read_until(b'\n', &mut line).is_err() {
                thread::sleep(PAUSE);
            }
            let text = str::from_utf8(&line).unwrap_or_default();
            if let Some(request) = Request::parse(text.trim_end_matches('\n')) {
                act(request);
            }
        }
    };
    thread::Builder::new().name("control".to_owned()).spawn(requests).map(drop).map_err(failed)
}

/// Whether anybody listens on the pipe at `path`; what cannot be found out is so.
pub(super) fn is_heard(path: &Path) -> bool {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    !matches!(rustix::fs::openat(CWD, path, flags, Mode::empty()), Err(Errno::NXIO | Errno::NOENT))
}

/// Sends a request to whoever listens on the pipe at `path`; `false` when nobody does.
pub(super) fn send(path: &Path, request: Request) -> Result<bool, Error> {
    let failed = |source: std::io::Error| {
        Error::new(ErrorKind::Store, format!("cannot reach the container by {}", path.display()))
            .because(source)
    };
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Ok(pipe) => {
            std::fs::File::from(pipe).write_all(request.line().as_bytes()).map_err(failed)?;
            Ok(true)
        }
        Err(Errno::NXIO | Errno::NOENT) => Ok(false),
        Err(errno) => Err(failed(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn requests_arrive_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        assert!(!send(&path, Request::Stop).unwrap() && !is_heard(&path), "nobody listens yet");
        let (sender, receiver) = mpsc::channel();
        listen(&path, move |request| sender.send(request).unwrap()).unwrap();
        assert!(is_heard(&path));
        fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(b"\xff\xfe nonsense\n\n").unwrap();
        for request in [Request::Stop, Request::StopBy(2), Request::Signal(15), Request::Kill] {
            assert!(send(&path, request).unwrap());
            assert_eq!(receiver.recv_timeout(Duration::from_secs(60)), Ok(request));
        }
    }
}
