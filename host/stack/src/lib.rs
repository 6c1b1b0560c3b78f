//! The services of a full lakehouse as plain processes on loopback: an S3 store, Postgres, an Iceberg REST catalog, Nessie, Trino.
//!
//! Place in the flow: `lakehost stack up|down|status|logs` and the tests call [`Stack`]; nothing else of the host knows it. `services.toml` holds
//! every version and checksum, [`settings`] what the services tell each other (the same words as in `docker-compose.yml`), `install` fetches through
//! the clients at hand (`go`, `mvn`, the system's Postgres), `process` starts and ends.
//!
//! Promises: a process is signalled only when its start time is the recorded one; all listen on loopback alone; passwords are random for each
//! stack, lie in files that only their owner reads, and stand in no command line; an `up` that is interrupted or fails ends what it started.
//!
//! Left to others: flags, words on the terminal and exit codes (`host/cli`), tables (`host/lake`).

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that panics has failed"))]

mod bucket;
mod digest;
mod error;
mod home;
mod http;
pub mod install;
mod launch;
mod nessie;
mod ports;
pub mod postgres;
mod process;
mod profile;
mod rest;
mod service;
pub mod settings;
mod stack;
mod state;
mod storage;
mod trino;
mod up;
pub mod versions;
mod watch;

#[cfg(test)]
mod compose_tests;
#[cfg(test)]
mod process_tests;
#[cfg(test)]
mod stack_tests;

pub use error::Error;
pub use home::Home;
pub use service::Service;
pub use stack::{Ended, Health, Stack, Status};
pub use storage::{is_ready as minio_is_ready, minio_variables, versitygw_is_ready, versitygw_variables};
pub use up::{Outcome, Up};
pub use watch::Watch;
