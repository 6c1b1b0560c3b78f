//! Models above the tables: the dbt run and its results, and statements to Trino.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that panics has failed"))]

pub mod dbt;
pub mod trino;
