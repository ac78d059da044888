//! A reader that tells how far it is.

use std::{
    io::{self, Read},
    time::{Duration, Instant},
};

use galley_oci::Descriptor;

use crate::{
    Event, Events,
    events::{Direction, TransferState},
};

/// How often it tells.
const INTERVAL: Duration = Duration::from_millis(100);

/// Bytes of one blob on their way.
#[derive(Debug)]
pub struct Transfer<'a, R> {
    inner: R,
    events: &'a Events,
    name: &'a str,
    blob: &'a Descriptor,
    direction: Direction,
    done: u64,
    told: Instant,
}

impl<'a, R> Transfer<'a, R> {
    /// Tells `events` of what is read through it.
    pub fn new(
        inner: R,
        events: &'a Events,
        name: &'a str,
        blob: &'a Descriptor,
        direction: Direction,
    ) -> Self {
        let transfer = Self { inner, events, name, blob, direction, done: 0, told: Instant::now() };
        transfer.tell(TransferState::Running);
        transfer
    }

    /// Everything has passed.
    pub fn done(self) {
        self.tell(TransferState::Done);
    }

    fn tell(&self, state: TransferState) {
        self.events.emit(Event::Transfer {
            name: self.name.to_owned(),
            blob: self.blob.digest.to_string(),
            direction: self.direction,
            done: self.done,
            total: self.blob.size,
            state,
        });
    }
}

impl<R: Read> Read for Transfer<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        if self.told.elapsed() >= INTERVAL {
            self.told = Instant::now();
            self.tell(TransferState::Running);
        }
        Ok(count)
    }
}
