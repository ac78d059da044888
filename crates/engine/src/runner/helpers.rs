//! What all run steps of a build share: one helper process, which all sandboxes are children of, and one network.
//!
//! Both are made when first needed (the network's `pasta` by the first socket). That takes a while, in which a core
//! idles; so a build that is about to run something has them made on a thread beside what comes before it.

use std::{
    os::fd::AsFd,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use galley_sandbox::{
    Spawner,
    probe::{self, Rung},
};
use galley_store::Store;

use super::{machine, network::SharedNetwork};
use crate::{Error, steps::files::store_error};

/// The helpers of one build.
#[derive(Debug)]
pub(super) struct Helpers {
    store: Store,
    /// Before the helper process that its own helper lives in.
    pub(super) network: SharedNetwork,
    spawner: Mutex<Option<Arc<Spawner>>>,
    /// Nothing is started any more.
    resting: AtomicBool,
}

impl Helpers {
    /// None yet.
    pub(super) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            network: SharedNetwork::default(),
            spawner: Mutex::default(),
            resting: AtomicBool::default(),
        }
    }

    /// The helper process.
    pub(super) fn spawner(&self) -> Result<Arc<Spawner>, Error> {
        let mut slot = lock(&self.spawner);
        if let Some(spawner) = &*slot {
            return Ok(Arc::clone(spawner));
        }
        let spawner = Arc::new(start(self.store.root())?);
        if spawner.makes_chroots() {
            // Roots of steps are in the folder of this process, with what they have borrowed: nobody is to take it for dead
            // while a guard still kills.
            let lock = self.store.session_lock().map_err(store_error)?;
            spawner.keep_open(lock.as_fd()).map_err(machine)?;
        }
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
            && !spawner.makes_chroots()
        {
            self.network.prepare(&spawner);
        }
    }
}

/// Starts a helper process of the best rung that carries. Nearly always that is the first, so a trial is only made where
/// it fails or cannot be trusted, and its result is kept.
pub(crate) fn start(folder: &Path) -> Result<Spawner, Error> {
    match probe::remembered(folder) {
        Some(Rung::Chroot) => return Spawner::start_chroot().map_err(machine),
        Some(_) => return Spawner::start().map_err(machine),
        None => {}
    }
    let started = if can_hold_overlays(folder) { Some(Spawner::start()) } else { None };
    if let Some(Ok(spawner)) = started {
        return Ok(spawner);
    }
    let rung = probe::trial(folder).map_err(machine)?.rung;
    if let Some(rung) = rung {
        probe::remember(folder, rung);
    }
    match (rung, started) {
        (Some(Rung::Chroot), _) => Spawner::start_chroot().map_err(machine),
        (_, Some(failed)) => failed.map_err(machine),
        (_, None) => Spawner::start().map_err(machine),
    }
}

/// Whether the file system of `folder` is none of those known not to take the layers of an overlay.
fn can_hold_overlays(folder: &Path) -> bool {
    const OVERLAYFS: u64 = 0x794c_7630;
    const NFS: u64 = 0x6969;
    rustix::fs::statfs(folder).is_ok_and(|found| ![OVERLAYFS, NFS].contains(&(found.f_type as u64)))
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
