//! The same work for several things at once.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{Cancel, Error, ErrorKind};

/// Does `work` for each item on at most `threads` threads, this one among them; the results are in the order of the items.
/// After a failure, and when `stop` is thrown, nothing more is begun.
pub fn side_by_side<T: Sync, R: Send + Sync>(
    items: &[T],
    threads: usize,
    stop: &Cancel,
    work: impl Fn(&T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let results: Vec<OnceLock<R>> = items.iter().map(|_| OnceLock::new()).collect();
    let serve = || {
        while !stop.is_cancelled()
            && let Some((item, result)) = pair(items, &results, next.fetch_add(1, Ordering::Relaxed))
        {
            match work(item) {
                Ok(done) => drop(result.set(done)),
                Err(error) => {
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    next.store(items.len(), Ordering::Relaxed);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(serve);
        }
        serve();
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    // Only a thrown switch leaves anything undone.
    let undone = || Error::new(ErrorKind::Cancelled, "cancelled");
    results.into_iter().map(|result| result.into_inner().ok_or_else(undone)).collect()
}

fn pair<'a, T, R>(items: &'a [T], results: &'a [R], index: usize) -> Option<(&'a T, &'a R)> {
    Some((items.get(index)?, results.get(index)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<usize> = (0..100).collect();
        let doubled = side_by_side(&items, 4, &Cancel::new(), |item| Ok(item * 2)).unwrap();
        assert_eq!(doubled, (0..100).map(|item| item * 2).collect::<Vec<_>>());
        assert!(side_by_side(&[], 4, &Cancel::new(), |item: &usize| Ok(*item)).unwrap().is_empty());
    }

    #[test]
    fn nothing_begins_after_a_failure() {
        let begun = AtomicUsize::new(0);
        let items: Vec<usize> = (0..100).collect();
        let done = side_by_side(&items, 1, &Cancel::new(), |item| {
            begun.fetch_add(1, Ordering::SeqCst);
            if *item == 3 { Err(Error::new(ErrorKind::Input, "three")) } else { Ok(()) }
        });
        assert_eq!(done.unwrap_err().message, "three");
        assert_eq!(begun.into_inner(), 4);
    }

    #[test]
    fn a_thrown_switch_ends_it() {
        let stop = Cancel::new();
        let done = side_by_side(&[1, 2, 3], 1, &stop, |item| {
            if *item == 2 {
                stop.cancel();
            }
            Ok(*item)
        });
        assert_eq!(done.unwrap_err().kind, ErrorKind::Cancelled);
    }
}
