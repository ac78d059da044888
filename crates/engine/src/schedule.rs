//! Runs what is ready, side by side, each after what it needs; the first failure stops the rest.
//!
//! Items are numbers. An item may need only items with lower numbers, so there are no cycles by construction. The calling
//! thread works too, and no more threads are made than items can ever be ready at once: a build in which everything is
//! cached and every step follows the other makes none.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
};

use crate::{Cancel, Error, ErrorKind};

/// How many items run at once unless asked otherwise. Most steps wait for processes, so the number of cores is no limit.
pub const DEFAULT_JOBS: usize = 16;

/// Results of finished items.
#[derive(Debug)]
pub(crate) struct Done<T>(Vec<OnceLock<T>>);

impl<T> Done<T> {
    /// The result of `item`; there is one for everything that the asking item needs.
    pub(crate) fn get(&self, item: usize) -> Result<&T, Error> {
        self.0.get(item).and_then(OnceLock::get).ok_or_else(|| {
            Error::new(ErrorKind::Internal, format!("step {item} was asked for before it had finished"))
        })
    }

    fn into_vec(self) -> Result<Vec<T>, Error> {
        let missing = || Error::new(ErrorKind::Internal, "a step was never started");
        self.0.into_iter().map(|cell| cell.into_inner().ok_or_else(missing)).collect()
    }
}

/// Work on one item.
pub(crate) type Work<'a, T> = dyn Fn(usize, &Done<T>, &Cancel) -> Result<T, Error> + Sync + 'a;

/// Does `work` for each item, at most `jobs` at once. `needs[i]` lists what item `i` waits for.
///
/// After a failure nothing new is started and the switch that `work` is given is thrown, so that what runs ends at once.
pub(crate) fn run<T: Send + Sync>(
    needs: &[Vec<usize>],
    jobs: usize,
    cancel: &Cancel,
    work: &Work<'_, T>,
) -> Result<Vec<T>, Error> {
    let stop = Cancel::new();
    let _guard = cancel.on_cancel({
        let stop = stop.clone();
        move || stop.cancel()
    });
    let done = Done(needs.iter().map(|_| OnceLock::new()).collect());
    let pool = Pool { state: Mutex::new(State::new(needs)), changed: Condvar::new(), stop, done, work };
    thread::scope(|scope| {
        for _ in 1..jobs.min(width(needs)) {
            scope.spawn(|| pool.serve());
        }
        pool.serve();
    });
    let state = pool.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.failure {
        Some(error) => Err(error),
        None => pool.done.into_vec(),
    }
}

/// An upper bound of how many items can be ready at once: all that are not on the longest chain, and one that is.
fn width(needs: &[Vec<usize>]) -> usize {
    let mut depths: Vec<usize> = Vec::with_capacity(needs.len());
    for needed in needs {
        let below = needed.iter().filter_map(|&item| depths.get(item)).max().copied();
        depths.push(below.unwrap_or_default() + 1);
    }
    needs.len() + 1 - depths.into_iter().max().unwrap_or_default()
}

struct State {
    ready: VecDeque<usize>,
    /// For each item how many of its needs are unfinished.
    unmet: Vec<usize>,
    /// For each item who waits for it.
    waiting: Vec<Vec<usize>>,
    unfinished: usize,
    failure: Option<Error>,
}

impl State {
    fn new(needs: &[Vec<usize>]) -> Self {
        let mut waiting = vec![Vec::new(); needs.len()];
        for (item, needed) in needs.iter().enumerate() {
            for &need in needed {
                waiting[need].push(item);
            }
        }
        let unmet: Vec<usize> = needs.iter().map(Vec::len).collect();
        let ready = (0..needs.len()).filter(|&item| unmet[item] == 0).collect();
        Self { ready, unmet, waiting, unfinished: needs.len(), failure: None }
    }

    fn finish(&mut self, item: usize) {
        self.unfinished -= 1;
        for next in std::mem::take(&mut self.waiting[item]) {
            self.unmet[next] -= 1;
            if self.unmet[next] == 0 {
                self.ready.push_back(next);
            }
        }
    }

    /// Keeps the first failure; that another step was stopped because of it is no news.
    fn fail(&mut self, error: Error) {
        let news = self.failure.as_ref().is_none_or(|first| first.kind == ErrorKind::Cancelled);
        if news && (self.failure.is_none() || error.kind != ErrorKind::Cancelled) {
            self.failure = Some(error);
        }
    }
}

struct Pool<'a, T> {
    state: Mutex<State>,
    changed: Condvar,
    stop: Cancel,
    done: Done<T>,
    work: &'a Work<'a, T>,
}

impl<T: Send + Sync> Pool<'_, T> {
    fn serve(&self) {
        while let Some(item) = self.next() {
            let outcome = self.attempt(item);
            let mut state = self.lock();
            match outcome {
                Ok(result) => {
                    drop(self.done.0[item].set(result));
                    state.finish(item);
                }
                Err(error) => state.fail(error),
            }
            let failed = state.failure.is_some();
            drop(state);
            if failed {
                self.stop.cancel();
            }
            self.changed.notify_all();
        }
    }

    /// Waits until an item is ready; none when there will be no more.
    fn next(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.failure.is_some() || state.unfinished == 0 {
                return None;
            }
            if let Some(item) = state.ready.pop_front() {
                return Some(item);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn attempt(&self, item: usize) -> Result<T, Error> {
        if self.stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
        }
        // A panic would leave the others waiting for this item for ever.
        catch_unwind(AssertUnwindSafe(|| (self.work)(item, &self.done, &self.stop))).unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Internal, format!("step {item} panicked; this is a bug of galley")))
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Barrier,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use super::*;

    fn number(item: usize) -> Error {
        Error::new(ErrorKind::Step, item.to_string())
    }

    #[test]
    fn each_item_sees_what_it_needs() {
        let needs = vec![vec![], vec![0], vec![0], vec![1, 2]];
        let sums = run(&needs, 4, &Cancel::new(), &|item, done: &Done<usize>, _: &Cancel| {
            needs[item]
                .iter()
                .map(|&need| done.get(need).copied())
                .sum::<Result<usize, _>>()
                .map(|sum| sum + 1)
        });
        assert_eq!(sums.unwrap(), [1, 2, 2, 5]);
    }

    #[test]
    fn independent_items_overlap_even_on_one_core() {
        // Each waits for all others to have started: this ends only if they overlap.
        let meeting = Barrier::new(8);
        let result = run(&vec![vec![]; 8], 16, &Cancel::new(), &|_, _: &Done<()>, _: &Cancel| {
            meeting.wait();
            Ok(())
        });
        assert!(result.is_ok());
    }

    #[test]
    fn jobs_bound_how_many_overlap() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let result = run(&vec![vec![]; 9], 2, &Cancel::new(), &|_, _: &Done<()>, _: &Cancel| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(2));
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        });
        assert!(result.is_ok());
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn the_first_failure_stops_what_runs_and_what_waits() {
        let (started, meeting) = (AtomicUsize::new(0), Barrier::new(2));
        let error =
            run(&[vec![], vec![], vec![1]], 4, &Cancel::new(), &|item, _: &Done<()>, stop: &Cancel| {
                started.fetch_add(1, Ordering::SeqCst);
                meeting.wait();
                if item == 0 {
                    return Err(number(0));
                }
                while !stop.is_cancelled() {
                    thread::yield_now();
                }
                Err(Error::new(ErrorKind::Cancelled, "stopped"))
            })
            .unwrap_err();
        assert_eq!((error.message.as_str(), started.load(Ordering::SeqCst)), ("0", 2));
    }

    #[test]
    fn cancelling_ends_the_whole() {
        let cancel = Cancel::new();
        let error = run(&[vec![], vec![0]], 1, &cancel, &|_, _: &Done<()>, stop: &Cancel| {
            cancel.cancel();
            assert!(stop.is_cancelled());
            Ok(())
        })
        .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Cancelled);
    }

    #[test]
    fn a_panic_is_an_error_not_a_hang() {
        let result = run(&[vec![], vec![0]], 2, &Cancel::new(), &|item, _: &Done<()>, _: &Cancel| {
            assert_ne!(item, 0, "on purpose");
            Ok(())
        });
        assert_eq!(result.unwrap_err().kind, ErrorKind::Internal);
    }

    #[test]
    fn a_chain_needs_one_thread_and_two_stages_two() {
        assert_eq!(width(&[vec![], vec![0], vec![1]]), 1);
        assert_eq!(width(&[vec![], vec![0], vec![], vec![1, 2]]), 2);
        assert_eq!(width(&[vec![], vec![], vec![]]), 3);
        assert_eq!(width(&[]), 1);
    }
}
