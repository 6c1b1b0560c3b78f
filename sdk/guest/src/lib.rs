//! What a plugin author uses: implement one trait, end the file with one macro, build for `wasm32-wasip2`.
//!
//! - [`Source`] reads a data set window by window; [`Cleaner`] keeps, rejects and derives rows.
//! - [`config`] turns a description of the keys into JSON Schema, defaults and checks.
//! - [`services`] is the world as the host shows it: [`fetch`], [`stat`], [`read_parquet`], [`log`].
//! - [`testing`] runs a plugin natively with a recorded world.
//!
//! The crate makes the contract in `wit/` pleasant in Rust and adds nothing to it. It leaves framing of Arrow IPC to `lakehost-wire`,
//! and decoding, casting, filtering and writing to the host: a component that hands batches on carries no compute kernels.
//!
//! The Arrow crates are re-exported, so that a plugin needs this crate and serde alone.

pub mod bindings;
pub mod cleaner;
mod columns;
pub mod config;
pub mod error;
#[doc(hidden)]
pub mod export;
pub mod patch;
pub mod services;
pub mod source;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod window;

pub use arrow_array;
pub use arrow_buffer;
pub use arrow_schema;
pub use lakehost_wire as wire;

pub use cleaner::{Cleaner, CleanerSpec, Rule};
pub use columns::{column, require_column};
pub use config::{Config, ConfigSchema, Key, NoConfig};
pub use error::{Category, PluginError, Result, Retry, Scope};
pub use patch::{Patch, Verdicts};
pub use services::{
    Batch, BatchReader, Blob, ColumnMap, Entry, FetchRequest, Level, Projection, Unlisted, fetch, log, parquet_schema,
    progress, read_parquet, stat,
};
pub use source::{Ask, Dataset, Granularity, PlanRequest, Reader, Rows, Source, SourceSpec, Split};
pub use window::{CivilTime, Window};

/// The guide's Rust is compiled and run as a doctest.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/plugin-guide.md")]
pub struct PluginGuide;

#[cfg(test)]
mod tests {
    /// What the guide shows is what `examples/first_cleaner` builds.
    #[test]
    fn the_guide_shows_the_example() {
        let guide = include_str!("../../../docs/plugin-guide.md");
        let example = include_str!("../../../examples/first_cleaner/src/lib.rs");
        let shown = guide.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a Rust block");
        assert!(
            example.starts_with(shown.trim_end()),
            "docs/plugin-guide.md differs from examples/first_cleaner/src/lib.rs"
        );
    }
}
