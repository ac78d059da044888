//! Closes what takes the kernel long, while something else goes on.

use std::{
    os::fd::OwnedFd,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use galley_store::Busy;

/// A thread that closes files, and is done when this is dropped.
#[derive(Debug)]
pub(super) struct Closer {
    files: Option<mpsc::Sender<Closing>>,
    thread: Option<JoinHandle<()>>,
}

/// A file that is to be closed.
#[derive(Debug)]
struct Closing {
    file: OwnedFd,
    busy: Busy,
}

impl Closing {
    fn finish(self) {
        drop(self.file);
        self.busy.end();
    }
}

impl Default for Closer {
    fn default() -> Self {
        let (files, received) = mpsc::channel::<Closing>();
        let close = move || received.into_iter().for_each(Closing::finish);
        let thread = thread::Builder::new().name("closer".to_owned()).spawn(close).ok();
        Self { files: Some(files), thread }
    }
}

impl Closer {
    /// What is used by the file is busy until it is closed.
    pub(super) fn close(&self, file: OwnedFd) -> Busy {
        let busy = Busy::default();
        let closing = Closing { file, busy: busy.clone() };
        // Without a thread nobody receives.
        if let Some(Err(unsent)) = self.files.as_ref().map(|files| files.send(closing)) {
            unsent.0.finish();
        }
        busy
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.files = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_busy_waits_until_it_is_closed() {
        let closer = Closer::default();
        let pipes: Vec<_> = (0..50).map(|_| rustix::pipe::pipe().unwrap()).collect();
        let readers: Vec<_> = pipes
            .into_iter()
            .map(|(reader, writer)| (std::fs::File::from(reader), closer.close(writer)))
            .collect();
        for (mut reader, busy) in readers {
            busy.wait();
            rustix::io::ioctl_fionbio(&reader, true).unwrap();
            assert_eq!(reader.read(&mut [0]).unwrap(), 0, "an open one would block");
        }
    }
}
