//! A connection that can be told to stop while it waits, and that does not wait for ever.

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use crate::{Limits, RegistryError, Stop};

/// How long the kernel waits before we look around.
const SLICE: Duration = Duration::from_millis(250);
/// The longest that one of several addresses is tried.
const ADDRESS_TIME: Duration = Duration::from_secs(5);

/// A TCP connection. Reads and writes end early when the caller wants to stop, when nothing moves for too long, and when
/// next to nothing moves for even longer.
pub(crate) struct Socket {
    stream: TcpStream,
    place: Arc<str>,
    stop: Stop,
    limits: Arc<Limits>,
    deadline: Option<Instant>,
    waited: Duration,
    moved: u64,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({})", self.place)
    }
}

impl Socket {
    /// Connects to `host` and `port`. `place` is what messages call it.
    pub(crate) fn connect(
        host: &str,
        port: u16,
        place: &str,
        stop: &Stop,
        limits: &Arc<Limits>,
    ) -> Result<Self, RegistryError> {
        let deadline = Instant::now() + limits.connect;
        let unreachable = |source: io::Error| unreachable(place, source);
        let stream = dial_aside(host, port, deadline, stop)?.map_err(unreachable)?;
        let prepared = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(SLICE)));
        prepared.and_then(|()| stream.set_write_timeout(Some(SLICE))).map_err(unreachable)?;
        Ok(Self {
            stream,
            place: place.into(),
            stop: Arc::clone(stop),
            limits: Arc::clone(limits),
            deadline: Some(deadline),
            waited: Duration::ZERO,
            moved: 0,
        })
    }

    /// The host and port, for messages.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Everything up to `deadline`; or, without one, as long as bytes keep moving.
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        if deadline.is_some() {
            (self.waited, self.moved) = (Duration::ZERO, 0);
        }
        self.deadline = deadline;
    }

    /// Whether the server has neither closed the connection nor sent anything that was not asked for.
    pub(crate) fn is_idle(&self) -> bool {
        let peeked = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut [0]));
        let silent = matches!(&peeked, Err(error) if error.kind() == ErrorKind::WouldBlock);
        silent && self.stream.set_nonblocking(false).is_ok()
    }

    fn patient(&mut self, mut attempt: impl FnMut(&mut TcpStream) -> io::Result<usize>) -> io::Result<usize> {
        let started = Instant::now();
        loop {
            if (self.stop)() {
                return Err(RegistryError::Stopped.into());
            }
            match attempt(&mut self.stream) {
                Ok(bytes) => return self.count(bytes, started.elapsed()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.check_patience(started)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn check_patience(&self, started: Instant) -> io::Result<()> {
        let now = Instant::now();
        let spent = match self.deadline {
            Some(deadline) => now >= deadline,
            None => now - started >= self.limits.stall,
        };
        if !spent {
            return Ok(());
        }
        let reason = format!("no answer in {:.0?}", now - started);
        Err(RegistryError::Unreachable { place: self.place.to_string(), reason, source: None }.into())
    }

    /// Next to nothing is as good as nothing: counted over the time spent waiting for the network, so that a slow reader of
    /// ours is not held against the server.
    fn count(&mut self, bytes: usize, waited: Duration) -> io::Result<usize> {
        if self.deadline.is_some() {
            return Ok(bytes);
        }
        self.waited += waited;
        self.moved += bytes as u64;
        if self.waited < self.limits.slow_window {
            return Ok(bytes);
        }
        let (time, moved) = (self.waited, self.moved);
        (self.waited, self.moved) = (Duration::ZERO, 0);
        if moved < self.limits.slow_bytes {
            return Err(RegistryError::TooSlow { place: self.place.to_string(), bytes: moved, time }.into());
        }
        Ok(bytes)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.patient(|stream| stream.read(buffer))
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patient(|stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unreachable(place: &str, source: io::Error) -> RegistryError {
    RegistryError::Unreachable {
        place: place.to_owned(),
        reason: source.to_string(),
        source: Some(Box::new(source)),
    }
}

/// Finding addresses cannot be interrupted, so a thread of its own does it, which is left behind on a request to stop.
fn dial_aside(
    host: &str,
    port: u16,
    deadline: Instant,
    stop: &Stop,
) -> Result<io::Result<TcpStream>, RegistryError> {
    let (sender, receiver) = mpsc::channel();
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let work = move || drop(sender.send(dial(&host, port, deadline)));
    if let Err(error) = thread::Builder::new().name("connect".to_owned()).spawn(work) {
        return Ok(Err(error));
    }
    loop {
        if stop() {
            return Err(RegistryError::Stopped);
        }
        match receiver.recv_timeout(SLICE) {
            Ok(dialled) => return Ok(dialled),
            Err(mpsc::RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
            Err(_) => return Ok(Err(ErrorKind::TimedOut.into())),
        }
    }
}

fn dial(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let found = (host, port).to_socket_addrs();
    // The kinds of these failures have no name yet.
    let found = found.map_err(|error| io::Error::new(ErrorKind::NotFound, error.to_string()))?;
    let addresses: Vec<_> = found.collect();
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let alone = index + 1 == addresses.len();
        let time = if alone { left } else { left.min(ADDRESS_TIME) };
        if time.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(address, time) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
