//! Tests of the whole: the built binary, genuine files behind a local server, components in the real sandbox, and independent readers.

#![cfg(test)]
#![allow(clippy::unwrap_used)]

mod answers;
mod audit;
mod audit_cluster;
mod audit_dbt;
mod change;
mod cluster;
mod cluster_faults;
mod cursor;
mod disk_full;
mod endpoint;
mod evolve;
mod fail_points;
mod faults;
mod feed;
mod green;
mod guide;
mod kill;
mod kill_two;
mod maintenance;
mod models;
mod nessie;
mod paths;
mod profiles;
mod raw;
mod rejects;
mod replay;
mod report;
mod reproduce;
mod sandbox;
mod sorted;
mod support;
mod yellow;
