//! An Iceberg REST catalog over a warehouse of this process, so that any engine attaches to it with nothing else running.
//!
//! PyIceberg, DuckDB, Spark and Trino speak one protocol to catalogs, and none of them can commit to a SQLite file beside the others. The
//! [`Endpoint`] speaks that protocol and passes what it is asked on to the lake's own catalog: the same compare-and-swap that lakehost's
//! loads go through, so all of them may write at once.
//!
//! A request passes [`mod@guard`] (token, host name), finds its handler in [`mod@routes`], and what it asks becomes one call of the catalog.
//! [`mod@commit`] is the part with a decision in it: requirements are checked on the newest state, updates applied to it, and both again when
//! another writer was faster.
//!
//! # Left to others
//!
//! Data files, which engines read and write themselves; the metadata files and the swap (`lake`); flags and text (`cli`). This crate knows no
//! sources, no cleaners and no terminal.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that panics has failed"))]

mod access;
mod birth;
mod commit;
mod error;
mod extract;
mod guard;
mod names;
mod namespaces;
mod page;
mod refusal;
mod routes;
mod server;
mod tables;
#[cfg(test)]
mod tests;
mod token;
mod warehouse;

pub use access::Access;
pub use error::{Error, Result};
pub use server::{Endpoint, Options, serve};
pub use token::new_token;
