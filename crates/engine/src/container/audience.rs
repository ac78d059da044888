//! Who looks on while a container runs: `galley attach`. Each of them gets what the program writes from now on.

use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
    mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
};
use std::time::{Duration, Instant};

use crate::events::Stream;

/// How many pieces may wait for somebody who does not read. Then the program waits too, as in docker.
const WAITING_MAX: usize = 64;
/// How long the last words may take to those who are still there.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(2);

/// What is seen.
#[derive(Clone, Debug)]
pub(super) enum Scene {
    /// The program wrote.
    Wrote(Stream, Arc<[u8]>),
    /// It has ended with this code.
    Ended(i32),
}

type Piece = (Stream, Arc<[u8]>);

/// All who look on.
#[derive(Debug, Default)]
pub(super) struct Audience {
    seats: Mutex<Seats>,
    present: Mutex<usize>,
    left: Condvar,
}

/// Those of one run of the program.
#[derive(Debug, Default)]
struct Seats {
    senders: Vec<SyncSender<Piece>>,
    /// How it ended. Not one of the pieces: for those there may be no room.
    code: Arc<OnceLock<i32>>,
}

/// The seat of one; it counts as taken until this is dropped.
#[derive(Debug)]
pub(super) struct Seat<'a> {
    audience: &'a Audience,
    pieces: Receiver<Piece>,
    code: Arc<OnceLock<i32>>,
}

impl Seat<'_> {
    /// What comes next, waiting for it.
    pub(super) fn scene(&self) -> Option<Scene> {
        match self.pieces.recv() {
            Ok((stream, bytes)) => Some(Scene::Wrote(stream, bytes)),
            Err(_) => self.code.get().copied().map(Scene::Ended),
        }
    }
}

impl Audience {
    /// One more.
    pub(super) fn sit_down(&self) -> Seat<'_> {
        let (sender, pieces) = sync_channel(WAITING_MAX);
        *self.present() += 1;
        let mut seats = self.seats();
        seats.senders.push(sender);
        Seat { audience: self, pieces, code: Arc::clone(&seats.code) }
    }

    /// Shows all of them what was written.
    pub(super) fn show(&self, stream: Stream, bytes: &[u8]) {
        // Not under the lock: who does not read would keep others from coming.
        let seats = self.seats().senders.clone();
        if seats.is_empty() {
            return;
        }
        let bytes: Arc<[u8]> = bytes.into();
        let mut gone = false;
        for seat in &seats {
            gone |= seat.send((stream, Arc::clone(&bytes))).is_err();
        }
        if gone {
            let nothing = || (stream, Arc::default());
            // Who has no room just now is still there.
            self.seats()
                .senders
                .retain(|seat| !matches!(seat.try_send(nothing()), Err(TrySendError::Disconnected(_))));
        }
    }

    /// Tells them that it is over, and waits a moment for them to leave. Who is slow learns it all the same, after all that
    /// was written, if this process is still there by then.
    pub(super) fn end(&self, code: i32) {
        let Seats { senders, code: ended } = std::mem::take(&mut *self.seats());
        let _ = ended.set(code);
        drop(senders);
        let until = Instant::now() + LEAVE_TIME_MAX;
        let mut present = self.present();
        while *present > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            present = self.left.wait_timeout(present, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn present(&self) -> MutexGuard<'_, usize> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        *self.audience.present() -= 1;
        self.audience.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_sees_what_comes_after_them_and_the_end() {
        let audience = Audience::default();
        audience.show(Stream::Stdout, b"before");
        std::thread::scope(|scope| {
            let seat = audience.sit_down();
            let seen = scope.spawn(move || {
                let both = [seat.scene(), seat.scene()];
                both.map(|scene| format!("{:?}", scene.unwrap()))
            });
            audience.show(Stream::Stderr, b"a");
            audience.end(3);
            assert_eq!(seen.join().unwrap(), ["Wrote(Stderr, [97])", "Ended(3)"]);
        });
    }

    #[test]
    fn who_left_keeps_nobody_from_seeing() {
        let audience = Audience::default();
        drop(audience.sit_down());
        let seat = audience.sit_down();
        audience.show(Stream::Stdout, b"a");
        assert_eq!(format!("{:?}", seat.pieces.try_recv().unwrap()), "(Stdout, [97])");
    }

    #[test]
    fn who_left_is_forgotten() {
        let audience = Audience::default();
        drop(audience.sit_down());
        audience.show(Stream::Stdout, b"a");
        assert!(audience.seats().senders.is_empty());
        audience.end(0);
    }

    #[test]
    fn who_is_slow_stays_when_another_leaves() {
        let audience = Audience::default();
        let slow = audience.sit_down();
        (1..WAITING_MAX).for_each(|_| audience.show(Stream::Stdout, b"a"));
        drop(audience.sit_down());
        audience.show(Stream::Stdout, b"last that fits");
        assert_eq!(slow.pieces.try_iter().count(), WAITING_MAX);
        audience.show(Stream::Stdout, b"b");
        assert_eq!(format!("{:?}", slow.pieces.try_recv()), "Ok((Stdout, [98]))");
    }

    #[test]
    fn who_has_no_room_left_learns_the_end_all_the_same() {
        let audience = Audience::default();
        let slow = audience.sit_down();
        (0..WAITING_MAX).for_each(|_| audience.show(Stream::Stdout, b"a"));
        audience.end(3);
        let scenes: Vec<_> = std::iter::from_fn(|| slow.scene()).take(WAITING_MAX + 1).collect();
        assert_eq!(scenes.len(), WAITING_MAX + 1);
        assert!(matches!(scenes.last(), Some(Scene::Ended(3))), "{:?}", scenes.last());
        // The next run is another.
        drop(slow);
        let next = audience.sit_down();
        audience.show(Stream::Stdout, b"b");
        assert!(matches!(next.scene(), Some(Scene::Wrote(..))));
    }
}
