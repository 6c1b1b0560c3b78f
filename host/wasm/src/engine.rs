//! The wasmtime engine of a process, as narrow as plugins allow, and the thread that lets its clock tick.

use std::time::Duration;

use wasmtime::{Config, Engine, OptLevel, Strategy};

use crate::error::{Error, Result};

/// How often a running guest is looked at.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// Stack of a guest: well below what a thread has.
const STACK_BYTES: usize = 512 << 10;

/// Builds the engine and starts its ticker, which ends with the last clone of the engine.
///
/// Off are the proposals that no plugin needs and that had the most advisories: GC, exceptions, function references, threads, 64-bit and
/// multiple memories, stack switching. Cranelift alone compiles.
pub(crate) fn start() -> Result<Engine> {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .wasm_component_model(true)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_threads(false)
        .wasm_shared_everything_threads(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_stack_switching(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .relaxed_simd_deterministic(true)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .native_unwind_info(false)
        .generate_address_map(false);
    let engine = Engine::new(&config).map_err(|error| host_fault("starting the WebAssembly engine", &error))?;
    let weak = engine.weak();
    let tick = move || {
        loop {
            std::thread::sleep(TICK);
            match weak.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => break,
            }
        }
    };
    std::thread::Builder::new()
        .name("lakehost-epoch".to_owned())
        .spawn(tick)
        .map_err(|error| host_fault("starting the epoch thread", &error))?;
    Ok(engine)
}

pub(crate) fn host_fault(doing: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Host { doing: doing.to_owned(), detail: error.to_string() }
}
