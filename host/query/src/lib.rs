//! SQL over the tables of a warehouse, in this process: `lakehost query`, and a pipeline's checks.
//!
//! [`Session`] plans one read-only statement with DataFusion. It opens exactly the tables that the statement names, through the [`Tables`]
//! that its caller gives, so a broken table never stands in the way of a query on another. [`AsOf`] says which state of them is read.
//!
//! Left to others: where tables lie and which snapshot a point in time means (`host/lake`), and how rows are printed (`host/cli`).

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that panics has failed"))]

mod checks;
mod error;
mod identifiers;
mod predicate;
mod provider;
mod refusal;
mod row_test;
mod scan;
mod session;
#[cfg(test)]
mod test_tables;
mod time_travel;
#[cfg(test)]
mod trap_tests;
mod versioned;

pub use checks::{Checked, run_checks};
pub use error::Error;
pub use row_test::Condition;
pub use session::{OpenTable, Rows, Session, Tables};
pub use time_travel::AsOf;

/// Tables are opened by the caller's [`Tables`], whose faults pass through as they are.
pub type Result<T> = std::result::Result<T, lakehost_pipeline::Fault>;
