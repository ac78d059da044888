//! A large file goes to the disk while it is being written: the barrier at the end would wait for all of it.

use std::{
    fs::File,
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

/// So much is written before the kernel is asked again.
const STEP_BYTES: u64 = 16 << 20;

/// Has the kernel write back what there is of one file, on a thread of its own. It promises nothing: only the barrier does.
#[derive(Debug, Default)]
pub(crate) struct WriteBack {
    /// How far it was asked for.
    asked: u64,
    thread: Option<SyncSender<()>>,
}

impl WriteBack {
    /// `file` is so long now.
    pub(crate) fn grown(&mut self, file: &File, length: u64) {
        if length < self.asked + STEP_BYTES {
            return;
        }
        self.asked = length;
        if self.thread.is_none() {
            self.thread = begin(file);
        }
        if let Some(thread) = &self.thread {
            // Who is still at it goes on with what has come meanwhile.
            let _ = thread.try_send(());
        }
    }
}

/// Without a thread the barrier takes longer.
fn begin(file: &File) -> Option<SyncSender<()>> {
    let file = file.try_clone().ok()?;
    let (send, asked) = sync_channel(1);
    let work = move || asked.iter().for_each(|()| drop(file.sync_data()));
    thread::Builder::new().name("write-back".to_owned()).spawn(work).ok()?;
    Some(send)
}
