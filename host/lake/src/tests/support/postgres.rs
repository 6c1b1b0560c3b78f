//! A catalog of a world's own in the test process's Postgres.

use std::sync::atomic::{AtomicU32, Ordering};

use lakehost_pipeline::Secret;
use lakehost_server::programs;

use crate::PostgresOptions;

static CATALOGS: AtomicU32 = AtomicU32::new(0);

pub fn catalog() -> PostgresOptions {
    let url = format!("postgresql://lakehost@127.0.0.1:{}/postgres", programs::postgres());
    let number = CATALOGS.fetch_add(1, Ordering::Relaxed);
    PostgresOptions { name: format!("catalog{number}"), ..PostgresOptions::new(Secret::new(url)) }
}
