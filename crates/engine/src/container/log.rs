//! A container's log: one JSON object a line, in docker's json-file form, so that nothing of the output is lost: which
//! stream, when, and lines without an end.

use std::{
    io::{self, BufRead, Read, Write},
    sync::{Mutex, PoisonError},
};

use galley_oci::Time;
use serde::{Deserialize, Serialize};

use crate::{clock, events::Stream};

/// Output longer than this without a line end is cut into pieces, as docker does.
const LINE_BYTES_MAX: usize = 16 << 10;
/// The longest line of a log: JSON takes six characters for some bytes.
const LOG_LINE_BYTES_MAX: usize = 6 * LINE_BYTES_MAX + 1024;

/// One piece of output: a line with its end, or what came before the stream ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The text. Bytes that are no UTF-8 are replaced, as docker does.
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// RFC 3339.
    pub time: String,
}

impl LogLine {
    /// When it was written.
    #[must_use]
    pub fn written(&self) -> Option<Time> {
        Time::parse_rfc3339(&self.time)
    }
}

/// Writes the log of one container, from both streams.
pub(super) struct LogWriter<W> {
    inner: Mutex<Inner<W>>,
}

struct Inner<W> {
    out: W,
    /// What came of each stream since its last line end.
    pending: [Vec<u8>; 2],
}

impl<W: Write> LogWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { inner: Mutex::new(Inner { out, pending: [Vec::new(), Vec::new()] }) }
    }

    /// Takes what a stream wrote.
    pub(super) fn take(&self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let pending = &mut inner.pending[stream as usize];
            pending.extend_from_slice(piece);
            if piece.ends_with(b"\n") || pending.len() >= LINE_BYTES_MAX {
                inner.write(stream)?;
            }
        }
        Ok(())
    }

    /// Writes what has no line end.
    pub(super) fn finish(&self) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.write(Stream::Stdout)?;
        inner.write(Stream::Stderr)
    }
}

impl<W: Write> Inner<W> {
    fn write(&mut self, stream: Stream) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.pending[stream as usize]);
        if bytes.is_empty() {
            return Ok(());
        }
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let line = LogLine {
            log: String::from_utf8_lossy(&bytes).into_owned(),
            stream: name.to_owned(),
            time: clock::now().rfc3339(),
        };
        // One write call for each line, so that a reader never sees half of one.
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        self.out.write_all(&text)
    }
}

/// The next line of a log; `None` at its present end. A line that is being written waits for the rest.
pub fn read_line(reader: &mut dyn BufRead, partial: &mut Vec<u8>) -> io::Result<Option<LogLine>> {
    loop {
        let room = LOG_LINE_BYTES_MAX.saturating_sub(partial.len());
        Read::take(&mut *reader, room as u64).read_until(b'\n', partial)?;
        if !partial.ends_with(b"\n") {
            if partial.len() < LOG_LINE_BYTES_MAX {
                return Ok(None);
            }
            // No line of ours is that long: what follows is passed over up to the next line that is one.
            partial.clear();
            continue;
        }
        let line = serde_json::from_slice(partial);
        partial.clear();
        // A line that a full disk cut short is passed over.
        if let Ok(line) = line {
            return Ok(Some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Any bytes between two lines of ours are passed over, and both lines are read.
        #[test]
        fn foreign_lines_are_passed_over(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            json in "[]\\[{}\":,a-z0-9\\\\ \n]{0,80}",
        ) {
            let ours = |log: &str| {
                let line = LogLine { log: log.to_owned(), stream: "stdout".into(), time: "t".into() };
                [serde_json::to_vec(&line).unwrap(), b"\n".to_vec()].concat()
            };
            let log = [ours("first"), bytes, json.into_bytes(), b"\n".to_vec(), ours("last")].concat();
            let (mut reader, mut partial, mut seen) = (&log[..], Vec::new(), Vec::new());
            while let Some(line) = read_line(&mut reader, &mut partial).unwrap() {
                let _ = line.written();
                seen.push(line.log);
            }
            prop_assert_eq!((seen.first().unwrap().as_str(), seen.last().unwrap().as_str()), ("first", "last"));
        }
    }

    #[test]
    fn lines_keep_their_stream_and_partial_ones_wait() {
        let mut bytes = Vec::new();
        let log = LogWriter::new(&mut bytes);
        for (stream, text) in
            [(Stream::Stdout, "one\ntw"), (Stream::Stderr, "err\n"), (Stream::Stdout, "o\nend")]
        {
            log.take(stream, text.as_bytes()).unwrap();
        }
        log.finish().unwrap();
        let (mut reader, mut partial, mut seen) = (&bytes[..], Vec::new(), Vec::new());
        while let Some(line) = read_line(&mut reader, &mut partial).unwrap() {
            seen.push((line.stream, line.log));
        }
        let expected = [("stdout", "one\n"), ("stderr", "err\n"), ("stdout", "two\n"), ("stdout", "end")];
        assert_eq!(seen, expected.map(|(stream, text)| (stream.to_owned(), text.to_owned())));
    }

    #[test]
    fn a_line_without_end_takes_no_memory_without_end() {
        let last =
            serde_json::to_vec(&LogLine { log: "end\n".into(), stream: "stdout".into(), time: "t".into() });
        let bytes =
            [b"x".repeat(10 * LOG_LINE_BYTES_MAX), b"\n".to_vec(), last.unwrap(), b"\n".to_vec()].concat();
        let (mut reader, mut partial) = (&bytes[..], Vec::new());
        let line = read_line(&mut reader, &mut partial).unwrap();
        assert_eq!(line.map(|line| line.log).as_deref(), Some("end\n"));
        assert!(partial.capacity() <= 2 * LOG_LINE_BYTES_MAX);
    }

    #[test]
    fn half_a_line_is_not_read() {
        let (mut reader, mut partial) = (&br#"{"log":"x"#[..], Vec::new());
        assert_eq!(read_line(&mut reader, &mut partial).unwrap(), None);
        assert_eq!(partial, br#"{"log":"x"#);
    }
}
