//! Events of the crates as lines on stderr: warnings always, more with `LAKEHOST_LOG=info` (or any filter of `tracing`).

use std::env;
use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Starts listening. Building a filter takes milliseconds, so there is one only when it was asked for.
pub fn start() {
    let subscriber =
        tracing_subscriber::fmt().with_writer(io::stderr).with_target(false).with_ansi(false).without_time();
    let started = match env::var("LAKEHOST_LOG") {
        Ok(filter) if !filter.trim().is_empty() => subscriber.with_env_filter(EnvFilter::new(filter)).try_init(),
        _ => subscriber.with_max_level(LevelFilter::WARN).try_init(),
    };
    // Only a second start fails, and the first one listens.
    drop(started);
}
