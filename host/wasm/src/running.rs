//! One instance of a plugin: a store of its own, calls under a budget, and what a call that went wrong means.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use lakehost_fetch::Fetcher;
use wasmtime::{Engine, Store, Trap, UpdateDeadline};
use wasmtime_wasi::I32Exit;

use crate::abi::since_v0_1::PluginError;
use crate::component::innermost;
use crate::engine::host_fault;
use crate::error::{Error, Report, Result, Stop, shown};
use crate::grants::Grants;
use crate::services::telemetry::tell_dropped;
use crate::state::{HostState, Surroundings};

/// Handles of the component model that are alive at a time, those between a plugin's own parts included.
const COMPONENT_HANDLES: usize = 10_000;
/// What a guest may pass to the host beyond one full batch.
const HOSTCALL_SPARE_BYTES: usize = 1 << 20;
/// Longest last words of a crashed plugin that are shown, in characters.
const LAST_WORDS_CHARS: usize = 500;

/// How Rust's standard library begins to tell of a panic.
const PANIC: &str = "panicked at ";

/// A live instance. After a trap it is spent: nothing of it is used again.
pub(crate) struct Running<B> {
    store: Store<HostState>,
    bindings: Option<B>,
    spent: bool,
}

/// What an instance is made with.
pub(crate) struct Birth<'a> {
    pub engine: &'a Engine,
    pub around: &'a Arc<Surroundings>,
    /// For messages.
    pub plugin: &'a str,
    /// What virtual randomness is made of: the component's digest.
    pub seed: &'a str,
    pub grants: &'a Grants,
    pub fetcher: Option<Fetcher>,
}

impl<B> Running<B> {
    /// Makes a store and an instance in it.
    pub fn start(
        birth: Birth<'_>,
        instantiate: impl FnOnce(&mut Store<HostState>) -> wasmtime::Result<B>,
    ) -> Result<Self> {
        let budgets = &birth.around.budgets;
        let state = HostState::new(birth.plugin, birth.seed, birth.around, birth.grants, birth.fetcher);
        let mut store = Store::try_new(birth.engine, state).map_err(|error| host_fault("making a store", &error))?;
        store.limiter(|state| &mut state.ceiling);
        store.set_hostcall_fuel(budgets.batch.bytes + HOSTCALL_SPARE_BYTES);
        store.set_max_component_handles(COMPONENT_HANDLES);
        store.epoch_deadline_callback(|store| {
            store.data().tick()?;
            Ok(UpdateDeadline::Continue(1))
        });
        let mut running = Self { store, bindings: None, spent: false };
        let bindings = running.guarded("start", budgets.cpu_short, |_, store| instantiate(store))?;
        running.bindings = Some(bindings);
        Ok(running)
    }

    /// Whether it must be thrown away.
    pub fn is_spent(&self) -> bool {
        self.spent
    }

    /// The host's data of this instance.
    pub fn state(&mut self) -> &mut HostState {
        self.store.data_mut()
    }

    /// Calls an export that cannot fail on purpose.
    pub fn call<T>(
        &mut self,
        call: &'static str,
        cpu: Duration,
        export: impl FnOnce(&B, &mut Store<HostState>) -> wasmtime::Result<T>,
    ) -> Result<T> {
        self.guarded(call, cpu, |bindings, store| match bindings {
            Some(bindings) => export(bindings, store),
            None => Err(wasmtime::Error::msg("the instance never started")),
        })
    }

    /// Calls an export that answers a result. What the host found during the call outranks what the plugin says.
    pub fn ask<T>(
        &mut self,
        call: &'static str,
        cpu: Duration,
        export: impl FnOnce(&B, &mut Store<HostState>) -> wasmtime::Result<Result<T, PluginError>>,
    ) -> Result<T> {
        self.call(call, cpu, export)?.map_err(|error| {
            let state = self.store.data_mut();
            let plugin = state.plugin.clone();
            let report = Report::from(error);
            state.finding.take().unwrap_or(Error::Reported { plugin, call, report })
        })
    }

    /// A contract error of this plugin.
    pub fn contract(&self, call: &'static str, detail: impl Into<String>) -> Error {
        Error::Contract { plugin: self.store.data().plugin.clone(), call, detail: detail.into() }
    }

    fn guarded<T>(
        &mut self,
        call: &'static str,
        cpu: Duration,
        work: impl FnOnce(Option<&B>, &mut Store<HostState>) -> wasmtime::Result<T>,
    ) -> Result<T> {
        let state = self.store.data_mut();
        if self.spent {
            return Err(Error::Host { doing: format!("calling `{call}`"), detail: "the instance is spent".to_owned() });
        }
        if state.around.cancelled() {
            return Err(Error::Interrupted);
        }
        (state.call, state.finding) = (call, None);
        state.meter.start(cpu);
        self.store.set_epoch_deadline(1);
        // Until the call has come back, the instance counts as spent: a panic of the host on the way leaves it in an unknown state.
        self.spent = true;
        let outcome = catch_unwind(AssertUnwindSafe(|| work(self.bindings.as_ref(), &mut self.store)));
        let state = self.store.data_mut();
        tell_dropped(&state.plugin, state.log.take_dropped());
        match outcome {
            Ok(Ok(value)) => {
                self.spent = false;
                Ok(value)
            }
            Ok(Err(error)) => Err(self.stopped(call, &error)),
            Err(panic) => {
                let said = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied());
                let plugin = &self.store.data().plugin;
                Err(Error::Host {
                    doing: format!("a service for `{call}` of {plugin}"),
                    detail: shown(said.unwrap_or("no message"), 300),
                })
            }
        }
    }

    /// What a trap means.
    fn stopped(&mut self, call: &'static str, error: &wasmtime::Error) -> Error {
        let state = self.store.data_mut();
        let plugin = state.plugin.clone();
        if let Some(stop) = error.downcast_ref::<Stop>() {
            return match stop.clone() {
                Stop::Deadline { spent_ms, budget_ms } => Error::Deadline { plugin, call, spent_ms, budget_ms },
                Stop::Memory { wanted_bytes, limit_bytes } => Error::Memory { plugin, call, wanted_bytes, limit_bytes },
                Stop::HostCall { what, after_ms } => Error::HostCall { plugin, call, what, after_ms },
                Stop::Budget { what, found, limit } => Error::Budget { plugin, call, what, found, limit },
                Stop::Contract(detail) => Error::Contract { plugin, call, detail },
                Stop::Cancelled => Error::Interrupted,
            };
        }
        // A plugin that panics over a refusal did not make the refusal.
        if let Some(finding) = state.finding.take() {
            return finding;
        }
        let stderr = state.stderr.take();
        let detail = match (error.downcast_ref::<I32Exit>(), error.downcast_ref::<Trap>()) {
            (Some(exit), _) => format!("it exits with status {}", exit.0),
            (None, Some(trap)) => match panic_text(&stderr) {
                Some(text) => text,
                None if *trap == Trap::StackOverflow => "its stack overflowed".to_owned(),
                None if *trap == Trap::MemoryOutOfBounds => {
                    "it touched memory that is not its own, as a plugin does that runs out of stack".to_owned()
                }
                None => trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
            },
            (None, None) => shown(&innermost(error), 300),
        };
        // What the panic said is the message already.
        let last_words = if detail.starts_with(PANIC) { String::new() } else { shown(&stderr, LAST_WORDS_CHARS) };
        Error::Trap { plugin, call, detail, stderr: last_words }
    }
}

/// What a Rust plugin said when it panicked: place and message.
fn panic_text(stderr: &str) -> Option<String> {
    let start = stderr.rfind(PANIC)?;
    let text = stderr.get(start..)?;
    let text = text.split("\nnote: ").next().unwrap_or(text);
    Some(shown(text, LAST_WORDS_CHARS))
}

#[cfg(test)]
mod tests {
    use super::panic_text;

    #[test]
    fn the_panic_is_found_among_the_last_words() {
        let stderr = "hello\n\nthread '<unnamed>' (1) panicked at src/lib.rs:10:5:\nbad fare in row 7\nnote: run with `RUST_BACKTRACE=1`\n";
        assert_eq!(panic_text(stderr).unwrap(), "panicked at src/lib.rs:10:5: bad fare in row 7");
        assert_eq!(panic_text("all is well"), None);
        let hostile = format!("panicked at \u{1b}[2J{}", "x".repeat(10_000));
        let text = panic_text(&hostile).unwrap();
        assert!(text.chars().count() < 600 && !text.contains('\u{1b}'));
    }
}
