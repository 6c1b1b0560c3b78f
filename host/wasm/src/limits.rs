//! What a plugin may use up: numbers, the memory that all instances of a run share, and the CPU time of one call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lakehost_wire::Limits;
use wasmtime::ResourceLimiter;

use crate::error::Stop;

/// Budgets of every plugin. The defaults are the ones of the documentation; a test holds them.
#[derive(Clone, Debug, PartialEq)]
pub struct Budgets {
    /// Size of a component file.
    pub component_bytes: usize,
    /// Linear memories, tables and batches behind handles, summed over all instances of a run.
    pub memory_bytes: usize,
    /// One batch.
    pub batch: Limits,
    /// Host resources (batches, blobs, readers) that one instance holds at a time.
    pub handles: usize,
    /// A configuration, schema or split description.
    pub json_bytes: usize,
    /// Splits of one window.
    pub splits: usize,
    /// One call of the host for something from outside.
    pub host_call: Duration,
    /// CPU of the guest in `spec`, `asks`, `bind` and `configure`.
    pub cpu_short: Duration,
    /// CPU of the guest in `clean` and `next`.
    pub cpu_batch: Duration,
    /// CPU of the guest in `check`, `discover`, `plan` and `read`.
    pub cpu_plan: Duration,
    /// Log text that is passed on.
    pub log_bytes_per_second: usize,
    /// One line of log text.
    pub log_line_bytes: usize,
    /// Standard error that is kept for the message about a crash.
    pub stderr_bytes: usize,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            component_bytes: 32 << 20,
            memory_bytes: 256 << 20,
            batch: Limits::DEFAULT,
            handles: 1000,
            json_bytes: 1 << 20,
            splits: 10_000,
            host_call: Duration::from_secs(60),
            cpu_short: Duration::from_secs(5),
            cpu_batch: Duration::from_secs(10),
            cpu_plan: Duration::from_secs(60),
            log_bytes_per_second: 64 << 10,
            log_line_bytes: 8 << 10,
            stderr_bytes: 64 << 10,
        }
    }
}

/// Memory that all instances of a run draw from.
#[derive(Debug)]
pub(crate) struct MemoryPool {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
}

impl MemoryPool {
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { limit_bytes, used_bytes: AtomicUsize::new(0) })
    }

    fn take(&self, bytes: usize) -> Result<(), Stop> {
        let within = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit_bytes);
        self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).map(|_| ()).map_err(|used| {
            Stop::Memory { wanted_bytes: used.saturating_add(bytes) as u64, limit_bytes: self.limit_bytes as u64 }
        })
    }

    fn give(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes in use.
    #[cfg(test)]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }
}

/// A share of the pool, given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    pool: Arc<MemoryPool>,
    bytes: usize,
}

impl Charge {
    pub fn take(pool: &Arc<MemoryPool>, bytes: usize) -> Result<Self, Stop> {
        pool.take(bytes)?;
        Ok(Self { pool: Arc::clone(pool), bytes })
    }

    /// More of the same.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Stop> {
        self.pool.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.pool.give(self.bytes);
    }
}

/// Bytes that wasmtime spends on one table element.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// Charges memories and tables of one instance to the pool of the run. Growth beyond it traps, by name.
pub(crate) struct Ceiling {
    pool: Arc<MemoryPool>,
    held_bytes: usize,
    /// The last growth that was allowed: given back when wasmtime cannot carry it out.
    last_growth_bytes: usize,
}

impl Ceiling {
    pub fn new(pool: &Arc<MemoryPool>) -> Self {
        Self { pool: Arc::clone(pool), held_bytes: 0, last_growth_bytes: 0 }
    }

    pub fn pool(&self) -> &Arc<MemoryPool> {
        &self.pool
    }

    fn growing(&mut self, units: usize, unit_bytes: usize) -> wasmtime::Result<bool> {
        let bytes = units.saturating_mul(unit_bytes);
        self.pool.take(bytes)?;
        self.held_bytes += bytes;
        self.last_growth_bytes = bytes;
        Ok(true)
    }

    fn failed(&mut self) {
        let bytes = std::mem::take(&mut self.last_growth_bytes);
        self.held_bytes -= bytes;
        self.pool.give(bytes);
    }
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        self.pool.give(self.held_bytes);
    }
}

impl ResourceLimiter for Ceiling {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.growing(desired.saturating_sub(current), 1)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.failed();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.growing(desired.saturating_sub(current), TABLE_ELEMENT_BYTES)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.failed();
        Ok(())
    }

    fn instances(&self) -> usize {
        256
    }

    fn tables(&self) -> usize {
        64
    }

    fn memories(&self) -> usize {
        16
    }
}

/// CPU time of the guest alone in one call: the host's own work and its waiting do not count.
///
/// It reads the clock of the calling thread, so a busy machine costs nobody a deadline. A call stays on one thread.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    budget_ns: u64,
    spent_ns: u64,
    entered_at_ns: Option<u64>,
}

impl Meter {
    /// Starts a call, with the guest running.
    pub fn start(&mut self, budget: Duration) {
        let budget_ns = u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX);
        *self = Self { budget_ns, spent_ns: 0, entered_at_ns: Some(thread_cpu_ns()) };
    }

    /// The guest called the host.
    pub fn leave_guest(&mut self) {
        self.spent_ns = self.spent_ns();
        self.entered_at_ns = None;
    }

    /// The host answered.
    pub fn enter_guest(&mut self) {
        self.entered_at_ns = Some(thread_cpu_ns());
    }

    fn spent_ns(&self) -> u64 {
        let running = self.entered_at_ns.map_or(0, |entered| thread_cpu_ns().saturating_sub(entered));
        self.spent_ns.saturating_add(running)
    }

    /// Fails once the budget is used up.
    pub fn check(&self) -> Result<(), Stop> {
        let spent_ns = self.spent_ns();
        if spent_ns > self.budget_ns {
            return Err(Stop::Deadline { spent_ms: spent_ns / 1_000_000, budget_ms: self.budget_ns / 1_000_000 });
        }
        Ok(())
    }
}

/// CPU time of this thread in nanoseconds.
fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for one timespec, and the clock exists on every Unix.
    let outcome = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    if outcome != 0 {
        return 0;
    }
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanoseconds.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_share_one_pool() {
        let pool = MemoryPool::new(100);
        let (mut first, mut second) = (Ceiling::new(&pool), Ceiling::new(&pool));
        assert!(first.memory_growing(0, 60, None).unwrap());
        assert!(second.memory_growing(0, 40, None).unwrap());
        let error = second.memory_growing(40, 41, None).unwrap_err();
        let stop = error.downcast_ref::<Stop>();
        assert!(matches!(stop, Some(Stop::Memory { wanted_bytes: 101, limit_bytes: 100 })), "{stop:?}");
        drop(first);
        assert!(second.table_growing(0, 7, None).unwrap());
        assert_eq!(pool.used_bytes(), 96);
        drop(second);
        assert_eq!(pool.used_bytes(), 0);
    }

    #[test]
    fn growth_that_fails_is_given_back() {
        let pool = MemoryPool::new(100);
        let mut ceiling = Ceiling::new(&pool);
        assert!(ceiling.memory_growing(0, 60, None).unwrap());
        ceiling.memory_grow_failed(wasmtime::Error::msg("no room")).unwrap();
        assert_eq!(pool.used_bytes(), 0);
        assert!(!ceiling.memory_growing(0, 60, Some(50)).unwrap());
        ceiling.memory_grow_failed(wasmtime::Error::msg("over its own maximum")).unwrap();
        drop(ceiling);
        assert_eq!(pool.used_bytes(), 0);
    }

    #[test]
    fn charges_return() {
        let pool = MemoryPool::new(10);
        let mut charge = Charge::take(&pool, 6).unwrap();
        assert!(charge.grow(5).is_err());
        charge.grow(4).unwrap();
        assert!(Charge::take(&pool, 1).is_err());
        drop(charge);
        assert_eq!(pool.used_bytes(), 0);
    }

    #[test]
    fn only_time_in_the_guest_counts() {
        let spin = || {
            let start = thread_cpu_ns();
            while thread_cpu_ns() < start + 3_000_000 {}
        };
        let mut meter = Meter::default();
        meter.start(Duration::from_millis(2));
        meter.leave_guest();
        spin();
        meter.enter_guest();
        assert!(meter.check().is_ok());
        spin();
        assert!(matches!(meter.check(), Err(Stop::Deadline { budget_ms: 2, .. })));
    }

    #[test]
    fn documented_budgets() {
        let budgets = Budgets::default();
        assert_eq!(budgets.batch.bytes, 64 << 20);
        assert_eq!(budgets.batch.rows, 1 << 20);
        assert_eq!(budgets.batch.columns, 4096);
        assert_eq!(budgets.component_bytes, 32 << 20);
        assert_eq!(
            [budgets.cpu_short, budgets.cpu_batch, budgets.cpu_plan, budgets.host_call].map(|time| time.as_secs()),
            [5, 10, 60, 60]
        );
        assert_eq!(budgets.log_bytes_per_second, 64 << 10);
    }
}
