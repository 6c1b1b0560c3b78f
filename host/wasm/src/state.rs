//! What the host keeps for one instance of a plugin.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lakehost_fetch::{Fetcher, Spool};
use tokio::runtime::Handle;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView};

use crate::error::{Error, Stop};
use crate::grants::Grants;
use crate::limits::{Budgets, Ceiling, MemoryPool, Meter};
use crate::services::telemetry::LogGate;
use crate::wasi::{self, Capture, GuestTime};

/// How often a wait looks whether the run was cancelled.
const CANCEL_CHECK: Duration = Duration::from_millis(20);

/// What all instances of a process share.
pub(crate) struct Surroundings {
    pub budgets: Budgets,
    pub runtime: Handle,
    pub cancel: Arc<AtomicBool>,
    pub pool: Arc<MemoryPool>,
}

impl Surroundings {
    pub fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// Waits for something from outside, unless the run is cancelled first.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, Stop> {
        let cancelled = async {
            while !self.cancelled() {
                tokio::time::sleep(CANCEL_CHECK).await;
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                value = future => Ok(value),
                () = cancelled => Err(Stop::Cancelled),
            }
        })
    }
}

/// The data of a wasmtime store: budgets, resources, grants and the host's own record of one instance.
pub(crate) struct HostState {
    /// For messages: `nyc_tlc@0.1.0`, or the file's name before the plugin said its own.
    pub plugin: String,
    pub around: Arc<Surroundings>,
    pub table: ResourceTable,
    pub ceiling: Ceiling,
    pub meter: Meter,
    pub stderr: Capture,
    pub time: GuestTime,
    pub log: LogGate,
    /// `None`: nothing from outside is open to this instance.
    pub fetcher: Option<Fetcher>,
    /// Bodies that the guest asked for and nobody has collected yet.
    pub fetched: Vec<Arc<Spool>>,
    /// The export that is running.
    pub call: &'static str,
    /// What the host itself found wrong during the call. It outranks what the plugin makes of it.
    pub finding: Option<Error>,
    wasi: WasiCtx,
}

impl HostState {
    pub fn new(
        plugin: &str,
        seed: &str,
        around: &Arc<Surroundings>,
        grants: &Grants,
        fetcher: Option<Fetcher>,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(around.budgets.handles);
        let stderr = Capture::new(around.budgets.stderr_bytes);
        let time = GuestTime::new(grants.clock);
        let wasi = wasi::context(grants, &time, &stderr, seed);
        Self {
            plugin: plugin.to_owned(),
            around: Arc::clone(around),
            table,
            ceiling: Ceiling::new(&around.pool),
            meter: Meter::default(),
            stderr,
            time,
            log: LogGate::new(around.budgets.log_bytes_per_second, around.budgets.log_line_bytes),
            fetcher,
            fetched: Vec::new(),
            call: "start",
            finding: None,
            wasi,
        }
    }

    pub fn wasi_view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }

    pub fn budgets(&self) -> &Budgets {
        &self.around.budgets
    }

    /// Looks at a guest in the middle of its work.
    pub fn tick(&self) -> Result<(), Stop> {
        if self.around.cancelled() {
            return Err(Stop::Cancelled);
        }
        self.meter.check()
    }

    /// Work of the host on behalf of the guest: its CPU is not the guest's.
    pub fn outside<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.meter.leave_guest();
        let value = work(self);
        self.meter.enter_guest();
        value
    }

    /// The time that one host call may take without getting on.
    pub fn host_call_stop(&self, what: &str) -> Stop {
        let after_ms = u64::try_from(self.budgets().host_call.as_millis()).unwrap_or(u64::MAX);
        Stop::HostCall { what: what.to_owned(), after_ms }
    }

    /// A request of the guest to the outside, within the budget of one host call.
    pub fn ask_outside<T>(&mut self, what: &str, future: impl Future<Output = T>) -> Result<T, Stop> {
        let limit = self.budgets().host_call;
        self.outside(|state| {
            let answer = state.around.wait(async { tokio::time::timeout(limit, future).await })?;
            answer.map_err(|_| state.host_call_stop(what))
        })
    }

    /// Keeps what the host found, unless it found something before.
    pub fn find(&mut self, error: Error) {
        self.finding.get_or_insert(error);
    }
}
