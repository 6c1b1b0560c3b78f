//! Runs plugins: WebAssembly components that strangers wrote, under limits, with the host's services and nothing else.
//!
//! [`WasmHost`] loads a [`Plugin`] (size, digest, compiled code from the cache, the contract that it exports) and makes a [`WasmSource`] or a
//! [`WasmCleaner`] of it: the pipeline's `Source` and `Cleaner`.
//!
//! ```text
//! file ── component ── cache ──▶ Plugin ── running (one store per instance) ──▶ source, cleaner
//!                                            │
//!               grants ─▶ state ◀── limits   ├─ services/{batches, blobs, readers, telemetry}
//!                                            └─ wasi (linked, and empty)
//! ```
//!
//! # Promises
//!
//! - A fault of a plugin ends its call with a typed error that names it; never the process. After a trap its store is thrown away.
//! - CPU of a call, memory of all instances together, handles, host calls and log text are budgeted ([`Budgets`]).
//! - Nothing is open that was not granted ([`Grants`]); the host keeps its own record of what it refused.
//! - Every byte of a guest is checked before it is used: batches by `lakehost-wire`, masks, rules, names and texts here.
//!
//! Calls block and never come from a thread of the async runtime. Left to others: HTTP (`lakehost-fetch`), files and columns
//! (`lakehost-columnar`), what a run does with rows (`lakehost-pipeline`), tables, configuration files, terminals.

mod abi;
mod cache;
mod cleaner;
mod component;
mod config;
mod engine;
mod error;
mod grants;
mod host;
mod inspect;
mod limits;
mod plugin;
mod rows;
mod running;
mod services;
mod source;
mod state;
mod wasi;

pub use cleaner::WasmCleaner;
pub use component::Kind;
pub use error::{Category, Error, Refusal, Report, Result};
pub use grants::{Ask, Decision, Grants};
pub use host::{FetchOptions, HostOptions, WasmHost};
pub use inspect::Inspection;
pub use limits::Budgets;
pub use plugin::{About, Plugin};
pub use source::WasmSource;
