//! One switch that stops a build: set by Ctrl-C, asked by loops, heard by whoever waits for a process.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

type Listener = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    cancelled: bool,
    next: u64,
    listeners: Vec<(u64, Listener)>,
}

/// A switch that can be thrown once; cheap to clone, shared by all threads of a build.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Mutex<State>>);

impl Cancel {
    /// A switch not thrown yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Throws the switch and tells every listener, once.
    pub fn cancel(&self) {
        let listeners = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.cancelled = true;
            std::mem::take(&mut state.listeners)
        };
        for (_, listener) in listeners {
            listener();
        }
    }

    /// Whether the switch was thrown.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).cancelled
    }

    /// Calls `listener` when the switch is thrown (at once if it is already), unless the guard is dropped before.
    #[must_use = "the listener is forgotten when the guard is dropped"]
    pub fn on_cancel(&self, listener: impl FnOnce() + Send + 'static) -> CancelGuard {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.cancelled {
            drop(state);
            listener();
            return CancelGuard { cancel: self.clone(), id: u64::MAX };
        }
        let id = state.next;
        state.next += 1;
        state.listeners.push((id, Box::new(listener)));
        drop(state);
        CancelGuard { cancel: self.clone(), id }
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancel({})", self.is_cancelled())
    }
}

/// Keeps a listener registered.
#[derive(Debug)]
pub struct CancelGuard {
    cancel: Cancel,
    id: u64,
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        let mut state = self.cancel.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.listeners.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn listeners_hear_once_unless_dropped() {
        let (cancel, count) = (Cancel::new(), Arc::new(AtomicU32::new(0)));
        let listen = || {
            let count = Arc::clone(&count);
            cancel.on_cancel(move || {
                count.fetch_add(1, Ordering::SeqCst);
            })
        };
        let (kept, dropped) = (listen(), listen());
        drop(dropped);
        cancel.cancel();
        cancel.cancel();
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let _late = listen();
        assert_eq!(count.load(Ordering::SeqCst), 2);
        drop(kept);
        assert!(cancel.is_cancelled());
    }
}
