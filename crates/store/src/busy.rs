//! Directories that something still uses which ends by itself, such as a mount that is taken apart.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Until its end a directory is not removed, and is no layer of another mount. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Busy(Arc<State>);

#[derive(Debug, Default)]
struct State {
    ended: Mutex<bool>,
    end: Condvar,
}

impl Busy {
    /// Says that it has ended.
    pub fn end(&self) {
        *self.0.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.end.notify_all();
    }

    /// Waits for the end.
    pub fn wait(&self) {
        let ended = self.0.ended.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.end.wait_while(ended, |ended| !*ended));
    }
}
