//! What all run steps of a build share: one helper process, which all sandboxes are children of, and one network.
//!
//! Both are made when first needed. Both take a while (the network's `pasta` some 20 ms), in which a core idles; so a
//! build that is about to run something has them made on a thread beside what comes before it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use galley_sandbox::Spawner;

use super::{machine, network::SharedNetwork};
use crate::Error;

/// The helpers of one build.
#[derive(Debug, Default)]
pub(super) struct Helpers {
    /// Before the helper process that its own helper lives in.
    pub(super) network: SharedNetwork,
    spawner: Mutex<Option<Arc<Spawner>>>,
    /// Nothing is started any more.
    resting: AtomicBool,
}

impl Helpers {
    /// The helper process.
    pub(super) fn spawner(&self) -> Result<Arc<Spawner>, Error> {
        let mut slot = lock(&self.spawner);
        if let Some(spawner) = &*slot {
            return Ok(Arc::clone(spawner));
        }
        let spawner = Arc::new(Spawner::start().map_err(machine)?);
        *slot = Some(Arc::clone(&spawner));
        Ok(spawner)
    }

    /// What a step will ask for. Whatever fails here fails again for the step, which says so.
    fn start(&self, network: bool) {
        if self.resting.load(Ordering::Acquire) {
            return;
        }
        if let Ok(spawner) = self.spawner()
            && network
        {
            self.network.prepare(&spawner);
        }
    }
}

/// Starts helpers before they are asked for.
#[derive(Debug, Default)]
pub(super) struct Early {
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Begun without a network, and with one.
    begun: [AtomicBool; 2],
}

impl Early {
    /// Has them made on a thread, unless that has been asked for before.
    pub(super) fn begin(&self, helpers: &Arc<Helpers>, network: bool) {
        if self.begun[usize::from(network)].swap(true, Ordering::AcqRel) {
            return;
        }
        let helpers = Arc::clone(helpers);
        let thread = thread::Builder::new().name("helpers".to_owned()).spawn(move || helpers.start(network));
        // Without a thread the first step starts them.
        lock(&self.threads).extend(thread);
    }

    /// Ends them without waiting for their end, which dropping them does. Nothing may run by now.
    pub(super) fn rest(&self, helpers: &Helpers) {
        helpers.resting.store(true, Ordering::Release);
        if let Some(spawner) = &*lock(&helpers.spawner) {
            spawner.end();
        }
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        for thread in lock(&self.threads).drain(..) {
            drop(thread.join());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
