//! Collecting garbage: what nothing needs goes, least recently used first. docs/internals/collection.md says why nothing else
//! can go, whoever works beside it and whenever it dies.
//!
//! | | |
//! |---|---|
//! | [`inventory`] | what there is, and what leads to what |
//! | [`plan`](mod@plan) | what is to go: a function of the inventory |
//! | [`remove`] | out of sight by renames, while nobody looks; then from the disk |
//! | [`room`] | on a full disk: the few blocks that a collection needs |
//! | [`sizes`] | whether there is anything to do |

pub(crate) mod inventory;
pub(crate) mod plan;
mod remove;
mod room;
pub(crate) mod sizes;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use galley_oci::Digest;

pub use self::{
    inventory::{ImageRow, Inventory, RecordRow, Row, Rows},
    plan::{Keep, Kind, Object, Plan, Policy, objects, plan},
    sizes::Disk,
};
use self::{remove::Removal, sizes::Sizes};
use crate::{
    Store, StoreError,
    lock::{FileLock, LockMode},
    store::PACKED_FORMAT,
};

/// How long a collector that has all the time waits for processes that look something up.
const PATIENCE: Duration = Duration::from_millis(500);
/// And one at the end of a build.
const IMPATIENCE: Duration = Duration::from_millis(50);
/// The pause for others between two attempts to be alone.
const PAUSE: Duration = Duration::from_millis(50);
/// How many attempts are made by one that has all the time: half a minute and more.
const ATTEMPTS_MAX: u32 = 60;

/// With a time to keep, so much is put out of sight at once: what is out of sight has to be deleted.
const BATCH_BYTES: u64 = 1_000_000_000;

/// What a collection removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// The objects, in the order in which they went.
    pub objects: Vec<Object>,
    /// How many records and exports went.
    pub records: usize,
    /// Whether another process collects, or everybody was busy for too long: nothing, or not everything, was done.
    pub gave_up: bool,
}

impl Collected {
    /// The bytes of all that went.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.bytes).sum()
    }
}

/// One collector at a time works on a store; also whoever must not see things go.
#[derive(Debug)]
pub struct Turn {
    _lock: FileLock,
}

impl Store {
    /// Waits until no other process collects.
    pub fn collector_turn(&self) -> Result<Turn, StoreError> {
        self.later_folder("collector")?;
        // The one that collects wants to be alone: who waits for it must not be what it waits for.
        self.settle();
        Ok(Turn { _lock: FileLock::wait(&self.root().join("collector/turn"), LockMode::Exclusive)? })
    }

    /// `None` when another process collects.
    pub fn try_collector_turn(&self) -> Result<Option<Turn>, StoreError> {
        self.later_folder("collector")?;
        let lock = FileLock::attempt_now(&self.root().join("collector/turn"), LockMode::Exclusive)?;
        Ok(lock.map(|lock| Turn { _lock: lock }))
    }

    /// What there is. Nothing is changed but what is remembered of sizes.
    pub fn inventory(&self) -> Result<Inventory, StoreError> {
        let mut sizes = Sizes::load(self)?;
        let mut inventory = Inventory { leased: self.leased()?, ..Inventory::default() };
        inventory.refresh(self, &mut sizes)?;
        let bytes = inventory.bytes();
        // On a read-only disk it is only counted again.
        let _ = sizes.store(self, bytes);
        Ok(inventory)
    }

    /// Removes what `policy` says. Waits for its turn.
    pub fn collect(&self, policy: &Policy) -> Result<Collected, StoreError> {
        self.make_room()?;
        let _turn = self.collector_turn()?;
        let mut collector = Collector::new(self, policy, None)?;
        for _ in 0..ATTEMPTS_MAX {
            if collector.round(PATIENCE)?.is_some() {
                return collector.finish();
            }
            std::thread::sleep(PAUSE);
        }
        collector.collected.gave_up = true;
        collector.finish()
    }

    /// Removes what `policy` says as long as `time` lasts, and gives up where it would have to wait for others.
    pub fn collect_in(&self, policy: &Policy, time: Duration) -> Result<Collected, StoreError> {
        let nothing = Collected { gave_up: true, ..Collected::default() };
        let Some(_turn) = self.try_collector_turn()? else { return Ok(nothing) };
        let end = Instant::now() + time;
        let mut collector = Collector::new(self, policy, Some(BATCH_BYTES))?;
        while Instant::now() < end {
            match collector.round(IMPATIENCE)? {
                Some(true) => {}
                Some(false) => return collector.finish(),
                None => std::thread::sleep(PAUSE),
            }
        }
        collector.collected.gave_up = true;
        collector.finish()
    }

    /// Removes those of the images `ids` that nothing needs: no name, no other process and, unless `even_of_containers`, no container.
    /// Gives the ones that went. Decided while nobody else looks anything up, so whoever is about to need one is heard.
    pub fn remove_images(&self, ids: &[Digest], even_of_containers: bool) -> Result<Vec<Digest>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let _turn = self.collector_turn()?;
        self.admit(PACKED_FORMAT)?;
        for _ in 0..ATTEMPTS_MAX {
            if let Some(_alone) = self.alone(PATIENCE)? {
                let mut unneeded = ids.to_vec();
                let needed = Inventory::needed(self)?;
                unneeded.retain(|id| !needed.is_image_needed(id, even_of_containers));
                return remove::images(self, unneeded);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(Vec::new())
    }
}

/// A collection under way.
struct Collector<'a> {
    store: &'a Store,
    policy: &'a Policy,
    batch: Option<u64>,
    inventory: Inventory,
    sizes: Sizes,
    collected: Collected,
}

impl<'a> Collector<'a> {
    fn new(store: &'a Store, policy: &'a Policy, batch: Option<u64>) -> Result<Self, StoreError> {
        // An older program takes no leases: it must not use a store that is collected.
        store.admit(PACKED_FORMAT)?;
        let mut sizes = Sizes::load(store)?;
        let mut inventory = Inventory::default();
        // Most of the reading is done beside everybody.
        inventory.refresh(store, &mut sizes)?;
        Ok(Self { store, policy, batch, inventory, sizes, collected: Collected::default() })
    }

    /// Removes what is to go, or a batch of it: then the answer is that there is more. `None` when others are too busy.
    fn round(&mut self, patience: Duration) -> Result<Option<bool>, StoreError> {
        let mut removal = Removal::new(self.store)?;
        let more = {
            let Some(_alone) = self.store.alone(patience)? else { return Ok(None) };
            // Leases before what they are about: who ends in between has written what leads to what it leased.
            self.inventory.leased = self.store.leased()?;
            self.inventory.refresh(self.store, &mut self.sizes)?;
            let mut todo = plan(&self.inventory, self.policy);
            let more = self.batch.is_some_and(|batch| todo.cut(&self.inventory, batch));
            removal.hide(&todo, &self.inventory, self.policy)?;
            more
        };
        self.collected.records += removal.records;
        self.collected.objects.append(&mut removal.objects);
        removal.delete()?;
        Ok(Some(more))
    }

    /// Remembers how much is left.
    fn finish(mut self) -> Result<Collected, StoreError> {
        self.inventory.refresh(self.store, &mut self.sizes)?;
        self.sizes.store(self.store, self.inventory.bytes())?;
        Ok(self.collected)
    }
}
