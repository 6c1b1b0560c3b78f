//! Bytes by URL: under grants, spooled to disk, resumed when a connection breaks, and recorded.
//!
//! A run has one [`Fetcher`] per set of grants. It is asked for a URL, checks it against the [`Allowlist`], dials only addresses
//! that were checked, and answers with a [`Spool`] as soon as the response headers are in; the body goes on in the
//! background. Every request, refused ones too, is an entry of the [`Ledger`].
//!
//! ```text
//! Request ── allow ── resolver ── http ── download ── Spool ──▶ read_at, wait_complete
//!             │                     │        │
//!             └──── Ledger ◀────────┘        └─ resume: Range + If-Range, same hash
//! ```
//!
//! Promises: only granted scheme, host, port and path, on every redirect; link-local and metadata addresses never; a body that is
//! short, or that changed between two requests, is an error and never bytes; no credentials, query or user information in any
//! message or ledger entry.
//!
//! This crate knows nothing of components, Arrow, Iceberg or runs: its [`Error`] says what happened, and callers decide what that
//! means.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that panics has failed"))]

mod address;
mod allow;
mod body;
mod download;
mod error;
mod fetcher;
mod file;
mod head;
mod headers;
mod http;
mod ledger;
mod location;
mod resolver;
mod retry;
mod spool;
mod tail;
mod text;

#[cfg(test)]
mod tests;

pub use address::{AddressClass, Cidr, address_allowed, classify};
pub use allow::{Allowlist, Grant, Refused};
pub use error::{Error, Result};
pub use fetcher::{FetchLimits, Fetcher, Request, Stat};
pub use ledger::{Ledger, LedgerEntry, LedgerSummary, OriginSummary, Outcome};
pub use spool::{Spool, SpoolSummary};
pub use text::{display_url, excerpt};
