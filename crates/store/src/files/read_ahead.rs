//! Files that come from the disk, on their way before anybody reads them.
//!
//! Who reads many small files in turn waits for the disk once for each, which has one thing to do at a time then. So a second
//! thread asks the kernel for those that come next. Where files are in memory already, as a rule, that would be for nothing: it
//! begins when one is met that is not.

use std::{
    fs::File,
    io::IoSliceMut,
    path::{Path, PathBuf},
    thread,
};

use crossbeam_channel::{Sender, bounded};
use rustix::{
    fs::Advice,
    io::{Errno, ReadWriteFlags},
};

use super::open;

/// One in so many files is looked at.
const STRIDE: usize = 16;
/// Files that are asked for and not read yet.
const FILES: usize = 128;
/// What of each is asked for; the kernel itself looks ahead in a file that is read.
const BYTES: u64 = 256 << 10;

/// What knows of files that are read one after the other.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    read: usize,
    is_in_memory: fn(&File) -> bool,
    thread: Option<Sender<PathBuf>>,
}

impl Default for ReadAhead {
    fn default() -> Self {
        Self { read: 0, is_in_memory, thread: None }
    }
}

impl ReadAhead {
    /// To be told of each file when it is opened; `next` has the files after it.
    pub(crate) fn opened<'a>(&mut self, file: &File, mut next: impl Iterator<Item = &'a Path>) {
        self.read += 1;
        // One that is behind gets less to do.
        let tell = |thread: &Sender<PathBuf>, path: &Path| drop(thread.try_send(path.to_owned()));
        if let Some(thread) = &self.thread {
            next.nth(FILES - 1).into_iter().for_each(|path| tell(thread, path));
        } else if self.read.is_multiple_of(STRIDE) && !(self.is_in_memory)(file) {
            let Some(thread) = spawn() else { return };
            next.take(FILES).for_each(|path| tell(&thread, path));
            self.thread = Some(thread);
        }
    }
}

/// Nobody waits for its end.
fn spawn() -> Option<Sender<PathBuf>> {
    let (tell, told) = bounded::<PathBuf>(2 * FILES);
    let ask = move || told.into_iter().for_each(|path| ask(&path));
    thread::Builder::new().name("read-ahead".to_owned()).spawn(ask).ok()?;
    Some(tell)
}

/// What goes wrong here goes wrong again when the file is read.
fn ask(path: &Path) {
    let Ok(file) = open::plain(path) else { return };
    let _ = rustix::fs::fadvise(file, 0, BYTES.try_into().ok(), Advice::WillNeed);
}

/// Whether reading the file now would wait for no disk. Where the kernel does not say, it is taken to be so. To ask may have
/// the kernel fetch it.
fn is_in_memory(file: &File) -> bool {
    let mut byte = [0];
    let buffers = &mut [IoSliceMut::new(&mut byte)];
    rustix::io::preadv2(file, buffers, 0, ReadWriteFlags::NOWAIT) != Err(Errno::AGAIN)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fs_err as fs;

    use super::*;

    #[test]
    fn what_comes_next_is_asked_for_when_one_is_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..STRIDE + 20).map(|number| folder.path().join(number.to_string())).collect();
        for path in &paths {
            fs::write(path, [7; 5000]).unwrap();
            let file = open::plain(path).unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(file, 0, None, Advice::DontNeed).unwrap();
        }
        let mut ahead = ReadAhead { is_in_memory: |_| false, ..ReadAhead::default() };
        for (at, path) in paths.iter().enumerate().take(STRIDE) {
            assert!(ahead.thread.is_none());
            ahead.opened(&open::plain(path).unwrap(), paths[at + 1..].iter().map(PathBuf::as_path));
        }
        assert!(ahead.thread.is_some());
        let (next, last) = (&paths[STRIDE], &paths[STRIDE + 19]);
        while ![next, last].iter().all(|path| is_in_memory(&open::plain(path).unwrap())) {
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn files_in_memory_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "new").unwrap();
        let mut ahead = ReadAhead::default();
        for _ in 0..4 * STRIDE {
            ahead.opened(&open::plain(&path).unwrap(), std::iter::once(&*path));
        }
        assert!(ahead.thread.is_none());
    }

    #[test]
    fn a_file_that_is_not_there_is_none_of_its_business() {
        ask(Path::new("/nowhere/at/all"));
    }
}
