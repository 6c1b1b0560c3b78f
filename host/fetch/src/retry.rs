//! When to try again, and how long to wait first.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;
use crate::fetcher::FetchLimits;

/// A try that brought this much was worth it: the count of tries starts over, so that a long file survives many breaks.
const PROGRESS_BYTES: u64 = 8 * 1024 * 1024;

/// Answers that another try may turn into a success. 403 and 404 are not among them.
pub(crate) fn is_transient_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// The tries of one request, from its first byte to its last.
#[derive(Debug)]
pub(crate) struct Retry {
    tries_made: u32,
    tries_limit: u32,
    first_backoff: Duration,
    backoff_limit: Duration,
    retry_after_limit: Duration,
    deadline: Instant,
    deadline_after: Duration,
}

impl Retry {
    pub(crate) fn new(limits: &FetchLimits) -> Self {
        // A clock cannot count for ever: a deadline too far to express is a century.
        let century = Duration::from_secs(100 * 365 * 86_400);
        let deadline_after = limits.deadline.min(century);
        Self {
            tries_made: 0,
            tries_limit: limits.tries.max(1),
            first_backoff: limits.first_backoff,
            backoff_limit: limits.backoff_limit,
            retry_after_limit: limits.retry_after_limit,
            deadline: Instant::now() + deadline_after,
            deadline_after,
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn timed_out(&self, url: String) -> Error {
        let after_ms = u64::try_from(self.deadline_after.as_millis()).unwrap_or(u64::MAX);
        Error::Timeout { url, waiting_for: "not finished".to_owned(), after_ms }
    }

    /// Tells that a try brought bytes before it broke.
    pub(crate) fn progressed(&mut self, bytes: u64) {
        if bytes >= PROGRESS_BYTES {
            self.tries_made = 0;
        }
    }

    /// Waits before the next try, or gives the error back when there is none: tries used up, no time left, or a `Retry-After` that is
    /// longer than this request may wait.
    pub(crate) async fn pause(&mut self, error: Error, retry_after: Option<Duration>) -> Result<(), Error> {
        self.tries_made += 1;
        let wait = match retry_after {
            Some(asked) if asked > self.retry_after_limit => return Err(error),
            Some(asked) => asked.max(Duration::from_millis(1)),
            None => self.backoff(),
        };
        if self.tries_made >= self.tries_limit || Instant::now() + wait >= self.deadline {
            return Err(error);
        }
        tracing::warn!(%error, wait_ms = wait.as_millis() as u64, tries = self.tries_made, limit = self.tries_limit, "trying again");
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Doubles from try to try, and lands anywhere in the upper half, so that many readers do not come back together.
    fn backoff(&self) -> Duration {
        let doubled = self.first_backoff.saturating_mul(1 << self.tries_made.saturating_sub(1).min(16));
        doubled.min(self.backoff_limit).mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> FetchLimits {
        FetchLimits {
            first_backoff: Duration::from_millis(4),
            backoff_limit: Duration::from_millis(20),
            ..FetchLimits::default()
        }
    }

    fn on_runtime<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn backoff_grows_to_its_limit() {
        on_runtime(async {
            let mut retry = Retry::new(&limits());
            for (tries, low, high) in [(1, 2, 4), (2, 4, 8), (3, 8, 16), (4, 10, 20), (40, 10, 20)] {
                retry.tries_made = tries;
                for _ in 0..50 {
                    let wait = retry.backoff();
                    assert!(
                        (Duration::from_millis(low)..=Duration::from_millis(high)).contains(&wait),
                        "{tries}: {wait:?}"
                    );
                }
            }
        });
    }

    #[test]
    fn tries_end() {
        on_runtime(async {
            let mut retry = Retry::new(&limits());
            for _ in 0..4 {
                assert_eq!(retry.pause(Error::Cancelled, None).await, Ok(()));
            }
            assert_eq!(retry.pause(Error::Cancelled, None).await, Err(Error::Cancelled));

            let mut retry = Retry::new(&limits());
            for _ in 0..20 {
                retry.progressed(PROGRESS_BYTES);
                assert_eq!(retry.pause(Error::Cancelled, Some(Duration::ZERO)).await, Ok(()));
            }

            let mut retry = Retry::new(&limits());
            assert!(retry.pause(Error::Cancelled, Some(Duration::from_secs(3_600))).await.is_err());
            let mut retry = Retry::new(&FetchLimits { deadline: Duration::from_millis(1), ..limits() });
            assert!(retry.pause(Error::Cancelled, Some(Duration::from_secs(1))).await.is_err());
            assert!(Retry::new(&FetchLimits { deadline: Duration::MAX, ..limits() }).deadline() > Instant::now());
        });
    }

    #[test]
    fn forbidden_and_missing_stay() {
        for (status, transient) in [
            (403, false),
            (404, false),
            (410, false),
            (401, false),
            (429, true),
            (503, true),
            (500, true),
            (501, false),
        ] {
            assert_eq!(is_transient_status(status), transient, "{status}");
        }
    }
}
