//! The imports of the contract, as the host fulfils them. What has a lifetime is held here; guests have handles.

pub(crate) mod batches;
pub(crate) mod blobs;
pub(crate) mod readers;
pub(crate) mod telemetry;

use wasmtime::component::{HasSelf, Linker, ResourceTableError};

use crate::abi::since_v0_1 as abi;
use crate::error::Stop;
use crate::state::HostState;

/// Links all services. Which of them a plugin may import is decided when it is loaded.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    abi::types::add_to_linker::<_, HasSelf<HostState>>(linker, |state| state)?;
    abi::batches::add_to_linker::<_, HasSelf<HostState>>(linker, |state| state)?;
    abi::blobs::add_to_linker::<_, HasSelf<HostState>>(linker, |state| state)?;
    abi::readers::add_to_linker::<_, HasSelf<HostState>>(linker, |state| state)?;
    abi::telemetry::add_to_linker::<_, HasSelf<HostState>>(linker, |state| state)
}

impl abi::types::Host for HostState {}

impl HostState {
    /// Why a resource could not be kept or found.
    fn handle_stop(&self, error: &ResourceTableError) -> Stop {
        match error {
            ResourceTableError::Full => {
                let limit = self.budgets().handles as u64;
                Stop::Budget { what: "handles", found: limit + 1, limit }
            }
            other => Stop::Contract(format!("it used a handle that is not its own: {other}")),
        }
    }
}
