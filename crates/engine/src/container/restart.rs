//! When a container that ended is started again: docker's policies and its pauses.

use std::time::Duration;

use super::Restart;

/// The first pause; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Whoever ran this long starts with the first pause again.
const LONG: Duration = Duration::from_secs(10);

/// How often a container was started again, and how long the last pause was.
#[derive(Debug)]
pub(super) struct Restarts {
    /// It may be changed while the container runs.
    pub(super) policy: Restart,
    pub(super) count: u32,
    pause: Duration,
}

impl Restarts {
    pub(super) const fn new(policy: Restart) -> Self {
        Self { policy, count: 0, pause: Duration::ZERO }
    }

    /// The pause before the next start of a container that ended with `code` after it ran for `ran`; none when it stays so.
    pub(super) fn next(&mut self, code: i32, ran: Duration) -> Option<Duration> {
        let again = match self.policy {
            Restart::No => false,
            Restart::Always | Restart::UnlessStopped => true,
            Restart::OnFailure(max) => code != 0 && (max == 0 || self.count < max),
        };
        if !again {
            return None;
        }
        self.count += 1;
        self.pause = if ran >= LONG { PAUSE_MIN } else { (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX) };
        Some(self.pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_again_after_a_long_run() {
        let mut restarts = Restarts::new(Restart::Always);
        let mut pauses: Vec<_> =
            (0..12).map(|_| restarts.next(0, Duration::ZERO).unwrap().as_millis()).collect();
        let last = pauses.split_off(9);
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600]);
        assert_eq!(last, [51_200, 60_000, 60_000]);
        assert_eq!(restarts.next(1, LONG), Some(PAUSE_MIN));
        assert_eq!(restarts.count, 13);
    }

    #[test]
    fn policies_look_at_the_code_and_the_count() {
        let mut never = Restarts::new(Restart::No);
        assert_eq!(never.next(1, Duration::ZERO), None);
        let mut failures = Restarts::new(Restart::OnFailure(2));
        assert_eq!(failures.next(0, Duration::ZERO), None);
        assert!(failures.next(1, Duration::ZERO).is_some() && failures.next(1, Duration::ZERO).is_some());
        assert_eq!((failures.next(1, Duration::ZERO), failures.count), (None, 2));
    }
}
