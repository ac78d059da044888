//! Closes what takes the kernel long, while something else goes on.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

/// A thread that closes files, and is done when this is dropped.
#[derive(Debug)]
pub(super) struct Closer {
    open: Arc<Open>,
    files: Option<mpsc::Sender<OwnedFd>>,
    thread: Option<JoinHandle<()>>,
}

/// How many files are still to be closed.
#[derive(Debug, Default)]
struct Open {
    count: Mutex<usize>,
    none: Condvar,
}

impl Open {
    fn change(&self, change: impl FnOnce(&mut usize)) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut count);
        if *count == 0 {
            self.none.notify_all();
        }
    }
}

impl Default for Closer {
    fn default() -> Self {
        let (files, received) = mpsc::channel::<OwnedFd>();
        let open = Arc::<Open>::default();
        let close = {
            let open = Arc::clone(&open);
            move || {
                for file in received {
                    drop(file);
                    open.change(|count| *count -= 1);
                }
            }
        };
        let thread = thread::Builder::new().name("closer".to_owned()).spawn(close).ok();
        Self { open, files: Some(files), thread }
    }
}

impl Closer {
    pub(super) fn close(&self, file: OwnedFd) {
        self.open.change(|count| *count += 1);
        // Without a thread nobody receives.
        if let Some(Err(unsent)) = self.files.as_ref().map(|files| files.send(file)) {
            drop(unsent);
            self.open.change(|count| *count -= 1);
        }
    }

    /// Waits until everything is closed.
    pub(super) fn wait(&self) {
        let count = self.open.count.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.open.none.wait_while(count, |count| *count > 0));
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
    fn waits_until_all_is_closed() {
        let closer = Closer::default();
        closer.wait();
        let pipes: Vec<_> = (0..50).map(|_| rustix::pipe::pipe().unwrap()).collect();
        let readers: Vec<_> = pipes
            .into_iter()
            .map(|(reader, writer)| {
                closer.close(writer);
                std::fs::File::from(reader)
            })
            .collect();
        closer.wait();
        for mut reader in readers {
            rustix::io::ioctl_fionbio(&reader, true).unwrap();
            assert_eq!(reader.read(&mut [0]).unwrap(), 0, "an open one would block");
        }
    }
}
