//! When to try again, and how long to wait before.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    io::ErrorKind,
    thread,
    time::{Duration, Instant},
};

use crate::{Limits, RegistryError, Secret, Stop, answer};

/// A request to stop is noticed after as long.
const SLICE: Duration = Duration::from_millis(100);

/// A failure, and how long the server wants to be left alone.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: RegistryError,
    pub(crate) pause: Option<Duration>,
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self { error, pause: None }
    }
}

impl Failure {
    /// Without `secret`, should the server have repeated it.
    pub(crate) fn hiding(mut self, secret: Option<&Secret>) -> Self {
        if let (RegistryError::Status { answer: Some(answer), .. }, Some(secret)) = (&mut self.error, secret)
        {
            *answer = answer::without(answer, &[secret]);
        }
        self
    }
}

impl RegistryError {
    /// Whether the same request may well succeed a little later.
    pub(crate) const fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TooSlow { .. } | Self::RateLimited { .. } => true,
            Self::Status { status, .. } => matches!(*status, 408 | 425 | 500 | 502..=504),
            _ => false,
        }
    }

    /// A server that is not there at all gets fewer attempts than one that has trouble.
    fn weight(&self) -> u32 {
        let Self::Unreachable { source: Some(source), .. } = self else { return 1 };
        let kind = source.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        match kind {
            Some(
                ErrorKind::ConnectionRefused
                | ErrorKind::NotFound
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::AddrNotAvailable,
            ) => 2,
            _ => 1,
        }
    }
}

/// Counts failures in a row.
pub(crate) struct Retry<'a> {
    limits: &'a Limits,
    stop: &'a Stop,
    failures: u32,
}

impl<'a> Retry<'a> {
    pub(crate) fn new(limits: &'a Limits, stop: &'a Stop) -> Self {
        Self { limits, stop, failures: 0 }
    }

    /// Goes on counting where [`Self::failures`] was.
    pub(crate) fn resumed(limits: &'a Limits, stop: &'a Stop, failures: u32) -> Self {
        Self { limits, stop, failures }
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Waits before the next attempt. When there is to be none, the failure comes back.
    pub(crate) fn wait(&mut self, failure: Failure) -> Result<(), RegistryError> {
        let Failure { error, pause } = failure;
        let first = self.failures;
        self.failures = self.failures.saturating_add(error.weight());
        let too_long = pause.is_some_and(|pause| pause > self.limits.retry_after_max);
        if !error.is_passing() || self.failures >= self.limits.attempts || too_long {
            return Err(error);
        }
        let doubled = self.limits.backoff_first.saturating_mul(1 << first.min(16));
        let own = doubled.min(self.limits.backoff_max);
        // Half of it is chance, so that many clients do not come back at once.
        let own = own / 2 + own.mul_f64(chance() / 2.0);
        sleep(pause.unwrap_or_default().max(own), self.stop)
    }
}

fn chance() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

/// Sleeps unless it is time to stop.
pub(crate) fn sleep(time: Duration, stop: &Stop) -> Result<(), RegistryError> {
    let end = Instant::now() + time;
    loop {
        if stop() {
            return Err(RegistryError::Stopped);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(SLICE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    fn limits() -> Limits {
        Limits { attempts: 4, backoff_first: Duration::from_millis(4), ..Limits::default() }
    }

    fn unreachable(kind: Option<ErrorKind>) -> Failure {
        let source = kind.map(|kind| Box::new(std::io::Error::from(kind)) as _);
        RegistryError::Unreachable { place: "a".to_owned(), reason: "b".to_owned(), source }.into()
    }

    fn attempts(failure: impl Fn() -> Failure) -> u32 {
        let (limits, stop): (_, Stop) = (limits(), Arc::new(|| false));
        let mut retry = Retry::new(&limits, &stop);
        (1..).find(|_| retry.wait(failure()).is_err()).unwrap()
    }

    #[test]
    fn what_passes_is_tried_again() {
        assert_eq!(attempts(|| unreachable(None)), 4);
        assert_eq!(attempts(|| unreachable(Some(ErrorKind::ConnectionReset))), 4);
        assert_eq!(attempts(|| unreachable(Some(ErrorKind::ConnectionRefused))), 2, "nobody is there");
        assert_eq!(attempts(|| RegistryError::NoTls { place: "a".to_owned() }.into()), 1);
    }

    #[test]
    fn long_pauses_are_not_made() {
        let asks = |seconds| Failure { pause: Some(Duration::from_secs(seconds)), ..unreachable(None) };
        assert_eq!(attempts(|| asks(0)), 4);
        assert_eq!(attempts(|| asks(3600)), 1);
    }

    #[test]
    fn a_pause_ends_when_it_is_to_stop() {
        let asked = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&asked);
        let stop: Stop = Arc::new(move || counter.fetch_add(1, Ordering::SeqCst) > 0);
        assert!(matches!(sleep(Duration::from_secs(60), &stop), Err(RegistryError::Stopped)));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}
