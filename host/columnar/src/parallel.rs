//! Independent pieces of work on a few threads, results in order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// Run `work` over `items` on up to `threads` threads, this one included. The first error stops what has not begun.
pub(crate) fn parallel<T: Send, R: Send>(
    threads: usize,
    items: Vec<T>,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let threads = threads.min(items.len());
    if threads <= 1 {
        return items.into_iter().map(work).collect();
    }
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let queue = Mutex::new(items.into_iter().zip(&mut results));
    let failed = AtomicBool::new(false);
    let worker = || -> Result<()> {
        while !failed.load(Ordering::Relaxed) {
            let next = queue.lock().ok().and_then(|mut queue| queue.next());
            let Some((item, result)) = next else { break };
            match work(item) {
                Ok(value) => *result = Some(value),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
        let mut outcome = worker();
        for other in others {
            let joined = other.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
            outcome = outcome.and(joined);
        }
        outcome
    })?;
    let lost = || Error::Encode { what: "a piece of work".to_owned(), detail: "it has no result".to_owned() };
    results.into_iter().map(|result| result.ok_or_else(lost)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        for threads in [0, 1, 3, 64] {
            let squares = parallel(threads, (0..40).collect(), |item: usize| Ok(item * item)).unwrap();
            assert_eq!(squares, (0..40).map(|item| item * item).collect::<Vec<_>>());
            let result = parallel(
                threads,
                (0..40).collect(),
                |item: usize| if item == 7 { Err(Error::Cancelled) } else { Ok(()) },
            );
            assert!(matches!(result, Err(Error::Cancelled)));
        }
    }
}
