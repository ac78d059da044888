//! Bytes from one thread to the next, in chunks whose buffers go round. A few are under way at most: a slow reader slows
//! its writer down, and memory does not depend on what flows.

use std::io::{self, Read};

use crossbeam_channel::{Receiver, Sender, bounded};

const CHUNK_BYTES: usize = 256 * 1024;

/// Chunks between two threads.
const WAITING_MAX: usize = 4;

/// Empty buffers that are kept. More are not needed: every pipe is full at most, and every thread holds one.
const SPARE_MAX: usize = 4 * WAITING_MAX;

/// A buffer and how much of it counts.
#[derive(Debug)]
pub(super) struct Chunk {
    buffer: Box<[u8]>,
    length: usize,
}

impl Chunk {
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }

    /// Reads until it is full or the input ends.
    fn fill(&mut self, input: &mut impl Read, stop: &dyn Fn() -> bool) -> io::Result<()> {
        self.length = 0;
        while self.length < self.buffer.len() {
            if stop() {
                return Err(io::Error::other("stopped"));
            }
            match input.read(&mut self.buffer[self.length..]) {
                Ok(0) => break,
                Ok(count) => self.length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Buffers of all pipes that follow each other.
#[derive(Clone, Debug)]
pub(super) struct Buffers {
    spare: Sender<Chunk>,
    take: Receiver<Chunk>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        let (spare, take) = bounded(SPARE_MAX);
        Self { spare, take }
    }

    fn take(&self) -> Chunk {
        let new = || Chunk { buffer: vec![0; CHUNK_BYTES].into(), length: 0 };
        self.take.try_recv().unwrap_or_else(|_| new())
    }

    fn give_back(&self, chunk: Chunk) {
        let _ = self.spare.try_send(chunk);
    }

    /// Two ends: what is sent into one is read from the other.
    pub(super) fn pipe(&self) -> (Inlet, Outlet) {
        let (sender, receiver) = bounded(WAITING_MAX);
        let inlet = Inlet { sender, buffers: self.clone() };
        (inlet, Outlet { receiver, buffers: self.clone(), chunk: None, read: 0, ended: false })
    }
}

/// Where bytes go in. Dropped before [`end`](Self::end), it makes the other end fail.
#[derive(Debug)]
pub(super) struct Inlet {
    sender: Sender<Chunk>,
    buffers: Buffers,
}

/// Nobody reads from the other end any more.
#[derive(Debug)]
pub(super) struct Closed;

impl Inlet {
    pub(super) fn send(&self, chunk: Chunk) -> Result<(), Closed> {
        self.sender.send(chunk).map_err(|_| Closed)
    }

    /// The next chunk of `input`; `None` at its end. `stop` is asked before each read.
    pub(super) fn read(&self, input: &mut impl Read, stop: &dyn Fn() -> bool) -> io::Result<Option<Chunk>> {
        let mut chunk = self.buffers.take();
        chunk.fill(input, stop)?;
        Ok((chunk.length > 0).then_some(chunk))
    }

    /// That was all.
    pub(super) fn end(self) {
        let _ = self.sender.send(Chunk { buffer: Box::default(), length: 0 });
    }
}

/// Where bytes come out.
#[derive(Debug)]
pub(super) struct Outlet {
    receiver: Receiver<Chunk>,
    buffers: Buffers,
    chunk: Option<Chunk>,
    read: usize,
    ended: bool,
}

/// What has not come out yet, when the one who read it is gone.
#[derive(Debug)]
pub(super) struct Rest(Receiver<Chunk>);

impl Rest {
    /// Lets the other end come to its own end.
    pub(super) fn drain(self) {
        while self.0.recv().is_ok_and(|chunk| chunk.length > 0) {}
    }
}

impl Outlet {
    /// What will be left when somebody else has taken this one and dropped it.
    pub(super) fn rest(&self) -> Rest {
        Rest(self.receiver.clone())
    }

    /// The next chunk; `None` at the end. An error when the thread at the other end gave up: it knows why.
    pub(super) fn next(&mut self) -> io::Result<Option<Chunk>> {
        if self.ended {
            return Ok(None);
        }
        let gave_up = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the bytes stopped coming");
        let chunk = self.receiver.recv().map_err(gave_up)?;
        self.ended = chunk.length == 0;
        Ok((!self.ended).then_some(chunk))
    }
}

impl Read for Outlet {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_none() {
            (self.chunk, self.read) = (self.next()?, 0);
        }
        let Some(chunk) = &self.chunk else { return Ok(0) };
        let mut left = &chunk.bytes()[self.read..];
        let count = left.read(into)?;
        self.read += count;
        if self.read == chunk.length {
            self.chunk.take().into_iter().for_each(|chunk| self.buffers.give_back(chunk));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let sent: Vec<u8> = (0..CHUNK_BYTES * 11 + 3).map(|number| (number % 251) as u8).collect();
        let (inlet, mut outlet) = Buffers::new().pipe();
        let mut received = Vec::new();
        thread::scope(|scope| {
            let mut input = &sent[..];
            scope.spawn(move || {
                while let Some(chunk) = inlet.read(&mut input, &|| false).unwrap() {
                    inlet.send(chunk).unwrap();
                }
                inlet.end();
            });
            outlet.read_to_end(&mut received).unwrap();
        });
        assert!(received == sent);
        assert_eq!(outlet.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn a_writer_that_gives_up_is_an_error_and_no_end() {
        let (inlet, mut outlet) = Buffers::new().pipe();
        let chunk = inlet.read(&mut &b"half"[..], &|| false).unwrap().unwrap();
        inlet.send(chunk).unwrap();
        drop(inlet);
        let mut received = Vec::new();
        assert_eq!(outlet.read_to_end(&mut received).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(received, b"half");
    }

    #[test]
    fn a_reader_that_goes_away_stops_the_writer() {
        let (inlet, outlet) = Buffers::new().pipe();
        drop(outlet);
        let chunk = inlet.read(&mut &b"more"[..], &|| false).unwrap().unwrap();
        assert!(inlet.send(chunk).is_err());
    }
}
