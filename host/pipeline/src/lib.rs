//! Decides what a run does: which windows, in which order, what becomes of each row, and when to commit.
//!
//! Place in the flow: `cli` makes a [`Plan`] and hands in implementations of the traits in [`ports`]; [`run`] drives them window by window and
//! answers a [`RunReport`].
//!
//! Left to others: components (`lakehost-wasm`), bytes and columns (`lakehost-columnar`), tables (`lakehost-lake`), text and exit codes
//! (`lakehost`). This crate performs no I/O and reads no clock: both come in through [`ports`] and [`Meter`].

mod certificate;
pub mod chain;
pub mod checks;
pub mod codes;
pub mod contract;
pub mod diagnostic;
mod drift;
mod error;
pub mod filter;
mod identity;
mod landing;
mod layout;
mod load_id;
mod merge_key;
pub mod models;
mod plan;
pub mod ports;
mod progress;
mod quarantine;
mod read;
pub mod rejects;
mod replay;
mod report;
mod run;
mod secret;
mod span;
pub mod window;

pub use certificate::certificate_hint;
pub use checks::{Check, CheckKind, CheckOutcome, Severity};
pub use contract::{Contract, OnDrift};
pub use diagnostic::{Code, Diagnostic, Fault, Retry};
pub use error::Error;
pub use layout::{INGESTED_AT, SOURCE_FILE, WINDOW_COLUMN};
pub use load_id::{LoadIdentity, sha256_hex};
pub use plan::Plan;
pub use replay::replay;
pub use report::{ErrorReport, Meter, RunReport, Status, WindowReport};
pub use run::{Ports, run};
pub use secret::Secret;
pub use span::{span_ms, typed_span_ms};
pub use window::{Granularity, Window};
