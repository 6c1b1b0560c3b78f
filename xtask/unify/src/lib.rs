//! Empty on purpose: it depends on every heavy crate of the workspace with the workspace's features.
//!
//! Building one crate alone (`cargo check -p lakehost-columnar`) would otherwise compile arrow, parquet and tokio a second time with fewer
//! features. `cargo check --release -p lakehost-columnar -p unify` shares them with the whole.
