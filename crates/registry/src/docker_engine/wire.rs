//! Just enough HTTP/1.1 for one question to an engine: a body in chunks one way, a short answer the other.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use crate::{RegistryError, Stop};

/// How often is asked whether to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The longest head of an answer.
const HEAD_BYTES_MAX: u64 = 64 << 10;
/// The longest body of an answer.
const BODY_BYTES_MAX: u64 = 1 << 20;
/// The longest line between chunks.
const LINE_BYTES_MAX: u64 = 256;

/// A connection that is patient, but not for ever, and that can be stopped.
pub(super) struct Wire {
    reader: BufReader<Patient>,
}

/// What was said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

struct Patient {
    stream: UnixStream,
    stop: Stop,
    silence_max: Duration,
}

impl Wire {
    pub(super) fn new(stream: UnixStream, stop: Stop, silence_max: Duration) -> io::Result<Self> {
        stream.set_read_timeout(Some(POLL_INTERVAL))?;
        stream.set_write_timeout(Some(POLL_INTERVAL))?;
        Ok(Self { reader: BufReader::new(Patient { stream, stop, silence_max }) })
    }

    /// Sends bytes as they are.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Sends a piece of a body.
    pub(super) fn send_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send(format!("{:x}\r\n", bytes.len()).as_bytes())?;
        self.send(bytes)?;
        self.send(b"\r\n")
    }

    /// Reads the answer.
    pub(super) fn answer(&mut self) -> io::Result<Answer> {
        read_answer(&mut self.reader)
    }
}

impl Patient {
    /// Does what `action` does, again and again until it is done.
    fn persist(&mut self, mut action: impl FnMut(&mut UnixStream) -> io::Result<usize>) -> io::Result<usize> {
        let begin = Instant::now();
        loop {
            match action(&mut self.stream) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                done => return done,
            }
            if (self.stop)() {
                return Err(io::Error::other(RegistryError::Stopped));
            }
            if begin.elapsed() > self.silence_max {
                let seconds = self.silence_max.as_secs();
                return Err(io::Error::other(format!("nothing happened for {seconds} seconds")));
            }
        }
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.persist(|stream| stream.read(buffer))
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.persist(|stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Chunks,
    Bytes(u64),
    UntilTheEnd,
}

/// Reads a status, and a body of any kind.
pub(super) fn read_answer(reader: &mut impl BufRead) -> io::Result<Answer> {
    let mut head = reader.by_ref().take(HEAD_BYTES_MAX);
    loop {
        let status = status_of(&line(&mut head, HEAD_BYTES_MAX)?)?;
        let length = length_of(&mut head)?;
        // 1xx is not the answer yet.
        if status >= 200 {
            let reader = head.into_inner();
            return Ok(Answer { status, body: body(reader, length)? });
        }
    }
}

fn status_of(line: &str) -> io::Result<u16> {
    let mut words = line.split(' ');
    let is_http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
    let status = words.next().filter(|word| is_http && word.len() == 3).and_then(|word| word.parse().ok());
    status.ok_or_else(|| io::Error::other("it does not speak HTTP"))
}

fn length_of(head: &mut impl BufRead) -> io::Result<Length> {
    let mut length = Length::UntilTheEnd;
    loop {
        let line = line(head, HEAD_BYTES_MAX)?;
        if line.is_empty() {
            return Ok(length);
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        if name.eq_ignore_ascii_case("transfer-encoding") {
            length = Length::Chunks;
        } else if name.eq_ignore_ascii_case("content-length") && length != Length::Chunks {
            length = value.trim().parse().map_or(Length::UntilTheEnd, Length::Bytes);
        }
    }
}

fn body(reader: &mut impl BufRead, length: Length) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    match length {
        Length::Chunks => {
            while let Some(size) = chunk_size(reader)? {
                piece(reader, size, &mut body)?;
                line(reader, LINE_BYTES_MAX)?;
            }
        }
        Length::Bytes(bytes) => piece(reader, bytes, &mut body)?,
        Length::UntilTheEnd => {
            reader.take(BODY_BYTES_MAX + 1).read_to_end(&mut body)?;
        }
    }
    if body.len() as u64 > BODY_BYTES_MAX {
        return Err(too_long());
    }
    Ok(body)
}

fn piece(reader: &mut impl BufRead, bytes: u64, body: &mut Vec<u8>) -> io::Result<()> {
    if bytes > BODY_BYTES_MAX.saturating_sub(body.len() as u64) {
        return Err(too_long());
    }
    let read = reader.take(bytes).read_to_end(body)?;
    if (read as u64) < bytes { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// The size of the next chunk; none after the last.
fn chunk_size(reader: &mut impl BufRead) -> io::Result<Option<u64>> {
    let line = line(reader, LINE_BYTES_MAX)?;
    let digits = line.split(';').next().unwrap_or_default().trim();
    let size =
        u64::from_str_radix(digits, 16).map_err(|_| io::Error::other("a chunk of its answer has no size"))?;
    Ok((size > 0).then_some(size))
}

fn line(reader: &mut impl BufRead, bytes_max: u64) -> io::Result<String> {
    let mut line = Vec::new();
    reader.take(bytes_max).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn too_long() -> io::Error {
    io::Error::other(format!("its answer has more than {BODY_BYTES_MAX} bytes"))
}
