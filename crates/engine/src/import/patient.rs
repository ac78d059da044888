//! Reading from whoever may be slow: a pipe, a terminal, a file.

use std::{
    fs::File,
    io::{self, Read},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Cancel;

/// How soon Ctrl-C is noticed while nothing comes.
const INTERVAL: Duration = Duration::from_millis(100);

/// A file that is waited for until somebody presses Ctrl-C.
#[derive(Debug)]
pub(crate) struct Patient {
    file: File,
    stop: Cancel,
}

impl Patient {
    pub(crate) fn new(file: File, stop: &Cancel) -> Self {
        Self { file, stop: stop.clone() }
    }

    /// Whether something, or the end, is there to be read.
    fn is_ready(&self) -> io::Result<bool> {
        let interval = Timespec { tv_sec: 0, tv_nsec: INTERVAL.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&interval)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stop.is_cancelled() {
                return Err(io::Error::other("cancelled"));
            }
            if self.is_ready()? {
                return self.file.read(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    #[test]
    fn a_pipe_that_nobody_writes_into_is_left_at_ctrl_c() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let stop = Cancel::new();
        let mut patient = Patient::new(reader.into(), &stop);
        let reading = thread::spawn(move || patient.read(&mut [0; 8]).map_err(|error| error.to_string()));
        thread::sleep(Duration::from_millis(20));
        assert!(!reading.is_finished());
        stop.cancel();
        assert_eq!(reading.join().unwrap(), Err("cancelled".to_owned()));
        drop(writer);
    }
}
