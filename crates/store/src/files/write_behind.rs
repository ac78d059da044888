//! A large file is on its way to the disk while it is written, so that the barrier after it finds little left to do.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::losses::Failure;

/// Whenever so many bytes more are written, the disk gets them. Files that are smaller wait for the barrier.
const BYTES: u64 = 64 << 20;
/// A disk that takes longer for them is busy with what others write, for which the barrier has to wait in any case. Then it is
/// left alone.
const BUSY: Duration = Duration::from_secs(1);

/// A file that is written back by a thread of its own, one piece at a time. It promises nothing: only the barrier does.
#[derive(Debug)]
pub(crate) struct WriteBehind {
    file: File,
    /// Written since the thread was told last.
    pending: u64,
    thread: Option<Sender<()>>,
    failure: Arc<Failure>,
}

impl WriteBehind {
    pub(crate) const fn new(file: File, failure: Arc<Failure>) -> Self {
        Self { file, pending: 0, thread: None, failure }
    }

    fn tell(&mut self) {
        if self.thread.is_none() {
            self.thread = spawn(&self.file, &self.failure).ok();
        }
        // While it is at work the next piece becomes longer; when it has given up nobody listens.
        if self.thread.as_ref().is_some_and(|thread| thread.try_send(()).is_ok()) {
            self.pending = 0;
        }
    }
}

/// Nobody waits for its end.
fn spawn(file: &File, failure: &Arc<Failure>) -> io::Result<Sender<()>> {
    let (file, failure) = (file.try_clone()?, Arc::clone(failure));
    let (tell, told) = bounded(1);
    thread::Builder::new()
        .name("write-behind".to_owned())
        .spawn(move || write_back(&file, &told, &failure))?;
    Ok(tell)
}

fn write_back(file: &File, told: &Receiver<()>, failure: &Failure) {
    for () in told {
        let began = Instant::now();
        if let Err(error) = file.sync_data() {
            // The kernel tells the barrier, too, as long as this process lives.
            return failure.note(&error);
        }
        if began.elapsed() > BUSY {
            return;
        }
    }
}

impl Write for WriteBehind {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.pending += count as u64;
        if self.pending >= BYTES {
            self.tell();
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for WriteBehind {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_there_whether_or_not_anybody_writes_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut file = WriteBehind::new(
            fs_err::File::create_new(&path).unwrap().into_file(),
            Failure::new(folder.path().to_owned()),
        );
        file.pending = BYTES;
        file.write_all(b"0123").unwrap();
        assert!(file.thread.is_some() && file.pending == 0);
        // One that has given up is not asked again, and nobody minds.
        file.thread = Some(bounded(1).0);
        file.pending = BYTES;
        file.write_all(b"4567").unwrap();
        assert_eq!(file.pending, BYTES + 4);
        file.seek(SeekFrom::Start(2)).unwrap();
        file.write_all(b"xy").unwrap();
        drop(file);
        assert_eq!(fs_err::read(&path).unwrap(), b"01xy4567");
    }

    #[test]
    fn what_the_disk_does_not_take_is_told() {
        // A pipe cannot be written back.
        let (_reader, writer) = io::pipe().unwrap();
        let failure = Failure::new("/nowhere".into());
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let tell = spawn(&file, &failure).unwrap();
        tell.send(()).unwrap();
        while !failure.has_failed() {
            thread::yield_now();
        }
    }
}
