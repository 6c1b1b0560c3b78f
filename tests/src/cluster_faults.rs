//! Faults of the services of a lakehouse, each through the binary: the code and the way out that a user reads, the table whole afterwards, no secret
//! in what was said, and a next run that finishes.

mod cluster;
mod on_postgres;
mod on_s3;
mod rest;
mod trino;
mod world;
