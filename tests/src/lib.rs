//! Tests of the whole: the built binary, genuine files behind a local server, components in the real sandbox, and independent readers.

#![cfg(test)]
#![allow(clippy::unwrap_used)]

mod answers;
mod audit;
mod evolve;
mod faults;
mod green;
mod guide;
mod kill;
mod maintenance;
mod paths;
mod profiles;
mod rejects;
mod sandbox;
mod support;
mod yellow;
