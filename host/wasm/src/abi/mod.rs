//! Generated bindings, one module per released contract, and the conversions to the host's own types.
//!
//! The rest of the crate speaks the newest contract. An older one gets a module here that adapts it forward.

pub mod since_v0_1;
